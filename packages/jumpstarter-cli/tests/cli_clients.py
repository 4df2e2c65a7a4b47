"""Clients of the drivers in cli_board.py."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jumpstarter.client import DriverClient, FlasherClient

if TYPE_CHECKING:
    import click
    from jumpstarter.client.decorators import DriverClickGroup


class SensorClient(DriverClient):
    def cli(self) -> click.Group:
        from jumpstarter.client.decorators import driver_click_group

        @driver_click_group(self)
        def base() -> None:
            """A sensor"""

        self._add_data(base)
        self._add_endings(base)
        self._add_waits(base)
        return base

    def _add_data(self, base: DriverClickGroup) -> None:
        import click

        @base.command()
        def temperature() -> float:
            """Degrees Celsius"""
            return 21.5

        @base.command()
        def info() -> dict[str, Any]:
            """What it is"""
            return {"model": "T-1", "limits": [-20, float("inf")], "serial": None}

        @base.command(text=lambda value: f"{value} °C")
        @click.argument("count", type=int)
        def samples(count: int) -> Iterator[int]:
            """So many samples"""
            yield from range(count)

        @base.command()
        def names() -> list[str]:
            """Its probes"""
            return ["inner", "outer"]

        @base.command()
        def blob() -> bytes:
            """Raw memory"""
            return b"\x00\xff\n"

        @base.command()
        def healthy() -> bool:
            """Whether it works"""
            return True

    def _add_endings(self, base: DriverClickGroup) -> None:
        import click

        @base.command()
        @click.argument("code", type=int)
        def leave(code: int) -> int:
            """End with an exit code"""
            return code

        @base.command()
        @click.argument("kind")
        def fail(kind: str) -> None:
            """Fail on the exporter"""
            self.call("fail", kind)

        @base.command()
        def boom() -> None:
            """Fail here"""
            raise KeyError("calibration")

    def _add_waits(self, base: DriverClickGroup) -> None:
        import click

        @base.command()
        @click.argument("path")
        def wait(path: str) -> None:
            """Wait for the exporter, which does not answer"""
            self.call("wait", path)

        @base.command()
        @click.argument("path")
        def tidy(path: str) -> None:
            """Wait here, and say so when that ends"""
            import threading

            Path(path).write_text("waiting\n")
            try:
                threading.Event().wait()
            finally:
                click.echo("tidied up", err=True)


class MuteClient(DriverClient):
    pass


class BrokenClient(DriverClient):
    def cli(self) -> click.Command:
        raise LookupError("no such probe")


class DiskClient(FlasherClient):
    pass
