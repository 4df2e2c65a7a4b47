"""What a driver that writes images to a device implements."""

from __future__ import annotations

from abc import ABCMeta, abstractmethod
from typing import Any


class FlasherInterface(metaclass=ABCMeta):
    """Mix in left of `Driver`, and export both methods, sync or async; open the handles with `self.resource()`."""

    @classmethod
    def client(cls) -> str:
        """The client class that goes with this interface."""
        return "jumpstarter.client.FlasherClient"

    @abstractmethod
    def flash(self, source: Any, target: str | None = None) -> Any:
        """Write the image behind the handle `source` to `target`, a place by the driver's own name, or the only one."""

    @abstractmethod
    def dump(self, target: Any, partition: str | None = None) -> Any:
        """Write what is in `partition`, or in all of the device, to the handle `target`."""
