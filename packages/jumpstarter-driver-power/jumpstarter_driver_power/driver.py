"""The drivers of this package, in one place."""

from .command import CommandPower
from .common import PowerReading
from .interface import PowerInterface, VirtualPowerInterface
from .mock import MockPower, SyncMockPower
from .relay import SerialRelay

__all__ = [
    "CommandPower",
    "MockPower",
    "PowerInterface",
    "PowerReading",
    "SerialRelay",
    "SyncMockPower",
    "VirtualPowerInterface",
]
