"""What every power driver offers, whatever switches the board behind it."""

from abc import ABCMeta, abstractmethod
from collections.abc import AsyncGenerator, Awaitable, Generator

from .common import PowerReading


class PowerInterface(metaclass=ABCMeta):
    """For driver authors: stands left of `Driver` in the bases; each method may be sync or async, and is exported.

    A device that cannot measure raises NotImplementedError from `read`. One that can also start the board in a rescue
    mode exports `rescue()`.
    """

    @classmethod
    def client(cls) -> str:
        """The full import path of the client class."""
        return "jumpstarter_driver_power.client.PowerClient"

    @abstractmethod
    def on(self) -> Awaitable[None] | None:
        """Switch the board on; no error when it is on."""

    @abstractmethod
    def off(self) -> Awaitable[None] | None:
        """Switch the board off; no error when it is off."""

    @abstractmethod
    def read(self) -> Generator[PowerReading, None, None] | AsyncGenerator[PowerReading, None]:
        """Measure: one reading or more, as a (possibly endless) generator."""


class VirtualPowerInterface(metaclass=ABCMeta):
    """The same for machines that exist in software only."""

    @classmethod
    def client(cls) -> str:
        """The full import path of the client class."""
        return "jumpstarter_driver_power.client.VirtualPowerClient"

    @abstractmethod
    def on(self) -> Awaitable[None] | None:
        """Start the machine; no error when it runs."""

    @abstractmethod
    def off(self, destroy: bool = False) -> Awaitable[None] | None:
        """Stop the machine; `destroy` also gives up its state, such as its disk."""

    @abstractmethod
    def read(self) -> Generator[PowerReading, None, None] | AsyncGenerator[PowerReading, None]:
        """Measure: one reading or more, as a (possibly endless) generator."""
