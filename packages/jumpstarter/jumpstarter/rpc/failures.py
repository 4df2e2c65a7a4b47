"""What can go wrong while a client waits for gRPC, as the exceptions its users know."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from contextlib import contextmanager

import grpc

from jumpstarter.common.exceptions import DriverConnectionError

from .errors import error_from_status


@contextmanager
def rpc_failures(subject: str, explain: Callable[[grpc.RpcError], Exception] | None = None) -> Generator[None]:
    """Raise a failing status as the DriverError for it, or as what `explain` makes of it.

    A channel that was closed, before or while it is waited for, is a DriverConnectionError: grpc.aio would show a
    cancellation that nobody asked for.
    """
    try:
        yield
    except grpc.RpcError as error:
        raise (explain(error) if explain is not None else error_from_status(error, subject)) from None
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        raise _closed(subject) from None
    except grpc.aio.UsageError:
        raise _closed(subject) from None


def _closed(subject: str) -> DriverConnectionError:
    return DriverConnectionError(f"{subject}: the connection to the exporter is closed")
