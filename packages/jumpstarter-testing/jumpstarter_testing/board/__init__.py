"""A virtual board: power input, serial console, bootloader, kernel log and login shell, in a process of its own."""

from .config import BoardConfig, Fault
from .control import BoardError
from .handle import VirtualBoard

__all__ = ["BoardConfig", "BoardError", "Fault", "VirtualBoard"]
