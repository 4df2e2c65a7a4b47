"""A configuration file's values, where each of them is, and what is wrong with them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from jumpstarter.common.exceptions import ConfigurationError

KeyPath = tuple[str | int | float, ...]

# Of a file that is wrong all over, this many mistakes are told.
_TOLD = 100
_KEY_CHARACTERS = 60


@dataclass(frozen=True)
class Mistake:
    """What is wrong with the value at `path`."""

    path: KeyPath
    text: str


@dataclass
class Document:
    """The plain value of a text, where each of its keys and items is, and what is wrong with the text itself."""

    source: str
    value: Any = None
    positions: dict[KeyPath, tuple[int, int]] = field(default_factory=dict)
    mistakes: list[Mistake] = field(default_factory=list)

    def position(self, path: KeyPath) -> tuple[int, int]:
        """Line and column of a key; where there is no such key, of the nearest one around it."""
        found: KeyPath = ()
        for key in path:
            spelled = next((one for one in spellings(key) if (*found, one) in self.positions), None)
            if spelled is None:
                break
            found = (*found, spelled)
        return self.positions.get(found, (1, 1))

    def refuse(self, mistakes: list[Mistake]) -> None:
        """Raise one ConfigurationError for all mistakes, in the order of the file; nothing for none."""
        if not mistakes:
            return
        found = {(self.position(mistake.path), _describe(mistake)) for mistake in mistakes}
        lines = [f"{self.source}:{line}:{column}: {text}" for (line, column), text in sorted(found)]
        if len(lines) > _TOLD:
            lines[_TOLD:] = [f"{self.source}: and {len(lines) - _TOLD} more mistakes"]
        raise ConfigurationError("\n".join(lines))


def spellings(key: str | int | float) -> tuple[str | int | float, ...]:
    """How a file may write a key: as it is, or `beforeLease` as `before_lease`, where a field is named that."""
    snake = re.sub("[A-Z]", lambda match: f"_{match[0].lower()}", key) if isinstance(key, str) else key
    return (key,) if snake == key else (key, snake)


def dotted(path: KeyPath) -> str:
    """A path as users write it."""
    return ".".join(_presentable(str(part)) for part in path)


def _describe(mistake: Mistake) -> str:
    return f"{dotted(mistake.path)}: {mistake.text}" if mistake.path else mistake.text


def _presentable(key: str) -> str:
    text = key if key.isprintable() else repr(key)[1:-1]
    return text if len(text) <= _KEY_CHARACTERS else f"{text[:_KEY_CHARACTERS]}..."
