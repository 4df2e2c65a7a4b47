"""What all checks share: their failure, serving what is checked, and a deadline for every step."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, TypeVar

from jumpstarter.client import DriverClient
from jumpstarter.common.utils import serve
from jumpstarter.driver import Driver

T = TypeVar("T")

TIMEOUT = 30.0
"""Seconds that one step of a check may take."""


class CheckFailed(AssertionError):
    """A driver breaks its contract; the message says which driver, what is wrong and what to do."""


@contextmanager
def served(subject: Driver | DriverClient) -> Iterator[Any]:
    """The client of a driver, served over gRPC for the time of the block; a client is given as it is."""
    if isinstance(subject, DriverClient):
        yield subject
    elif isinstance(subject, Driver):
        with serve(subject) as client:
            yield client
    else:
        raise TypeError(f"expected a Driver or a DriverClient, got {type(subject).__name__}")


def within(seconds: float, what: str, function: Callable[[], T], *, passes: tuple[type[Exception], ...] = ()) -> T:
    """The result of a blocking call; CheckFailed, beginning with `what`, when it fails or does not end in time.

    Exceptions in `passes` go to the caller.
    """
    result: Future[T] = Future()
    threading.Thread(target=_settle, args=(result, function), daemon=True, name=what).start()
    try:
        return result.result(seconds)
    except passes:
        raise
    except CheckFailed as e:
        raise CheckFailed(f"{what}: {e}") from e.__cause__
    except Exception as e:
        if not result.done():
            raise CheckFailed(f"{what} did not end within {seconds:g} s") from None
        raise CheckFailed(f"{what} failed: {type(e).__name__}: {e}") from e
    finally:
        del result  # its exception and this frame would keep each other alive


def _settle(result: Future[T], function: Callable[[], T]) -> None:
    try:
        result.set_result(function())
    except BaseException as e:
        result.set_exception(e)
    finally:
        del result
