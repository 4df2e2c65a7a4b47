"""The client of a serial console under its published name."""

from __future__ import annotations

from jumpstarter_driver_serial.client import SerialClient
from jumpstarter_driver_serial.console import Console

__all__ = ["Console", "PySerialClient"]


class PySerialClient(SerialClient):
    """`jumpstarter_driver_serial.client.SerialClient`."""
