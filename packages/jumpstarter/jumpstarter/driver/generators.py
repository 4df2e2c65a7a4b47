"""Sync generators in an async exporter: advanced one step at a time in a worker, always closed.

Closing waits for the step under way - a generator cannot be closed while it runs - and happens in a worker too, so that
the
caller who breaks out, is cancelled or dies need not wait for it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

from .workers import Allowance

logger = logging.getLogger(__name__)

END = object()


class Stepper:
    """Advances the generator that `start()` makes; `encode` is applied to each item, still in the worker."""

    def __init__(self, allowance: Allowance, start: Callable[[], Any], encode: Callable[[Any], Any]) -> None:
        self._allowance = allowance
        self._start = start
        self._encode = encode
        self._generator: Any = None
        self._lock = threading.Lock()
        self._running = False
        self._abandoned = False

    async def next(self) -> Any:
        """The next encoded item, or END."""
        return await self._allowance.run(self._step)

    def abandon(self) -> None:
        """Have the generator closed: now when it rests, else when the step under way ends."""
        with self._lock:
            self._abandoned = True
            if self._running or self._generator is None:
                return
        self._allowance.spawn(self._close)

    def _step(self) -> Any:
        with self._lock:
            if self._abandoned:
                return END
            self._running = True
        try:
            if self._generator is None:
                self._generator = iter(self._start())
            return self._encode(next(self._generator))
        except StopIteration:
            return END
        finally:
            if self._ended_abandoned():
                self._close()

    def _ended_abandoned(self) -> bool:
        """Note that the step has ended; whether the generator was abandoned meanwhile."""
        with self._lock:
            self._running = False
            return self._abandoned

    def _close(self) -> None:
        close = getattr(self._generator, "close", None)
        if close is None:
            return
        try:
            close()
        except Exception:
            logger.exception("a generator failed while it was closed")
