"""The drivers of this package, in one place; each is imported when it is asked for."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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

_MODULES = {
    "CommandPower": "command",
    "MockPower": "mock",
    "PowerInterface": "interface",
    "PowerReading": "common",
    "SerialRelay": "relay",
    "SyncMockPower": "mock",
    "VirtualPowerInterface": "interface",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_MODULES[name]}", __package__), name)


def __dir__() -> list[str]:
    return __all__
