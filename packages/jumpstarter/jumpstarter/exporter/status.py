"""What a session is doing, and waking those who wait for it to change."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from jumpstarter.common.enums import ExporterStatus


class SessionStatus:
    """The status of one session. Every update raises `version` by one."""

    def __init__(self) -> None:
        self.status = ExporterStatus.AVAILABLE
        self.message = ""
        self.version = 0
        self.previous: ExporterStatus | None = None
        self._waiting: dict[asyncio.Event, asyncio.AbstractEventLoop] = {}

    def update(self, status: ExporterStatus, message: str = "") -> None:
        """Change the status, from any thread, and wake every waiter."""
        self.previous, self.status, self.message = self.status, status, message
        self.version += 1
        for event, loop in list(self._waiting.items()):
            with suppress(RuntimeError):  # the loop has ended, and the waiter with it
                loop.call_soon_threadsafe(event.set)

    async def changed(self, version: int, seconds: float) -> None:
        """Return when `version` is no longer the present one, or after `seconds`."""
        event = asyncio.Event()
        self._waiting[event] = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(seconds):
                while self.version == version:
                    event.clear()
                    await event.wait()
        except TimeoutError:
            return
        finally:
            del self._waiting[event]
