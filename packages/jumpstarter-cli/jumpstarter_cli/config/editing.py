"""A file in the user's editor: nothing is saved unasked that is not right, and no text is lost."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from jumpstarter.common.exceptions import ConfigurationError
from jumpstarter.config.files import read_text, write_text

from ..errors import tell
from .questions import at_terminal

_AGAIN, _SAVE, _DISCARD = "e", "s", "d"


def edit_file(path: Path, check: Callable[[str], None]) -> bool:
    """Let the user edit a copy of a file until `check` raises no ConfigurationError; whether it was saved.

    At a terminal the user decides what becomes of a text that is not right; elsewhere its mistakes are the error.
    """
    before = read_text(path)
    if not os.access(path, os.W_OK):
        raise ConfigurationError(f"{path}: cannot be written: permission denied")
    text = before
    while True:
        text = click.edit(text, extension=path.suffix, require_save=False) or ""
        if text in (before, f"{before}\n"):  # editors end the last line
            return False
        with _kept(path, text):
            mistakes = _mistakes(text, check)
        if mistakes is not None and not at_terminal():
            raise mistakes
        with _kept(path, text):
            decision = _SAVE if mistakes is None else _ask(mistakes)
            if decision == _SAVE:
                write_text(path, text)
        if decision != _AGAIN:
            return decision == _SAVE


def _mistakes(text: str, check: Callable[[str], None]) -> ConfigurationError | None:
    try:
        check(text)
    except ConfigurationError as error:
        return error
    return None


def _ask(mistakes: ConfigurationError) -> str:
    tell(str(mistakes), error=True)
    answer: str = click.prompt(
        "Edit again (e), save all the same (s), or discard (d)?",
        default=_AGAIN,
        type=click.Choice([_AGAIN, _SAVE, _DISCARD]),
        err=True,
    )
    return answer


@contextmanager
def _kept(path: Path, text: str) -> Iterator[None]:
    """What is not saved, be it for an error or an interrupt, is put where the user is told to find it."""
    try:
        yield
    except BaseException:
        descriptor, kept = tempfile.mkstemp(prefix=f"{path.stem}.", suffix=path.suffix)
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        tell(f"Not saved; your text is kept in {kept}")
        raise
