"""Annotations and signatures as people write them."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from enum import Enum
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

# Quoted text stays; of a dotted name only the last part is told.
_QUALIFIED = re.compile(r"('[^']*')|\b(?:[A-Za-z_]\w*\.)+(?=[A-Za-z_])")


class _Plain(str):
    """Text that a signature shows without quotes."""

    def __repr__(self) -> str:
        return str(self)


def type_text(annotation: Any) -> str:
    """`str | list[str]`, `'fast' | 'slow'`, `int`: an annotation, evaluated or not."""
    if isinstance(annotation, str):
        return _unqualified(annotation)
    if annotation is Any or annotation is object:
        return "any"
    if annotation is None or annotation is type(None):
        return "None"
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return type_text(arguments[0])
    if origin in (Union, UnionType):
        return " | ".join(map(type_text, arguments))
    if origin is Literal:
        return " | ".join(map(repr, arguments))
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return " | ".join(repr(member.value) for member in annotation)
    if isinstance(origin, type) and arguments and all(isinstance(one, type) or get_origin(one) for one in arguments):
        return f"{origin.__name__}[{', '.join(map(type_text, arguments))}]"
    return _unqualified(annotation.__name__ if isinstance(annotation, type) and not arguments else str(annotation))


def signature_text(method: Callable[..., Any]) -> str:
    """`(volts: float, wait: float = 2) -> bool` of a method as found on its class; `self` is left out."""
    try:
        signature = inspect.signature(method)
    except (TypeError, ValueError):
        return "(...)"
    parameters = list(signature.parameters.values())
    if parameters and parameters[0].name in ("self", "cls"):
        parameters = parameters[1:]
    shown = [p.replace(annotation=_plain(p.annotation)) for p in parameters]
    result = signature.return_annotation
    return str(signature.replace(parameters=shown, return_annotation=_plain(result)))


def _plain(annotation: Any) -> Any:
    return annotation if annotation is inspect.Signature.empty else _Plain(type_text(annotation))


def _unqualified(text: str) -> str:
    return _QUALIFIED.sub(lambda match: match[1] or "", text)
