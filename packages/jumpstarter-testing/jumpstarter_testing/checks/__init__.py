"""Checks that a driver keeps its contract, for driver authors: plain functions that raise `CheckFailed`."""

from .common import CheckFailed
from .driver import check_driver
from .power import check_power
from .stream import check_stream

__all__ = ["CheckFailed", "check_driver", "check_power", "check_stream"]
