"""Ctrl-C and SIGTERM let a command clean up; another one, a moment later, ends it at once."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

# Whoever sends a signal to a process and to its group, such as timeout(1), means one.
_SAME_SECONDS = 0.25
_BEFORE = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}


@contextmanager
def interruptible() -> Iterator[None]:
    """Raise KeyboardInterrupt in the body at the first SIGINT or SIGTERM, and die of a later one, as after the body.

    What is ignored here, as under nohup, stays ignored.
    """
    first: float | None = None

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal first
        now = time.monotonic()
        if first is None:
            first = now
            raise KeyboardInterrupt
        # Cleaning up is not interrupted halfway: what it holds locked would stay so.
        if now - first > _SAME_SECONDS:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)

    heeded = [number for number, before in _BEFORE.items() if signal.getsignal(number) is before]
    for number in heeded:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number in heeded:
            signal.signal(number, signal.SIG_DFL)
