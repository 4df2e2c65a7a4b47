"""What makes a method of a driver reachable from a client."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Final, TypeVar

MARKER_MAGIC: Final = "07c9b9cc"
MARKER_DRIVERCALL: Final = "marker_drivercall"
MARKER_STREAMCALL: Final = "marker_streamcall"
MARKER_STREAMING_DRIVERCALL: Final = "marker_streamingdrivercall"

F = TypeVar("F", bound=Callable[..., Any])


def export(func: F) -> F:
    """Mark a method as a driver call; a generator or async generator makes it a streaming call.

    ValueError for anything that is not a function.
    """
    if not inspect.isroutine(func):
        raise ValueError(f"@export goes over a function, not over {type(func).__name__}: {func!r}")
    # A static or class method shows its users the function below, not itself.
    target = func.__func__ if isinstance(func, staticmethod | classmethod) else func
    inner = unguarded(target)
    streaming = inspect.isgeneratorfunction(inner) or inspect.isasyncgenfunction(inner)
    if streaming:
        setattr(target, MARKER_STREAMING_DRIVERCALL, MARKER_MAGIC)
    if not streaming or (inner is not target and inspect.isgeneratorfunction(inner)):
        # 0.9.0 takes a generator below `validate_call` for a method that returns a list: that goes on working.
        setattr(target, MARKER_DRIVERCALL, MARKER_MAGIC)
    return func


def exportstream(func: F) -> F:
    """Mark an async context manager method that yields an `anyio.abc.ObjectStream[bytes]` as a stream constructor."""
    if not callable(func):
        raise ValueError(f"@exportstream goes over a function, not over {type(func).__name__}: {func!r}")
    setattr(func, MARKER_STREAMCALL, MARKER_MAGIC)
    return func


def unguarded(func: Callable[..., Any]) -> Callable[..., Any]:
    """The function below pydantic's `validate_call`: its wrapper is a plain function even over a generator."""
    inner: Callable[..., Any] = getattr(func, "raw_function", func)
    return inner


def is_marked(func: object, marker: str) -> bool:
    """Whether `func` carries `marker`."""
    return getattr(func, marker, None) == MARKER_MAGIC
