"""`jmp version`."""

from __future__ import annotations

import platform

import click

from . import VERSION
from .output import opt_output, show


@click.command()
@opt_output()
def version(output: str | None) -> None:
    """Print the version of this program."""
    python = platform.python_version()
    show(
        output,
        {"version": VERSION, "python_version": python},
        names=[VERSION],
        text=f"Jumpstarter version: {VERSION} (Python {python})",
    )
