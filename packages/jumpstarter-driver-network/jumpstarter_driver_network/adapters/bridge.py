"""One local connection joined to one driver stream."""

from __future__ import annotations

from anyio import BrokenResourceError, EndOfStream, Event
from anyio.abc import AnyByteStream, ObjectStream
from jumpstarter.client import DriverClient
from jumpstarter.streams.common import copy_both_ways

from ..streams import TranslatingStream


class LocalHangUp(BrokenResourceError):
    """The local program went away with data still under way."""


class LocalEnd(TranslatingStream):
    """The connection to a local program.

    `ended`: it has been read to its end. `progress`: set at the next read, the end included.
    """

    def __init__(self, stream: AnyByteStream) -> None:
        super().__init__(stream, lambda error: LocalHangUp(str(error.__cause__ or error)))
        self.ended = False
        self.progress = Event()

    async def receive(self) -> bytes:
        try:
            return await super().receive()
        except EndOfStream:
            self.ended = True
            raise
        finally:
            self.progress.set()
            self.progress = Event()


async def bridge(local: AnyByteStream, client: DriverClient, method: str) -> None:
    """Join `local` to a new driver stream until both directions have ended, or the local program has hung up.

    Raises what the driver has to say: DriverError when its stream cannot be opened, BrokenResourceError when it breaks.
    """
    async with client.stream_async(method) as remote:
        await join(LocalEnd(local), remote, client)


async def join(local: LocalEnd, remote: ObjectStream[bytes], client: DriverClient) -> None:
    """`bridge` for a driver stream that is open."""
    try:
        await copy_both_ways(local, remote)
    except LocalHangUp as error:
        client.logger.debug("the local program closed its connection early: %s", error)
