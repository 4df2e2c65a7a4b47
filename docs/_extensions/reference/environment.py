"""The environment variables, from the one module that reads them: each constant has its meaning in a `#:` comment."""

from __future__ import annotations

import inspect
import re

from jumpstarter.config import env

from .markdown import code, table

CONSTANT = re.compile(r'(?:^#: (?P<meaning>.*)\n)?^(?P<name>[A-Z0-9_]+) = "(?P<variable>\w+)"$', re.M)
# What is before a class or a function is constants, in paragraphs that begin with a comment.
PARAGRAPH = re.compile(r"^# (?P<title>.+)\.\n(?P<constants>(?:.+\n)+)", re.M)


def variables() -> str:
    """A section with a table for each paragraph of constants."""
    parts: list[str] = []
    for paragraph in PARAGRAPH.finditer(inspect.getsource(env).partition("\n@dataclass")[0]):
        rows = [
            [code(constant["variable"]), meaning(constant)] for constant in CONSTANT.finditer(paragraph["constants"])
        ]
        parts += [f"## {paragraph['title']}", table(["variable", "meaning"], rows)]
    return "\n\n".join(parts)


def meaning(constant: re.Match[str]) -> str:
    """What a variable means; ValueError where its constant says nothing."""
    if not constant["meaning"]:
        raise ValueError(f"{env.__name__}: give {constant['name']} a comment that begins with #:")
    return constant["meaning"]
