"""Drivers and adapters that installed packages offer through entry points, by name."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from importlib.metadata import EntryPoint, EntryPoints, entry_points
from typing import Any

from jumpstarter.common.exceptions import ConfigurationError
from jumpstarter.driver import Driver

from .published import PACKAGE_OF, PREFIX
from .suggestions import nearest, no_driver, suggestion

DRIVERS = "jumpstarter.drivers"
ADAPTERS = "jumpstarter.adapters"


@dataclass(frozen=True, order=True)
class Offer:
    """One name that an installed package offers, not loaded yet. `path` is `module:attribute`."""

    name: str
    path: str
    package: str
    version: str


def offers(group: str = DRIVERS) -> list[Offer]:
    """Everything installed under an entry-point group, by name, without importing any of it."""
    return sorted(Offer(point.name, point.value, *_distribution(point)) for point in _points(group))


def load(name: str, group: str = DRIVERS) -> Any:
    """What the one package that offers `name` offers.

    Raises ConfigurationError where none does, where several do with different objects, and where loading fails.
    """
    points = {point.value: point for point in _points(group).select(name=name)}
    if not points:
        raise ConfigurationError(not_installed(name, group))
    if len(points) > 1:
        sources = " and ".join(sorted(map(_source, points.values())))
        raise ConfigurationError(
            f"{_kind(group)} {name!r} is offered by {sources}: uninstall one, or name the class in full"
        )
    [point] = points.values()
    try:
        return point.load()
    except (Exception, SystemExit) as error:
        message = f"{_kind(group)} {name!r} of {_source(point)} cannot be loaded: {type(error).__name__}"
        raise ConfigurationError(message) from error


def driver_class(reference: str) -> type[Driver]:
    """The driver class of an installed name (`TcpNetwork`) or an import path (`package.module.Class`).

    Raises ConfigurationError, with the nearest names or the package to install.
    """
    if not all(reference.split(".")):
        raise ConfigurationError(no_driver(reference))
    found = _import(reference) if "." in reference else load(reference)
    if not (isinstance(found, type) and issubclass(found, Driver)):
        raise ConfigurationError(f"{reference!r} is {_describe(found)}, not a driver class")
    return found


def not_installed(name: str, group: str = DRIVERS) -> str:
    """What to tell a user who names something that no installed package offers."""
    head = f"{_kind(group).capitalize()} {name!r} is not installed."
    if group == DRIVERS and name in PACKAGE_OF:
        return f"{head} Its package is missing: pip install {PACKAGE_OF[name]}"
    installed = sorted({offer.name for offer in offers(group)})
    near = nearest(name, installed)
    if group == DRIVERS and not near:
        near = [f"{match} (pip install {PACKAGE_OF[match]})" for match in nearest(name, PACKAGE_OF)]
    if group == DRIVERS and not near:
        guess = name.lower().replace("_", "-")
        head += f" Install the package that offers it, by convention: pip install {PREFIX}{guess}."
    return f"{head} Installed: {', '.join(installed) or 'none'}{suggestion(near)}"


def _import(path: str) -> Any:
    module, _, attribute = path.rpartition(".")
    try:
        holder = import_module(module)
    except (Exception, SystemExit) as error:
        if isinstance(error, ModuleNotFoundError) and error.name == module.partition(".")[0]:
            raise ConfigurationError(f"Driver {path!r} is not installed. {_missing_module(path)}") from None
        raise ConfigurationError(f"driver {path!r} cannot be imported: {type(error).__name__}") from error
    if not hasattr(holder, attribute):
        # What a module imports when it is asked for is in its dir() only.
        near = nearest(attribute, (name for name in dir(holder) if isinstance(vars(holder).get(name, type), type)))
        message = f"Driver {path!r} is not installed. Module {module!r} has no {attribute!r}{suggestion(near)}"
        raise ConfigurationError(message)
    return getattr(holder, attribute)


def _missing_module(path: str) -> str:
    top = path.partition(".")[0]
    near = suggestion(nearest(path, (offer.path.replace(":", ".") for offer in offers()), 0.9))
    if top.startswith("jumpstarter_driver_"):
        return f"Its package is missing: pip install {top.replace('_', '-')}{near}"
    return f"Python finds no module {top!r}{near}"


def _points(group: str) -> EntryPoints:
    return _installed(group, tuple(sys.path))


@lru_cache(maxsize=2)
def _installed(group: str, path: tuple[str, ...]) -> EntryPoints:
    # Reads a file of every installed package.
    return entry_points(group=group)


def _kind(group: str) -> str:
    return group.rpartition(".")[2].removesuffix("s")


def _distribution(point: EntryPoint) -> tuple[str, str]:
    """Name and version of the package that a point belongs to."""
    return (point.dist.name, point.dist.version) if point.dist is not None else ("an unknown package", "")


def _source(point: EntryPoint) -> str:
    return f"{' '.join(_distribution(point)).strip()} ({point.value})"


def _describe(value: Any) -> str:
    return f"a {type(value).__name__}" if not isinstance(value, type) else f"the class {value.__qualname__}"
