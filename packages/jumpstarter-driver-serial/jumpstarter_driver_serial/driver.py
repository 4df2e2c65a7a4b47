"""`Serial`: a serial port as a console that many may watch and one may type into."""

from __future__ import annotations

import os
import threading
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from anyio import to_thread
from anyio.abc import ObjectStream
from jumpstarter.common.exceptions import ConfigurationError
from jumpstarter.driver import Driver, export, exportstream
from serial import Serial as Device
from serial import serial_for_url

from .backlog import Backlog
from .connection import Connection
from .handle import API_READ_SECONDS, clear_hupcl, handle_for, open_unflushed
from .port import Port

MAX_BREAK_SECONDS = 60.0
BITS_PER_CHARACTER = 10


@dataclass(kw_only=True)
class Serial(Driver):
    """A serial port by any pyserial URL: a device path, `socket://host:port`, `rfc2217://host:port`, `loop://` ...

    Opened on first use and kept open until `close`; what arrives while nobody is connected is kept (the newest 64 KiB)
    for the next connection. After an unplug the next use opens it again.

    `url`: the device path or pyserial URL.
    `baudrate`: bits per second.
    `bytesize`: data bits, 5 to 8.
    `parity`: N, E, O, M or S.
    `stopbits`: 1, 1.5 or 2.
    `xonxoff`: software flow control.
    `rtscts`: hardware flow control.
    `check_present`: a device path must exist when the driver is made, else ConfigurationError.
    `cps`: characters per second to send at most.
    `disable_hupcl`: DTR stays up when the port is closed.
    `stall_timeout`: seconds after which a connection that reads nothing is ended while another one waits for data.
    """

    url: str
    baudrate: int = 115200
    bytesize: int = 8
    parity: str = "N"
    stopbits: float = 1
    xonxoff: bool = False
    rtscts: bool = False
    check_present: bool = True
    cps: float | None = None
    disable_hupcl: bool = False
    stall_timeout: float = 10.0

    @classmethod
    def client(cls) -> str:
        return "jumpstarter_driver_serial.client.SerialClient"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._opening = threading.Lock()
        self._backlog = Backlog()
        self._port: Port | None = None
        self._check()

    @exportstream
    @asynccontextmanager
    async def connect(self) -> AsyncGenerator[ObjectStream[bytes]]:
        """Join the console."""
        port = await to_thread.run_sync(self._opened)
        async with Connection(port) as connection:
            if connection.missed:
                text = "serial port %s: nobody was connected to read the first %d bytes; only the newest were kept"
                self.logger.warning(text, self.url, connection.missed)
            yield connection

    @export
    def set_dtr(self, enable: bool) -> None:
        """Set the DTR line."""
        self._opened().set_line("dtr", enable)

    @export
    def set_rts(self, enable: bool) -> None:
        """Set the RTS line."""
        self._opened().set_line("rts", enable)

    @export
    def send_break(self, duration: float = 0.25) -> None:
        """Send a break of `duration` seconds, above 0 and at most 60."""
        if not 0 < duration <= MAX_BREAK_SECONDS:
            raise ValueError(f"a break lasts above 0 and at most {MAX_BREAK_SECONDS:g} s, not {duration:g} s")
        self._opened().send_break(duration)

    @export
    def close(self) -> None:
        """Send what is pending and close the port, which ends all connections; the next use opens it again."""
        with self._opening:
            self._shut()
        super().close()

    def reset(self) -> None:
        """Close the port and forget what was kept."""
        with self._opening:
            self._shut()
            self._backlog = Backlog()
        super().reset()

    def _make_port(self, url: str, **settings: Any) -> Device:
        return serial_for_url(url, **settings)

    def _unopened(self) -> Device:
        return self._make_port(
            self.url,
            baudrate=self.baudrate,
            bytesize=self.bytesize,
            parity=self.parity,
            stopbits=self.stopbits,
            xonxoff=self.xonxoff,
            rtscts=self.rtscts,
            timeout=API_READ_SECONDS,
            exclusive=True,
            do_not_open=True,
        )

    def _check(self) -> None:
        for name, value in (("cps", self.cps), ("stall_timeout", self.stall_timeout)):
            if value is not None and value <= 0:
                raise ConfigurationError(f"serial port {self.url}: {name} must be above 0, not {value:g}")
        try:
            port = self._unopened()
            if self.check_present and "://" not in self.url and not os.path.exists(self.url):
                # For the system's own words for it.
                port.open()
                port.close()
        except ValueError as error:
            raise ConfigurationError(f"serial port {self.url}: {error}") from error
        except OSError as error:
            if self.check_present:
                hint = "plug it in, or set check_present: false if it comes later"
                raise ConfigurationError(f"serial port {self.url}: {_reason(error)}; {hint}") from error

    def _opened(self) -> Port:
        with self._opening:
            if self._port is None or self._port.ended:
                self._shut()
                self._port = self._open()
            return self._port

    def _open(self) -> Port:
        try:
            port = self._unopened()
            open_unflushed(port)
        except (OSError, ValueError, OverflowError) as error:
            raise ConnectionError(f"serial port {self.url} cannot be opened: {_reason(error)}") from error
        if self.disable_hupcl and not clear_hupcl(port):
            self.logger.warning("serial port %s is no tty: disable_hupcl has no effect", self.url)
        return Port(self.url, handle_for(port), self._backlog, cps=self.cps, stall_seconds=self.stall_timeout)

    def _shut(self) -> None:
        port, self._port = self._port, None
        if port is not None and (unsent := port.close(self.cps or self.baudrate / BITS_PER_CHARACTER)):
            self.logger.warning("serial port %s took no more: %d bytes were not sent", self.url, unsent)


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
