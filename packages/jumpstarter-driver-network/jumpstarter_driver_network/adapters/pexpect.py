"""A driver stream as a pexpect session."""

from __future__ import annotations

import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from anyio import move_on_after
from anyio.abc import ObjectStream
from jumpstarter.client import DriverClient
from jumpstarter.client.adapters import blocking
from jumpstarter.streams.common import background_tasks
from jumpstarter.streams.sockets import ConnectedSocket

from .bridge import LocalEnd, join

if TYPE_CHECKING:
    from pexpect.fdpexpect import fdspawn

# With pexpect's own 2000 bytes at a time, a pattern is searched for in all of a long log again and again.
_READ_BYTES = 65536
# How long leaving the context waits for the driver to take more of what the session sent.
_STALLED_S = 3.0


@asynccontextmanager
async def pexpect_async(*, client: DriverClient, method: str = "connect") -> AsyncGenerator[fdspawn[bytes]]:
    """A pexpect session over a driver stream, in bytes: nothing is decoded or changed.

    At the end of the stream pexpect has EOF. So it has when the stream fails; the cause is logged at once, and leaving
    the context raises it, or adds it as a note to the error that leaves the body.
    """
    from pexpect.fdpexpect import fdspawn

    async with client.stream_async(method) as remote:
        ours, theirs = socket.socketpair()
        with ours:
            session: fdspawn[bytes] = fdspawn(theirs.detach(), maxread=_READ_BYTES, use_poll=True)
            try:
                async with ConnectedSocket(ours) as local:
                    link = _Link(client, ours, local, remote)
                    async with link.running(session):
                        yield session
            finally:
                _close(session)


class _Link:
    """Copies between a session's socket and the driver stream, and keeps what ended it."""

    def __init__(
        self, client: DriverClient, ours: socket.socket, local: ConnectedSocket, remote: ObjectStream[bytes]
    ) -> None:
        self._client = client
        self._ours = ours
        self._local = LocalEnd(local)
        self._remote = remote
        self._failure: Exception | None = None

    @asynccontextmanager
    async def running(self, session: fdspawn[bytes]) -> AsyncGenerator[None]:
        try:
            async with background_tasks() as group:
                group.start_soon(self._run)
                try:
                    yield
                finally:
                    _close(session)
                    await self._flush()
        except Exception as error:
            if self._failure is not None:
                error.add_note(f"The driver's stream had failed: {self._failure}")
            raise
        if self._failure is not None:
            raise self._failure

    async def _run(self) -> None:
        try:
            await join(self._local, self._remote, self._client)
        except Exception as error:
            self._fail(error)
        finally:
            self._local.ended = True
            self._local.progress.set()
            # Closing instead would make the session see a reset where it has unread output.
            with suppress(OSError):
                self._ours.shutdown(socket.SHUT_RDWR)

    async def _flush(self) -> None:
        """Wait until the driver has taken what the session sent, for as long as it takes some."""
        while not self._local.ended:
            with move_on_after(_STALLED_S) as scope:
                await self._local.progress.wait()
            if scope.cancelled_caught:
                self._fail(TimeoutError(f"what was sent last is lost: the driver took none for {_STALLED_S:g} s"))
                return

    def _fail(self, error: Exception) -> None:
        self._failure = error
        self._client.logger.warning("the stream behind a pexpect session failed: %s", error)


def _close(session: fdspawn[bytes]) -> None:
    waiting = getattr(session, "async_pw_transport", None)
    if waiting is not None:  # left open by `async_=True`
        waiting[1].close()
    session.close()


PexpectAdapter = blocking(pexpect_async)
