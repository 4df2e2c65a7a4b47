"""Waiting for something that nothing announces."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def eventually(fn: Callable[[], T], *, timeout: float = 5, interval: float = 0.05) -> T:
    """Calls `fn` every `interval` seconds until it stops raising, and returns its result.

    After `timeout` seconds the last exception is raised, with a note of how long it was tried. Prefer waiting for an
    event wherever there is one.
    """
    start = time.monotonic()
    attempts = 0
    while True:
        attempts += 1
        try:
            return fn()
        except Exception as e:
            if time.monotonic() - start + interval > timeout:
                e.add_note(f"eventually: still failing after {attempts} attempts in {timeout:g} s")
                raise
        time.sleep(interval)
