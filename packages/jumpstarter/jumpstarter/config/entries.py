"""One entry of the driver tree in an exporter's file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pydantic import Field, PrivateAttr, field_validator, model_serializer, model_validator

from .common import Strict
from .document import Document
from .files import read_text
from .suggestions import no_driver
from .validation import validate
from .yaml_reader import parse

if TYPE_CHECKING:
    from jumpstarter.driver import Driver


class ExporterConfigV1Alpha1DriverInstance(Strict):
    """One entry of the tree: a driver by its `type`, a group with `children` only, or a `ref` to another entry.

    `type`: an installed name or an import path.
    `ref`: the dotted path of another entry, such as board.power.
    `description`: help text of the driver.
    `methods_description`: help texts of its methods, by name.
    `config`: the driver's own settings.
    `children`: the entries below this one, by name.
    """

    type: str | None = None
    ref: str | None = None
    description: str | None = None
    methods_description: dict[str, str] = Field(default_factory=dict)
    config: dict[str, Any] = Field(default_factory=dict)
    children: dict[str, ExporterConfigV1Alpha1DriverInstance] = Field(default_factory=dict)

    _document: Document | None = PrivateAttr(default=None)

    @field_validator("type")
    @classmethod
    def _is_name(cls, type: str | None) -> str | None:
        if type is not None and not all(type.split(".")):
            raise ValueError(no_driver(type))
        return type

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        given = {name for name in self.model_fields_set if getattr(self, name) is not None}
        form = next((form for form in ("ref", "type", "children") if form in given), None)
        if form is None:
            raise ValueError("expected one of the keys type, children or ref")
        if form == "ref" and given != {"ref"}:
            raise ValueError(f"{' and '.join(sorted(given - {'ref'}))} cannot stand beside ref")
        if form == "children" and (typed := given - {"children", "description"}):
            raise ValueError(f"{' and '.join(sorted(typed))} needs the key type beside it")
        return self

    @model_serializer(mode="plain")
    def _given_keys(self) -> dict[str, Any]:
        """Only what the form has: 0.9.0 tells the forms apart by their keys."""
        values = ((name, getattr(self, name)) for name in type(self).model_fields)
        return {name: value for name, value in values if value or (name == "children" and not (self.type or self.ref))}

    @classmethod
    def from_str(cls, config: str) -> Self:
        """Read one entry. ConfigurationError for all mistakes in it."""
        return cls._of(parse(config, "<text>"))

    @classmethod
    def from_path(cls, path: str | Path) -> Self:
        """Read a file that holds one entry."""
        return cls._of(parse(read_text(Path(path)), str(path)))

    def instantiate(self) -> Driver:
        """The driver, with all below it. ConfigurationError before any is made where the entry does not fit them."""
        from .tree import build_entry

        return build_entry(self, self._document)

    @classmethod
    def _of(cls, document: Document) -> Self:
        entry = validate(cls, document)
        entry._document = document
        return entry


# Stands for an entry that is wrong by itself: nothing is known of it, and nothing more said about it.
FAULTY = ExporterConfigV1Alpha1DriverInstance.model_construct(type="?")

Entry = ExporterConfigV1Alpha1DriverInstance
