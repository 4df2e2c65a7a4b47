"""How an interface declares its methods, and how a driver exports them."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import Any

from jumpstarter.driver import Driver
from jumpstarter.driver.decorators import (
    MARKER_DRIVERCALL,
    MARKER_STREAMCALL,
    MARKER_STREAMING_DRIVERCALL,
    is_marked,
)


class Kind(StrEnum):
    """What a client gets from a method."""

    CALL = "a plain method"
    GENERATOR = "a generator"
    STREAM = "a stream constructor"


_MARKERS = {
    MARKER_DRIVERCALL: Kind.CALL,
    MARKER_STREAMING_DRIVERCALL: Kind.GENERATOR,
    MARKER_STREAMCALL: Kind.STREAM,
}
_GENERATORS = re.compile(r"(\w+\.)*(Async)?(Generator|Iterator|Iterable)\b")
_CONTEXT = re.compile(r"(\w+\.)*(Abstract)?AsyncContextManager\b")
_UNION = re.compile(r"^(?:typing\.)?(?:Union|Optional)\[(?P<members>.*)\]$")
_OWN = {"client", "close", "reset"}


def exported(method: object) -> Kind | None:
    """How a driver's method is exported, None if it is not."""
    return next((kind for marker, kind in _MARKERS.items() if is_marked(method, marker)), None)


def declared(function: Callable[..., Any]) -> Kind | None:
    """What an interface wants a method to be, by its marker, code or return annotation; None if it does not say."""
    if kind := exported(function):
        return kind
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        return Kind.GENERATOR
    if inspect.isasyncgenfunction(inspect.unwrap(function)):
        return Kind.STREAM
    annotation = inspect.signature(function).return_annotation
    if annotation is inspect.Signature.empty:
        return None
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    text = _UNION.sub(lambda match: match["members"].replace(",", "|"), text.strip("'\" "))
    parts = [part.strip() for part in text.split("|")]
    if any(_CONTEXT.match(part) for part in parts):
        return Kind.STREAM
    if generators := [part for part in parts if _GENERATORS.match(part)]:
        return Kind.STREAM if any("Stream" in part for part in generators) else Kind.GENERATOR
    return Kind.CALL


def interface_methods(driver_class: type[Driver]) -> Iterator[tuple[type, str, Callable[..., Any]]]:
    """(interface, name, abstract method) of all that the bases of a driver class ask for, bar what every driver has."""
    for base in driver_class.__mro__:
        if base in Driver.__mro__:
            continue
        for name, member in vars(base).items():
            wanted = inspect.isfunction(member) and getattr(member, "__isabstractmethod__", False)
            if wanted and not name.startswith("_") and name not in _OWN:
                yield base, name, member


def exported_names(driver: Driver) -> set[str]:
    """The names that a client can use."""
    found = set()
    for name in dir(type(driver)) + list(vars(driver)):
        if exported(inspect.getattr_static(driver, name, None)):
            found.add(name)
    return found
