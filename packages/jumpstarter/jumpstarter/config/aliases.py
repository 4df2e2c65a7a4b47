"""Configuration files that are named after aliases: one directory of the user's, others that are only read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from jumpstarter.common.exceptions import ConfigurationError, FileNotFoundError

from .document import dotted
from .files import remove
from .suggestions import nearest, suggestion

T = TypeVar("T")

_SUFFIX = ".yaml"
_MAX_BYTES = 200


@dataclass(frozen=True)
class Store:
    """The files of one `kind` ("client"). The first of the directories is the user's; its files hide later ones."""

    kind: str
    directories: tuple[Path, ...]

    def path(self, alias: str) -> Path:
        """Where the user's file of an alias is, or would be. ConfigurationError for what is no alias."""
        self.check(alias)
        return self.directories[0] / f"{alias}{_SUFFIX}"

    def find(self, alias: str) -> Path | None:
        """The file of an alias, None where there is none."""
        self.check(alias)
        candidates = (directory / f"{alias}{_SUFFIX}" for directory in self.directories)
        return next((path for path in candidates if path.exists() or path.is_symlink()), None)

    def get(self, alias: str) -> Path:
        """The file of an alias. FileNotFoundError, with the nearest alias there is."""
        path = self.find(alias)
        if path is None:
            near = suggestion(nearest(alias, self.files())[:1])
            at = self.path(alias)
            raise FileNotFoundError(f"There is no {self.kind} configuration {alias!r}: {at} does not exist{near}")
        return path

    def files(self) -> dict[str, Path]:
        """Alias -> file, in the order of the aliases."""
        found: dict[str, Path] = {}
        for directory in reversed(self.directories):
            found |= {path.name.removesuffix(_SUFFIX): path for path in directory.glob(f"[!.]*{_SUFFIX}")}
        return dict(sorted(found.items()))

    def load_all(self, load: Callable[[str], T]) -> tuple[list[T], list[str]]:
        """What `load` makes of each alias, and the mistakes in those files of which it makes nothing."""
        loaded: list[T] = []
        mistakes: list[str] = []
        for alias in self.files():
            try:
                loaded.append(load(alias))
            except (ConfigurationError, FileNotFoundError) as error:
                mistakes.append(str(error))
        return loaded, mistakes

    def delete(self, alias: str) -> Path:
        """Remove the user's file of an alias. FileNotFoundError where there is none."""
        path = self.get(alias)
        if path != self.path(alias):
            raise ConfigurationError(f"{path} belongs to the system, not to you: remove it there")
        remove(path)
        return path

    def check(self, alias: str) -> None:
        """ConfigurationError for a name that cannot be that of a file in these directories."""
        plain = alias.isprintable() and not any(character in alias for character in "/\\")
        if not plain or alias in ("", ".", "..") or alias.startswith("."):
            problem = "a name without path separators, control characters and a dot in front"
        elif len(alias.encode(errors="surrogatepass")) > _MAX_BYTES:
            problem = f"a name of at most {_MAX_BYTES} bytes"
        else:
            return
        raise ConfigurationError(f"Invalid {self.kind} alias '{dotted((alias,))}': expected {problem}")
