"""Fake supplies for tests of what uses power: they remember whether they are on, and measure accordingly."""

from collections.abc import AsyncGenerator, Generator
from dataclasses import dataclass, field

from jumpstarter.driver import Driver, export

from .common import PowerReading
from .interface import PowerInterface

OFF = PowerReading(voltage=0.0, current=0.0)
ON = PowerReading(voltage=5.0, current=2.0)


@dataclass(kw_only=True)
class MockPower(PowerInterface, Driver):
    """A fake supply; `powered` is its state. `read` gives two readings: at rest, then under load if it is on."""

    powered: bool = field(init=False, default=False)

    def reset(self) -> None:
        """Off again, as after construction."""
        super().reset()
        self.powered = False

    @export
    async def on(self) -> None:
        self.logger.info("power on")
        self.powered = True

    @export
    async def off(self) -> None:
        self.logger.info("power off")
        self.powered = False

    @export
    async def read(self) -> AsyncGenerator[PowerReading, None]:
        yield OFF
        yield ON if self.powered else OFF


@dataclass(kw_only=True)
class SyncMockPower(PowerInterface, Driver):
    """The same as `MockPower`, with synchronous methods."""

    powered: bool = field(init=False, default=False)

    def reset(self) -> None:
        """Off again, as after construction."""
        super().reset()
        self.powered = False

    @export
    def on(self) -> None:
        self.logger.info("power on")
        self.powered = True

    @export
    def off(self) -> None:
        self.logger.info("power off")
        self.powered = False

    @export
    def read(self) -> Generator[PowerReading, None, None]:
        yield OFF
        yield ON if self.powered else OFF
