"""Driver streams as something that other programs and libraries can use.

The names ending in `Adapter` are for blocking code; the `*_async` functions beside them are the same for an event loop.
"""

from __future__ import annotations

from .dbus import DbusAdapter
from .fabric import FabricAdapter
from .novnc import NovncAdapter, novnc_async
from .pexpect import PexpectAdapter, pexpect_async
from .portforward import (
    TcpPortforwardAdapter,
    UnixPortforwardAdapter,
    tcp_portforward_async,
    unix_portforward_async,
)

__all__ = [
    "DbusAdapter",
    "FabricAdapter",
    "NovncAdapter",
    "PexpectAdapter",
    "TcpPortforwardAdapter",
    "UnixPortforwardAdapter",
    "novnc_async",
    "pexpect_async",
    "tcp_portforward_async",
    "unix_portforward_async",
]
