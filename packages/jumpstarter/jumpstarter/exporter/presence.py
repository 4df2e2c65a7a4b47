"""Who has a session's log open. A client's shell reads it for as long as it lives, so its end tells of the client's."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Presence:
    """Clients that read the log, by the address of their connection; on one event loop."""

    def __init__(self) -> None:
        self._readers: Counter[str] = Counter()
        self._empty = asyncio.Event()
        self._empty.set()
        # Called with whether anybody is there, whenever that changes.
        self.on_change: Callable[[bool], None] = lambda present: None

    @contextmanager
    def reading(self, peer: str) -> Iterator[None]:
        """For as long as a client reads the log."""
        self._count(peer, 1)
        try:
            yield
        finally:
            self._count(peer, -1)

    @property
    def anybody(self) -> bool:
        """Whether a client is there."""
        return bool(self._readers)

    async def nobody(self) -> None:
        """Return when no client is there."""
        await self._empty.wait()

    def others(self, peer: str) -> bool:
        """Whether anybody but `peer` is there; a lone reader may be `peer` by another of its connections."""
        return self._readers.total() > 1 and any(one != peer for one in self._readers)

    def _count(self, peer: str, difference: int) -> None:
        before = self.anybody
        self._readers[peer] += difference
        if not self._readers[peer]:
            del self._readers[peer]
        if self.anybody is before:
            return
        if self.anybody:
            self._empty.clear()
        else:
            self._empty.set()
        self.on_change(self.anybody)
