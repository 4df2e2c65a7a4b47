"""Write drivers: `Driver`, `export` and `exportstream`."""

from __future__ import annotations

from .base import Driver
from .decorators import export, exportstream
from .flasher import FlasherInterface

__all__ = ["Driver", "FlasherInterface", "export", "exportstream"]
