"""Drivers and adapters that installed packages offer through entry points, by name."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from jumpstarter.common.exceptions import ConfigurationError
from jumpstarter.driver import Driver

from .published import PACKAGE_OF, PREFIX

DRIVERS = "jumpstarter.drivers"
ADAPTERS = "jumpstarter.adapters"


@dataclass(frozen=True, order=True)
class Offer:
    """One name that an installed distribution offers, not loaded yet. `path` is `module:attribute`."""

    name: str
    path: str
    distribution: str


def offers(group: str = DRIVERS) -> list[Offer]:
    """Everything installed under an entry-point group, by name, without importing any of it."""
    return sorted(Offer(point.name, point.value, _distribution(point)) for point in entry_points(group=group))


def load(name: str, group: str = DRIVERS) -> Any:
    """What the one package that offers `name` offers.

    Raises ConfigurationError where none does, where several do with different objects, and where loading fails.
    """
    points = {point.value: point for point in entry_points(group=group, name=name)}
    if not points:
        raise ConfigurationError(not_installed(name, group))
    if len(points) > 1:
        sources = " and ".join(sorted(f"{_distribution(point)} ({point.value})" for point in points.values()))
        raise ConfigurationError(
            f"{_kind(group)} {name!r} is offered by {sources}: uninstall one, or name the class in full"
        )
    [point] = points.values()
    try:
        return point.load()
    except Exception as error:
        source = f"{_distribution(point)} ({point.value})"
        message = f"{_kind(group)} {name!r} of {source} cannot be loaded: {type(error).__name__}"
        raise ConfigurationError(message) from error


def driver_class(reference: str) -> type[Driver]:
    """The driver class of an installed name (`TcpNetwork`) or an import path (`package.module.Class`).

    Raises ConfigurationError, with the nearest names or the package to install.
    """
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


def nearest(name: str, candidates: Iterable[str], likeness: float = 0.6) -> list[str]:
    """Up to three candidates that `name` may be a slip of, the nearest first; upper and lower case count as one.

    `likeness`: how much must be equal, between 0 and 1.
    """
    by_lower = {candidate.lower(): candidate for candidate in sorted(candidates, reverse=True)}
    return [by_lower[match] for match in get_close_matches(name.lower(), by_lower, n=3, cutoff=likeness)]


def suggestion(names: list[str]) -> str:
    """The end of an error message that names what the user may have meant, if anything."""
    return f"; did you mean {' or '.join(names)}?" if names else ""


def _import(path: str) -> Any:
    module, _, attribute = path.rpartition(".")
    try:
        holder = import_module(module)
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and error.name == module.partition(".")[0]:
            raise ConfigurationError(f"Driver {path!r} is not installed. {_missing_module(path)}") from None
        raise ConfigurationError(f"driver {path!r} cannot be imported: {type(error).__name__}") from error
    if not hasattr(holder, attribute):
        near = nearest(attribute, (name for name, value in vars(holder).items() if isinstance(value, type)))
        message = f"Driver {path!r} is not installed. Module {module!r} has no {attribute!r}{suggestion(near)}"
        raise ConfigurationError(message)
    return getattr(holder, attribute)


def _missing_module(path: str) -> str:
    top = path.partition(".")[0]
    near = suggestion(nearest(path, (offer.path.replace(":", ".") for offer in offers()), 0.9))
    if top.startswith("jumpstarter_driver_"):
        return f"Its package is missing: pip install {top.replace('_', '-')}{near}"
    return f"Python finds no module {top!r}{near}"


def _kind(group: str) -> str:
    return group.rpartition(".")[2].removesuffix("s")


def _distribution(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist is not None else "an unknown distribution"


def _describe(value: Any) -> str:
    return f"a {type(value).__name__}" if not isinstance(value, type) else f"the class {value.__qualname__}"
