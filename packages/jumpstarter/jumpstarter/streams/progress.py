"""How far a transfer is: a bar on the terminal, or lines in the log."""

from __future__ import annotations

import logging as _logging
import sys
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING, Any

from anyio import CancelScope, EndOfStream, TypedAttributeSet, to_thread, typed_attribute
from anyio.abc import ObjectStream

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

logger = _logging.getLogger(__name__)

LOG_INTERVAL = 2.0
"""Seconds between lines in the log, at least."""


class ProgressAttribute(TypedAttributeSet):
    """What a stream may tell of a transfer: `total`, its size in bytes, None where that is unknown."""

    total: int | float | None = typed_attribute()


@dataclass(kw_only=True, eq=False)
class ProgressStream(ObjectStream[bytes]):
    """`stream`, with the bytes of both directions counted on a bar on stderr or, with `logging`, in the log.

    There is no bar where stderr is no terminal, TERM is dumb, or NONINTERACTIVE or JMP_QUIET is set. It is there from
    the first byte until the end of the stream, an error, or `aclose`.
    """

    stream: ObjectStream[bytes]
    logging: bool = False

    _display: _Bar | _LogLines | None = field(init=False, repr=False, default=None)
    _ended: bool = field(init=False, repr=False, default=False)

    async def receive(self) -> bytes:
        try:
            data = await self.stream.receive()
        except EndOfStream:
            # A stream that is only written to ends before the first byte.
            if self._display is not None:
                await self._end()
            raise
        except Exception:
            await self._end()
            raise
        await self._count(len(data))
        return data

    async def send(self, item: bytes) -> None:
        try:
            await self.stream.send(item)
        except Exception:
            await self._end()
            raise
        await self._count(len(item))

    async def send_eof(self) -> None:
        await self.stream.send_eof()

    async def aclose(self) -> None:
        await self._end()
        await self.stream.aclose()

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        return self.stream.extra_attributes

    async def _count(self, size: int) -> None:
        if self._display is None and not self._ended:
            total = self.extra(ProgressAttribute.total, None)
            if self.logging:
                self._display = _LogLines(total)
            elif _bar_is_welcome():
                self._display = bar = _Bar(total)
                # Also for a stream that nobody closes: the bar hides the cursor.
                weakref.finalize(self, bar.close)
                await to_thread.run_sync(bar.open)
            else:
                self._ended = True
        if self._display is not None:
            self._display.advance(size)

    async def _end(self) -> None:
        self._ended = True
        display, self._display = self._display, None
        if display is not None:
            with CancelScope(shield=True):
                await to_thread.run_sync(display.close)


def _bar_is_welcome() -> bool:
    from jumpstarter.config.env import environment

    # stderr is None in a process without one.
    return sys.stderr is not None and sys.stderr.isatty() and environment().interactive


class _Bar:
    def __init__(self, total: float | None) -> None:
        self._total = total
        self._completed = 0
        self._progress: Progress | None = None
        self._task: TaskID | None = None

    def open(self) -> None:
        from rich import progress
        from rich.console import Console

        self._progress = progress.Progress(
            progress.TextColumn("{task.description}"),
            progress.BarColumn(bar_width=None),
            progress.TransferSpeedColumn(),
            progress.DownloadColumn(),
            progress.TextColumn("elapsed"),
            progress.TimeElapsedColumn(),
            progress.TextColumn("remaining"),
            progress.TimeRemainingColumn(),
            console=Console(stderr=True),
            # stdout is the program's own, and may be a pipe.
            redirect_stdout=False,
        )
        self._task = self._progress.add_task("transfer", total=self._total, completed=self._completed)
        self._progress.start()

    def advance(self, size: int) -> None:
        self._completed += size
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, completed=self._completed)

    def close(self) -> None:
        """Leave the bar as it is now; closing twice is fine."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None


class _LogLines:
    def __init__(self, total: float | None) -> None:
        self._total = total
        self._completed = 0
        self._started = self._logged = monotonic()

    def advance(self, size: int) -> None:
        self._completed += size
        if monotonic() - self._logged >= LOG_INTERVAL:
            self._log()

    def close(self) -> None:
        self._log()

    def _log(self) -> None:
        self._logged = monotonic()
        seconds = self._logged - self._started
        done = f"{self._completed / 1e6:.1f}"
        if self._total:
            done += f" of {self._total / 1e6:.1f} MB ({100 * self._completed / self._total:.0f}%)"
        else:
            done += " MB"
        rate = f", {self._completed / 1e6 / seconds:.1f} MB/s" if seconds else ""
        logger.info("transfer: %s in %.0f s%s", done, seconds, rate)
