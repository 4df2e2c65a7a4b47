"""The client of a serial console."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from jumpstarter.client import DriverClient

if TYPE_CHECKING:
    import click
    from pexpect.fdpexpect import fdspawn


class SerialClient(DriverClient):
    """A serial console: `pexpect()` for a session to script, `stream()` and `stream_async()` for its raw bytes."""

    _session: ExitStack | None = None

    def open(self) -> fdspawn[bytes]:
        """A pexpect session that lasts until `close()`, the next `open()` or the end of this client."""
        self._end_session()
        self._session = self.stack.enter_context(ExitStack())
        return self._session.enter_context(self.pexpect())

    def close(self) -> None:
        """End the session of `open()`."""
        self._end_session()
        super().close()

    def _end_session(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            session.close()

    @contextmanager
    def pexpect(self) -> Iterator[fdspawn[bytes]]:
        """A pexpect session on the console, in bytes."""
        from jumpstarter_driver_network.adapters import PexpectAdapter

        with PexpectAdapter(client=self) as session:
            yield session

    def set_dtr(self, enable: bool) -> None:
        """Set the DTR line."""
        self.call("set_dtr", enable)

    def set_rts(self, enable: bool) -> None:
        """Set the RTS line."""
        self.call("set_rts", enable)

    def send_break(self, duration: float = 0.25) -> None:
        """Send a break of `duration` seconds."""
        self.call("send_break", duration)

    def cli(self) -> click.Group:
        """`start-console` and `pipe`."""
        from .cli import serial_group

        return serial_group(self)
