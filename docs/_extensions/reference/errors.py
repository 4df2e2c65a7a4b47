"""The tree of errors, as the module that defines it draws it."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

from jumpstarter.common import exceptions


def tree() -> str:
    """The drawing."""
    _, _, drawing = inspect.cleandoc(exceptions.__doc__ or "").partition("\n\n")
    return f"```text\n{drawing}\n```"


def classes() -> str:
    """A description of each class."""
    lines = [f".. autoexception:: {cls.__module__}.{cls.__name__}" for cls in below(exceptions.JumpstarterException)]
    return "\n".join(["```{eval-rst}", *(f"{line}\n   :show-inheritance:" for line in lines), "```"])


def below(cls: type[Exception]) -> Iterator[type[Exception]]:
    """A class of the module, and its subclasses there, from the top."""
    if cls.__module__ == exceptions.__name__:
        yield cls
        for subclass in cls.__subclasses__():
            yield from below(subclass)
