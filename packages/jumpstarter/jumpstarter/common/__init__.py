"""Names shared by drivers, clients and tools."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .enums import HOOK_WARNING_PREFIX, ExporterStatus, LogSource
from .metadata import Metadata

if TYPE_CHECKING:
    from .listeners import TemporaryTcpListener, TemporaryUnixListener

__all__ = [
    "HOOK_WARNING_PREFIX",
    "ExporterStatus",
    "LogSource",
    "Metadata",
    "TemporaryTcpListener",
    "TemporaryUnixListener",
]


def __getattr__(name: str) -> Any:
    if name in ("TemporaryTcpListener", "TemporaryUnixListener"):
        from . import listeners

        return getattr(listeners, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
