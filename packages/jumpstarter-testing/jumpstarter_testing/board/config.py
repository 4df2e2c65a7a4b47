"""What a virtual board can be told: one dataclass, and the same as command line options."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any


class Fault(StrEnum):
    """Something that is wrong with the board from the start."""

    HANG_BOOTLOADER = "hang-bootloader"
    HANG_KERNEL = "hang-kernel"
    REBOOT_LOOP = "reboot-loop"
    GARBAGE = "garbage"


def _option(default: Any, help: str) -> Any:
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True, kw_only=True)
class BoardConfig:
    """How a virtual board behaves. Times in seconds; raises ValueError for a value that makes no sense."""

    countdown: int = _option(2, "seconds in which a key stops the boot; 0 boots at once, -1 stops at the prompt")
    boot_delay: float = _option(0.2, "seconds from power-on or reset to the first byte")
    line_delay: float = _option(0.01, "seconds between two lines of a boot log")
    cps: float = _option(0.0, "console speed in characters per second; 0 is as fast as the reader")
    noise: float = _option(0.0, "seconds between kernel messages that interrupt the login shell; 0 is never")
    hostname: str = _option("board", "name shown at the login prompt")
    password: str = _option("jumpstarter", "password of root; empty asks for none")
    seed: int = _option(0, "seed of the random bytes of the fault 'garbage'")
    faults: frozenset[Fault] = field(
        default=frozenset(), metadata={"help": "what is wrong with the board (repeatable)"}
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "faults", _faults(self.faults))
        if self.countdown < -1:
            raise ValueError(f"countdown must be -1 or more, not {self.countdown}")
        for name in ("boot_delay", "line_delay", "cps", "noise"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must be 0 or more, not {getattr(self, name)}")

    def arguments(self) -> list[str]:
        """The command line options that `from_namespace` turns back into this configuration."""
        plain = [f"{_flag(f.name)}={getattr(self, f.name)}" for f in fields(self) if f.name != "faults"]
        return plain + [f"--fault={fault}" for fault in sorted(self.faults)]

    @classmethod
    def add_arguments(cls, parser: argparse.ArgumentParser) -> None:
        for f in fields(cls):
            text = f.metadata["help"]
            if f.name == "faults":
                parser.add_argument(
                    "--fault", dest="faults", action="append", default=[], choices=[str(x) for x in Fault], help=text
                )
            else:
                parser.add_argument(
                    _flag(f.name), type=type(f.default), default=f.default, help=f"{text} (default: %(default)s)"
                )

    @classmethod
    def from_namespace(cls, namespace: argparse.Namespace) -> BoardConfig:
        return cls(**{f.name: getattr(namespace, f.name) for f in fields(cls)})


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _faults(names: Sequence[str | Fault] | frozenset[Fault]) -> frozenset[Fault]:
    known = ", ".join(str(fault) for fault in Fault)
    if isinstance(names, str):
        raise ValueError(f"faults takes a collection such as {{{names!r}}}, not a plain string")
    try:
        return frozenset(Fault(name) for name in names)
    except ValueError as e:
        raise ValueError(f"{e}; known faults: {known}") from None
