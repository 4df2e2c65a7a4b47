"""The contract of a power driver."""

from __future__ import annotations

import math
from contextlib import closing, suppress
from itertools import islice
from typing import Any

from jumpstarter.client import DriverClient
from jumpstarter.driver import Driver

from .common import TIMEOUT, CheckFailed, served, within


def check_power(subject: Driver | DriverClient, *, timeout: float = TIMEOUT) -> None:
    """Switches on and off, each twice in a row, and reads in both states; leaves the power off.

    `on()` and `off()` are harmless when repeated; `read()` gives at least one reading of finite volts and amps, or
    raises NotImplementedError. Raises CheckFailed. `timeout`: seconds for each step.
    """
    with served(subject) as client:
        missing = [name for name in ("on", "off", "read") if not callable(getattr(client, name, None))]
        if missing:
            raise CheckFailed(f"{type(client).__name__} is no power client: it has no {'(), '.join(missing)}()")
        try:
            for method in ("off", "on"):
                within(timeout, f"{method}()", getattr(client, method))
                within(timeout, f"{method}(), repeated,", getattr(client, method))
                _check_reading(client, method, timeout)
        except BaseException:
            with suppress(CheckFailed):
                within(timeout, "off()", client.off)
            raise
        within(timeout, "off(), to end with,", client.off)


def _check_reading(client: Any, state: str, timeout: float) -> None:
    def read() -> list[Any]:
        with closing(client.read()) as readings:
            return list(islice(readings, 1))

    try:
        readings = within(timeout, f"read() while {state}", read, passes=(NotImplementedError,))
    except NotImplementedError:
        return
    if not readings:
        raise CheckFailed(
            f"read() while {state} gave no reading: yield at least one, or raise NotImplementedError if the device "
            "does not measure"
        )
    for name, unit in (("voltage", "volts"), ("current", "amps")):
        value = getattr(readings[0], name, None)
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise CheckFailed(f"read() while {state}: {name} must be a finite number of {unit}, got {value!r}")
