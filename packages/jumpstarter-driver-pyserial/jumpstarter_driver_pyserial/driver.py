"""`PySerial`: the serial driver under its published name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import serial
from jumpstarter_driver_serial.driver import Serial
from serial import serial_for_url


@dataclass(kw_only=True)
class PySerial(Serial):
    """`jumpstarter_driver_serial.driver.Serial` for clients that know the console as `PySerialClient`."""

    @classmethod
    def client(cls) -> str:
        return "jumpstarter_driver_pyserial.client.PySerialClient"

    def _make_port(self, url: str, **settings: Any) -> serial.Serial:
        # The name in this module: tests of published drivers replace it.
        return serial_for_url(url, **settings)
