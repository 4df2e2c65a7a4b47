"""What a client's and an exporter's configuration have in common: a file that is named after an alias."""

from __future__ import annotations

import os
from abc import abstractmethod
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import Field, PrivateAttr

from jumpstarter.common.exceptions import ConfigurationError

from .aliases import Store
from .common import Strict
from .document import Document, Mistake
from .files import read_text, write_text
from .validation import known_keys, unknown_key, validate
from .yaml_reader import parse


class StoredConfig(Strict):
    """A configuration that lives in a file; `alias` and `path` tell where, and are no keys of it."""

    # Fields that are left out of the file where they are as by default.
    OPTIONAL: ClassVar[frozenset[str]] = frozenset()

    alias: str = Field(default="default", exclude=True)
    path: Path | None = Field(default=None, exclude=True)

    _document: Document | None = PrivateAttr(default=None)

    @classmethod
    @abstractmethod
    def store(cls) -> Store:
        """Where the files of this kind are."""

    @classmethod
    def load(cls, alias: str) -> Self:
        """Read the file of an alias. FileNotFoundError where there is none, ConfigurationError for all mistakes."""
        return cls.load_path(cls.store().get(alias))

    @classmethod
    def load_all(cls) -> list[Self]:
        """All configurations of the kind, by alias. ConfigurationError for all mistakes in all files."""
        loaded, mistakes = cls.store().load_all(cls.load)
        if mistakes:
            raise ConfigurationError("\n".join(mistakes))
        return loaded

    @classmethod
    def load_path(cls, path: str | os.PathLike[str]) -> Self:
        """Read a file. FileNotFoundError where there is none, ConfigurationError for all mistakes in it."""
        path = Path(path)
        config = cls.load_text(read_text(path), str(path))
        config.alias, config.path = path.stem, path
        return config

    @classmethod
    def load_text(cls, text: str, source: str = "<text>") -> Self:
        """Read a file's text; `source` is what errors call it."""
        document = parse(text, source)
        document.mistakes += cls._internal_keys(document)
        config = validate(cls, document, lambda: cls._further_mistakes(document.value))
        config._document = document
        return config

    @classmethod
    def save(cls, config: Self, path: str | os.PathLike[str] | None = None) -> Path:
        """Write the file of the configuration's alias, or `path`; returns where. ConfigurationError on failure."""
        target = cls.store().path(config.alias) if path is None else Path(path)
        write_text(target, cls.dump_yaml(config))
        config.path = target
        return target

    @classmethod
    def dump_yaml(cls, config: Self) -> str:
        """The text of the file."""
        return to_yaml(config.to_file())

    @classmethod
    def exists(cls, alias: str) -> bool:
        """Whether there is a file of that alias."""
        return cls.store().find(alias) is not None

    @classmethod
    def delete(cls, alias: str) -> Path:
        """Remove the user's file of an alias; returns where it was. FileNotFoundError where there is none."""
        return cls.store().delete(alias)

    def to_file(self) -> dict[str, Any]:
        """The keys of the file, without those that say nothing."""
        fields = type(self).model_fields
        defaults = {name: fields[name].get_default(call_default_factory=True) for name in self.OPTIONAL}
        silent = {name for name, default in defaults.items() if getattr(self, name) == default}
        values = self.model_dump(mode="json", by_alias=True, exclude=silent)
        return {key: value for key, value in values.items() if value is not None}

    def to_list(self) -> dict[str, Any]:
        """The keys of the file, and which file it is."""
        return {"alias": self.alias, "path": None if self.path is None else str(self.path)} | self.to_file()

    @classmethod
    def _further_mistakes(cls, value: Any) -> list[Mistake]:
        """Mistakes in a faulty file's values that its model does not know of."""
        return []

    @classmethod
    def _internal_keys(cls, document: Document) -> list[Mistake]:
        """Mistakes for fields that a program sets and a file does not."""
        given = document.value if isinstance(document.value, dict) else {}
        internal = [name for name, field in cls.model_fields.items() if field.exclude and name in given]
        return [Mistake((name,), unknown_key(name, known_keys(cls))) for name in internal]


class ListConfig(Strict):
    """All configurations of one kind."""

    items: list[Any]

    def to_plain(self) -> dict[str, Any]:
        """The list as it is printed: every item with its alias and path."""
        return self.model_dump(mode="json", by_alias=True, exclude={"items"}) | {
            "items": [item.to_list() for item in self.items]
        }

    def dump_json(self) -> str:
        """The list as JSON."""
        import json

        return json.dumps(self.to_plain(), indent=4)

    def dump_yaml(self) -> str:
        """The list as YAML."""
        return to_yaml(self.to_plain())


def to_yaml(value: Any) -> str:
    """Plain values as YAML, in their own order."""
    import yaml

    text: str = yaml.safe_dump(value, sort_keys=False, allow_unicode=True)
    return text
