"""Commands that other packages bring to `jmp`, through the entry-point group `jumpstarter.commands`."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from functools import cache

from .groups import Lazy

GROUP = "jumpstarter.commands"


@cache
def commands() -> dict[str, Lazy]:
    """Name -> command, of every package that is installed.

    importlib.metadata would take longer than all the rest of `jmp --help`.
    """
    found: dict[str, Lazy] = {}
    for package, text in _entry_point_files():
        for name, path in _entries(text):
            found.setdefault(name, Lazy(path, f"({package})"))
    return found


def _entry_point_files() -> Iterator[tuple[str, str]]:
    """Package and text of each entry_points.txt that names the group."""
    for directory in sys.path:
        try:
            names = sorted(os.listdir(directory or "."))
        except OSError:
            continue
        for name in names:
            if not name.endswith(".dist-info"):
                continue
            try:
                with open(os.path.join(directory, name, "entry_points.txt"), encoding="utf-8") as file:
                    text = file.read()
            except (OSError, UnicodeDecodeError):
                continue
            if f"[{GROUP}]" in text:
                yield name.partition("-")[0].replace("_", "-"), text


def _entries(text: str) -> Iterator[tuple[str, str]]:
    section = ""
    for line in map(str.strip, text.splitlines()):
        if line.startswith("["):
            section = line
        elif section == f"[{GROUP}]" and "=" in line:
            name, _, path = line.partition("=")
            yield name.strip(), path.strip()
