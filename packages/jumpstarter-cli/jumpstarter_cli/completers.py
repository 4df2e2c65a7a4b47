"""Words that the shell's completion offers for arguments: quick, and silent when there are none."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from pathlib import Path

# A completion that takes longer, in seconds, is given up: someone waits at the keyboard.
_SECONDS = 3.0
_SYSTEM_EXPORTERS = "/etc/jumpstarter/exporters"


def be_quick_and_silent(program: str) -> bool:
    """Whether a shell has started `program` to complete its arguments; this process then soon ends and says no word."""
    if f"_{program}_COMPLETE".upper() not in os.environ:
        return False
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    signal.signal(signal.SIGALRM, lambda number, frame: os._exit(1))
    signal.setitimer(signal.ITIMER_REAL, _SECONDS)
    return True


def client_aliases(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Aliases of the user's client files."""
    from jumpstarter.config.env import environment

    return _aliases([environment().configuration_directory / "clients"], incomplete)


def exporter_aliases(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Aliases of the exporter files of the user and of the system."""
    from pathlib import Path

    from jumpstarter.config.env import environment

    user = environment().configuration_directory / "exporters"
    return _aliases([user, Path(_SYSTEM_EXPORTERS)], incomplete)


def driver_names(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Names of the installed drivers."""
    from importlib.metadata import entry_points

    return sorted({one.name for one in entry_points(group="jumpstarter.drivers") if one.name.startswith(incomplete)})


def _aliases(directories: list[Path], incomplete: str) -> list[str]:
    found: set[str] = set()
    for directory in directories:
        with suppress(OSError):
            found |= {path.stem for path in directory.iterdir() if path.suffix == ".yaml"}
    return sorted(alias for alias in found if alias.startswith(incomplete))
