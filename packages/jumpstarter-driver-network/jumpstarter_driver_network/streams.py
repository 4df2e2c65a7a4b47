"""What the drivers and the adapters put around a stream: errors that say more than that it broke."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from anyio import BrokenResourceError
from anyio.abc import AnyByteStream, ObjectStream


class EndpointLost(BrokenResourceError, ConnectionError):
    """The connection to an endpoint broke; the text names both the endpoint and the cause."""


@dataclass(eq=False)
class TranslatingStream(ObjectStream[bytes]):
    """`stream`, but where it raises BrokenResourceError, what `translate` makes of it is raised."""

    stream: AnyByteStream
    translate: Callable[[BrokenResourceError], Exception]

    async def receive(self) -> bytes:
        try:
            return await self.stream.receive()
        except BrokenResourceError as error:
            raise self.translate(error) from error.__cause__

    async def send(self, item: bytes) -> None:
        try:
            await self.stream.send(item)
        except BrokenResourceError as error:
            raise self.translate(error) from error.__cause__

    async def send_eof(self) -> None:
        await self.stream.send_eof()

    async def aclose(self) -> None:
        await self.stream.aclose()

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        return self.stream.extra_attributes


def endpoint_stream(stream: AnyByteStream, address: str) -> ObjectStream[bytes]:
    """`stream`, raising EndpointLost, which names `address`, where it breaks."""
    return TranslatingStream(stream, lambda error: endpoint_lost(address, error.__cause__))


def endpoint_lost(address: str, cause: BaseException | None) -> EndpointLost:
    """The error for an endpoint that was connected before."""
    lost = EndpointLost(f"{address}: {_text(cause) if cause is not None else 'the connection broke'}")
    lost.errno = getattr(cause, "errno", None)
    return lost


def cannot_connect(address: str, error: OSError) -> OSError:
    """The error for an endpoint that cannot be connected; of the built-in class for its cause."""
    causes = list(_causes(error))
    message = f"cannot connect to {address}: {'; '.join(dict.fromkeys(map(_text, causes)))}"
    number = next((cause.errno for cause in causes if cause.errno is not None), None)
    return OSError(message) if number is None else OSError(number, message)


def _causes(error: BaseException) -> Iterator[OSError]:
    """The attempts that failed behind the one error for all of a host's addresses."""
    if isinstance(error, BaseExceptionGroup):
        for one in error.exceptions:
            yield from _causes(one)
    elif isinstance(error, OSError) and (error.errno is not None or error.__cause__ is None):
        yield error
    elif error.__cause__ is not None:
        yield from _causes(error.__cause__)


def _text(error: BaseException) -> str:
    number = getattr(error, "errno", None)
    if isinstance(number, int) and number > 0:
        return os.strerror(number)
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
