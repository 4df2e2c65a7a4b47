"""The network drivers, under one import path."""

from __future__ import annotations

from .dbus import DbusNetwork
from .echo import EchoNetwork
from .interface import NetworkInterface
from .tcp import TcpNetwork
from .udp import UdpNetwork
from .unix import UnixNetwork
from .vsock import VsockNetwork
from .websocket import WebsocketNetwork

__all__ = [
    "DbusNetwork",
    "EchoNetwork",
    "NetworkInterface",
    "TcpNetwork",
    "UdpNetwork",
    "UnixNetwork",
    "VsockNetwork",
    "WebsocketNetwork",
]
