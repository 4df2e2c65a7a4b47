"""Adapters: async context managers over a client, for code that blocks."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from functools import wraps
from typing import ParamSpec, TypeVar

from jumpstarter.streams.portal import Entered, refuse_running_loop

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
        refuse_running_loop(f.__name__, f"`async with {f.__name__}.__wrapped__(...)`")
        return Entered(client.portal, f.__name__, f(*args, **kwargs))

    return adapter
