"""Adapters: async context managers over a client, for code that blocks."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from functools import wraps
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def blocking(f: Callable[P, AbstractAsyncContextManager[T]]) -> Callable[P, AbstractContextManager[T]]:
    """Turn an async context manager function with an argument `client` into a blocking one, run on that client's loop.

    The result has the signature of `f`, and `f` itself as `__wrapped__`, for use on an event loop.
    """
    signature = inspect.signature(f)
    if "client" not in signature.parameters:
        raise TypeError(f"{f.__qualname__} needs an argument named client")

    @wraps(f)
    def adapter(*args: P.args, **kwargs: P.kwargs) -> AbstractContextManager[T]:
        client = signature.bind(*args, **kwargs).arguments["client"]
        _refuse_running_loop(f.__name__)
        manager: AbstractContextManager[T] = client.portal.wrap_async_context_manager(f(*args, **kwargs))
        return manager

    return adapter


def _refuse_running_loop(name: str) -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise RuntimeError(f"{name}() blocks, and this thread runs an event loop: use `async with {name}.__wrapped__(...)`")
