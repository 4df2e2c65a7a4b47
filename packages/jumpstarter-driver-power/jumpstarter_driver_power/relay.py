"""USB relay boards of the LCUS kind, with a CH340 serial converter."""

import threading
from collections.abc import Generator
from dataclasses import dataclass, field

from jumpstarter.common.exceptions import ConfigurationError
from jumpstarter.driver import Driver, export

from . import ports
from .common import PowerReading
from .interface import PowerInterface

START_BYTE = 0xA0


def frame(channel: int, closed: bool) -> bytes:
    """The command that closes or opens the contact of `channel`: start byte, channel, state, checksum."""
    body = bytes((START_BYTE, channel, int(closed)))
    return body + bytes((sum(body) & 0xFF,))


@dataclass(kw_only=True)
class SerialRelay(PowerInterface, Driver):
    """One channel of a relay board on a serial port; drivers for the other channels share the open port.

    `port`: a device or any pyserial URL; opened by the first call, and again after it was unplugged.
    `baudrate`: bits per second that the board expects.
    `channel`: 1 to 255.
    `normally_closed`: the board is wired to the contact that conducts while the relay is at rest.
    """

    port: str
    channel: int = 1
    normally_closed: bool = False
    baudrate: int = 9600
    _shared: ports.SharedPort | None = field(init=False, repr=False, default=None)
    _lock: threading.Lock = field(init=False, repr=False, default_factory=threading.Lock)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.port, str) or not self.port:
            raise ConfigurationError(f"port: must name a serial port, such as /dev/ttyUSB0, not {self.port!r}")
        if not _is_int(self.channel) or not 1 <= self.channel <= 255:
            raise ConfigurationError(f"channel: must be a whole number from 1 to 255, not {self.channel!r}")
        if not _is_int(self.baudrate) or self.baudrate <= 0:
            raise ConfigurationError(f"baudrate: must be a whole number above 0, not {self.baudrate!r}")

    def close(self) -> None:
        """Give the port back; the relay stays as it is."""
        with self._lock:
            shared, self._shared = self._shared, None
        if shared is not None:
            ports.release(shared)
        super().close()

    @export
    def on(self) -> None:
        self._switch(True)

    @export
    def off(self) -> None:
        self._switch(False)

    @export
    def read(self) -> Generator[PowerReading, None, None]:
        """NotImplementedError: these boards cannot measure."""
        yield self._measure()

    @export
    def probe(self) -> None:
        """Open the port: whether the board is plugged in. No relay moves."""
        self._port().write(b"")

    def _measure(self) -> PowerReading:
        raise NotImplementedError(f"the relay board on {self.port} cannot measure")

    def _switch(self, power: bool) -> None:
        self.logger.info("%s channel %d: power %s", self.port, self.channel, "on" if power else "off")
        self._port().write(frame(self.channel, closed=power is not self.normally_closed))

    def _port(self) -> ports.SharedPort:
        with self._lock:
            if self._shared is None:
                self._shared = ports.acquire(self.port, self.baudrate)
            return self._shared


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
