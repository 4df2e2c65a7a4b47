"""Drive an exporter: `DriverClient`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .base import DriverClient
from .client import client_from_path

if TYPE_CHECKING:
    from .flasher import FlasherClient, FlasherClientInterface

__all__ = ["DriverClient", "FlasherClient", "FlasherClientInterface", "client_from_path"]


def __getattr__(name: str) -> Any:
    if name in ("FlasherClient", "FlasherClientInterface"):
        from . import flasher

        return getattr(flasher, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
