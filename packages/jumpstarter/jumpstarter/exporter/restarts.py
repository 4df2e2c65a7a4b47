"""Failures in a row: how long to wait before the next start, and when to give up."""

from __future__ import annotations

_MAX_RAPID_FAILURES = 5
_RAPID_SECONDS = 60.0
# Doubled at each failure in a row, in seconds.
_FIRST_DELAY = 0.2
_LONGEST_DELAY = 30.0


class Restarts:
    """`failures`: how many there were in a row, each within `window` seconds of a start."""

    def __init__(self) -> None:
        self.failures = 0
        self.window = _RAPID_SECONDS
        self._most = _MAX_RAPID_FAILURES
        self._delay = _FIRST_DELAY

    def limit(self, failures: int, window: float) -> None:
        """So many are too many."""
        self._most, self.window = failures, window

    def forget_failures(self) -> None:
        """It went well."""
        self.failures, self._delay = 0, _FIRST_DELAY

    def after_failure(self, lived: float) -> float | None:
        """Seconds to wait after a failure `lived` seconds from the start; None: give up."""
        if lived > self.window:
            self.forget_failures()
        else:
            self.failures += 1
            if self.failures >= self._most:
                return None
        delay, self._delay = self._delay, min(2 * self._delay, _LONGEST_DELAY)
        return delay
