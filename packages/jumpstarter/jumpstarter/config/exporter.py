"""The file of an exporter: who it is, and the tree of drivers it serves."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, Field, PrivateAttr, ValidationError, model_validator

from jumpstarter.common.exceptions import ConfigurationError
from jumpstarter.driver import Driver

from .common import CONFIG_API_VERSION, ObjectMeta, Strict
from .document import Document, Mistake, parse
from .tls import TLSConfigV1Alpha1
from .validation import known_keys, unknown_key, validate

__all__ = [
    "CONFIG_API_VERSION",
    "ExporterConfigV1Alpha1",
    "ExporterConfigV1Alpha1DriverInstance",
    "FailureDetectionConfigV1Alpha1",
    "HookConfigV1Alpha1",
    "HookInstanceConfigV1Alpha1",
    "ObjectMeta",
]


class HookInstanceConfigV1Alpha1(Strict):
    """A script around a lease. `timeout`: seconds. `exec`: the interpreter, by default /bin/sh."""

    script: str
    exec: str | None = None
    timeout: int = Field(default=120, gt=0)
    on_failure: Literal["warn", "endLease", "exit"] = Field(default="warn", alias="onFailure")


class HookConfigV1Alpha1(Strict):
    """The scripts before and after a lease."""

    before_lease: HookInstanceConfigV1Alpha1 | None = Field(default=None, alias="beforeLease")
    after_lease: HookInstanceConfigV1Alpha1 | None = Field(default=None, alias="afterLease")


class FailureDetectionConfigV1Alpha1(Strict):
    """How many failures, each within `rapidFailureWindow` seconds of a start, make the exporter give up."""

    max_rapid_failures: int = Field(default=5, ge=0, alias="maxRapidFailures")
    rapid_failure_window: int = Field(default=60, ge=0, alias="rapidFailureWindow")


class ExporterConfigV1Alpha1DriverInstance(Strict):
    """One entry of the tree: a driver by its `type`, a group with `children` only, or a `ref` to another entry.

    `type`: an installed name or an import path. `config`: the driver's own settings.
    """

    type: str | None = None
    ref: str | None = None
    description: str | None = None
    methods_description: dict[str, str] = Field(default_factory=dict)
    config: dict[str, Any] = Field(default_factory=dict)
    children: dict[str, ExporterConfigV1Alpha1DriverInstance] = Field(default_factory=dict)

    _document: Document | None = PrivateAttr(default=None)

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

    @classmethod
    def from_str(cls, config: str) -> Self:
        """Read one entry. ConfigurationError for all mistakes in it."""
        return cls._of(parse(config, "<text>"))

    @classmethod
    def from_path(cls, path: str | Path) -> Self:
        """Read a file that holds one entry."""
        return cls._of(parse(_read(Path(path)), str(path)))

    def instantiate(self) -> Driver:
        """The driver, with all below it. ConfigurationError before any is made where the entry does not fit them."""
        from .tree import build_entry

        return build_entry(self, self._document)

    @classmethod
    def _of(cls, document: Document) -> Self:
        entry = validate(cls, document)
        entry._document = document
        return entry


class ExporterConfigV1Alpha1(Strict):
    """An exporter's configuration."""

    alias: str = Field(default="default", exclude=True)
    apiVersion: Literal["jumpstarter.dev/v1alpha1"] = "jumpstarter.dev/v1alpha1"  # noqa: N815 - the file's key
    kind: Literal["ExporterConfig"] = "ExporterConfig"
    metadata: ObjectMeta
    endpoint: str | None = None
    tls: TLSConfigV1Alpha1 = Field(default_factory=TLSConfigV1Alpha1)
    token: str | None = None
    grpcOptions: dict[str, str | int] | None = Field(default_factory=dict)  # noqa: N815 - the file's key
    description: str | None = None
    export: dict[str, ExporterConfigV1Alpha1DriverInstance] = Field(default_factory=dict)
    hooks: HookConfigV1Alpha1 = Field(default_factory=HookConfigV1Alpha1)
    failure_detection: FailureDetectionConfigV1Alpha1 = Field(
        default_factory=FailureDetectionConfigV1Alpha1, alias="failureDetection"
    )
    path: Path | None = Field(default=None, exclude=True)

    _document: Document | None = PrivateAttr(default=None)

    @classmethod
    def load_path(cls, path: Path) -> Self:
        """Read a file. ConfigurationError for all mistakes in it, OSError where it cannot be read."""
        path = Path(path)
        config = cls.load_text(_read(path), str(path))
        config.alias, config.path = path.stem, path
        return config

    @classmethod
    def load_text(cls, text: str, source: str = "<text>") -> Self:
        """Read a file's text; `source` is what errors call it."""
        document = parse(text, source)
        document.mistakes += _internal_keys(cls, document)
        config = validate(cls, document, lambda: _driver_mistakes(document.value))
        config._document = document
        return config

    def build(self) -> Driver:
        """The drivers, as one tree. ConfigurationError, for all mistakes at once, before any driver is made.

        Blocks while drivers start. Where one fails, those that were made before it are closed.
        """
        from .tree import build_tree

        return build_tree(self.export, self.description, self._document)


def _internal_keys(model: type[BaseModel], document: Document) -> list[Mistake]:
    """Mistakes for fields that a program sets and a file does not."""
    given = document.value if isinstance(document.value, dict) else {}
    internal = [name for name, field in model.model_fields.items() if field.exclude and name in given]
    return [Mistake((name,), unknown_key(name, known_keys(model))) for name in internal]


def _driver_mistakes(value: Any) -> list[Mistake]:
    """What drivers find wrong with their `config`, in those entries of a faulty file that are sound by themselves."""
    from .tree import config_mistakes

    export = value.get("export") if isinstance(value, dict) else None
    entries = {}
    for name, entry in export.items() if isinstance(export, dict) else ():
        with suppress(ValidationError):
            entries[name] = ExporterConfigV1Alpha1DriverInstance.model_validate(entry)
    return config_mistakes(entries)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path}: not a text file in UTF-8: {error}") from None
