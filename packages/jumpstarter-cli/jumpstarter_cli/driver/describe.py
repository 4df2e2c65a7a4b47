"""What is known of a driver without making one: where it comes from, what it exports, and its settings."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import MISSING, dataclass, fields
from typing import Any

from jumpstarter.common.exceptions import ConfigurationError
from jumpstarter.config.registry import Offer, driver_class, offers
from jumpstarter.config.settings import settings_of
from jumpstarter.driver import Driver
from jumpstarter.driver.decorators import (
    MARKER_DRIVERCALL,
    MARKER_STREAMCALL,
    MARKER_STREAMING_DRIVERCALL,
    is_marked,
)

from .annotations import signature_text, type_text
from .docs import description_of, setting_docs

CALL, STREAMING_CALL, STREAM = "call", "streaming call", "stream"
_KINDS = {MARKER_STREAMING_DRIVERCALL: STREAMING_CALL, MARKER_DRIVERCALL: CALL, MARKER_STREAMCALL: STREAM}
_HARMLESS_FACTORIES = (dict, list, set, tuple, str)
_COMMON = {
    "uuid": "Identifies the driver; a new one by default.",
    "labels": "Labels that clients see.",
    "log_level": "Of the driver's log records: DEBUG, INFO, WARNING, ERROR or CRITICAL.",
}


@dataclass(frozen=True)
class SettingInfo:
    """A key of `config`. `default`: MISSING where it is required or made anew for each driver."""

    name: str
    type: str
    annotation: Any
    required: bool
    default: Any
    description: str

    @property
    def common(self) -> bool:
        """Whether every driver has it."""
        return self.name in _COMMON


@dataclass(frozen=True)
class Export:
    """A method that clients can use."""

    name: str
    kind: str
    signature: str
    description: str


@dataclass(frozen=True)
class DriverInfo:
    """`reference`: what a file gives as `type`. `open`: whether `config` takes keys beside `settings`."""

    reference: str
    cls: type[Driver]
    package: str
    version: str
    description: str
    client: str
    exports: list[Export]
    settings: list[SettingInfo]
    open: bool

    @property
    def type(self) -> str:
        """The import path of the class."""
        return import_path(self.cls)


@contextmanager
def quiet_imports() -> Generator[None]:
    """What modules print while they are imported goes to stderr: stdout is for the result."""
    with redirect_stdout(sys.stderr):
        yield


def import_path(cls: type) -> str:
    """The path by which a file can name a class."""
    return f"{cls.__module__}.{cls.__qualname__}"


def describe(reference: str) -> DriverInfo:
    """The driver of an installed name or an import path; ConfigurationError as `driver_class`."""
    with quiet_imports():
        cls = driver_class(reference)
        package, version = _package(reference, cls)
        settings = settings_of(cls)
        described = settings_info(cls)
        return DriverInfo(
            reference=reference,
            cls=cls,
            package=package,
            version=version,
            description=description_of(cls, settings.known),
            client=client_of(cls),
            exports=list(_exports(cls)),
            settings=described,
            open=settings.open,
        )


def client_of(cls: type[Driver]) -> str:
    """The import path of a driver's client class. ConfigurationError where the driver fails to tell it."""
    try:
        return cls.client()
    except Exception as error:
        raise ConfigurationError(f"{cls.__name__}.client() failed: {type(error).__name__}") from error


def offered_type(offer: Offer) -> str:
    """What an offer's class is called in files that do not go by its name."""
    return offer.path.replace(":", ".")


def _package(reference: str, cls: type[Driver]) -> tuple[str, str]:
    """Name and version of the package that a driver comes from; empty where it was not installed."""
    from importlib.metadata import packages_distributions, version

    top = cls.__module__.partition(".")[0]
    installed = offers()
    exact = [offer for offer in installed if reference in (offer.name, offered_type(offer))]
    beside = [offer for offer in installed if offer.path.partition(".")[0] == top]
    for offer in exact + beside:
        return offer.package, offer.version
    packages = packages_distributions().get(top, [])
    return (packages[0], version(packages[0])) if packages else ("", "")


def _exports(cls: type[Driver]) -> Iterator[Export]:
    seen = set()
    for base in cls.__mro__:
        for name in vars(base):
            method = inspect.getattr_static(cls, name)
            kind = next((kind for marker, kind in _KINDS.items() if is_marked(method, marker)), None)
            if kind is None or name in seen:
                continue
            seen.add(name)
            bound = getattr(cls, name)
            yield Export(name, kind, signature_text(bound), inspect.getdoc(bound) or "")


def settings_info(cls: type[Driver]) -> list[SettingInfo]:
    """A driver's settings: its own before those of every driver, and in these the required ones first."""
    known = settings_of(cls).known
    docs = _COMMON | setting_docs(cls, known)
    found = [
        SettingInfo(
            name=name,
            type=type_text(setting.annotation),
            annotation=setting.annotation,
            required=setting.required,
            default=MISSING if setting.required else _default(cls, name, setting.default),
            description=docs.get(name, ""),
        )
        for name, setting in known.items()
    ]
    return sorted(found, key=lambda setting: (setting.common, not setting.required))


def _default(cls: type[Driver], name: str, default: Any) -> Any:
    """The default itself; a field's signature has only a mark for one that is made anew each time."""
    factory = _factories(cls).get(name)
    if factory is None:
        return default
    return factory() if factory in _HARMLESS_FACTORIES else MISSING


def _factories(cls: type[Driver]) -> dict[str, Any]:
    """The default factories of a driver's fields, by what a file calls them."""
    plain = {field.name: field.default_factory for field in fields(cls)}
    pydantic = getattr(cls, "__pydantic_fields__", {}).items()
    found = plain | {field.alias or name: field.default_factory for name, field in pydantic}
    return {name: factory for name, factory in found.items() if factory not in (None, MISSING)}
