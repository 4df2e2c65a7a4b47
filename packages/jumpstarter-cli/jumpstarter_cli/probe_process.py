"""One driver, tried in a process of its own: made, reset, asked for its report, closed."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

# The core is imported here, once for all probes: they are forked off a process that has it.
from jumpstarter.client.client import open_stub
from jumpstarter.client.core import AsyncDriverClient
from jumpstarter.common.enums import ExporterStatus
from jumpstarter.common.exceptions import ConfigurationError, DriverError
from jumpstarter.common.metadata import CLIENT_LABEL
from jumpstarter.config.document import Document
from jumpstarter.config.tree import plan_tree
from jumpstarter.driver import Driver
from jumpstarter.driver.decorators import MARKER_DRIVERCALL, is_marked
from jumpstarter.driver.tree import close_tree
from jumpstarter.driver.workers import Allowance
from jumpstarter.exporter.session import Session

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from jumpstarter.config.entries import Entry

PROBE = "probe"


@dataclass(frozen=True)
class Result:
    """What came of a probe: `error`, or the client class and what `probe()` returned."""

    client: str | None = None
    answer: str | None = None
    error: str | None = None


def run(connection: Connection, entries: Mapping[str, Entry], names: tuple[str, ...]) -> None:
    """Try the driver that `names` lead to in a tree of `entries`; sends each step before it, and the Result at last.

    Closes the driver on SIGTERM.
    """
    # So that all that the driver starts can be ended with it, and nothing it prints gets among the results.
    os.setsid()
    os.dup2(2, 1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with suppress(asyncio.CancelledError):
        connection.send(asyncio.run(_Trial(entries, names, connection.send).run()))


class _Trial:
    def __init__(self, entries: Mapping[str, Entry], names: tuple[str, ...], send: Callable[[str], None]) -> None:
        self._entries = entries
        self._names = names
        self._send = send
        self._step = ""

    async def run(self) -> Result:
        task: Any = asyncio.current_task()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        try:
            self._begin("making the driver")
            plan, _ = plan_tree(self._entries)
            root = await Allowance().run(plan.make, Document("the driver"))
            try:
                return await self._serve(root)
            except asyncio.CancelledError:
                await Allowance().run(close_tree, root)
                raise
        except Exception as error:
            return Result(error=f"{self._step}: {_explained(error)}")

    async def _serve(self, root: Driver) -> Result:
        self._begin("reset()")
        async with Session(root_device=root) as session:
            self._begin("serving it")
            async with session.serve_unix_async() as path, open_stub(path) as (stub, report):
                session.update_status(ExporterStatus.LEASE_READY)
                driver = root
                for name in self._names:
                    driver = driver.children[name]
                client = next(one.labels[CLIENT_LABEL] for one in report.reports if one.uuid == str(driver.uuid))
                result = Result(client, await self._ask(driver, stub))
            self._begin("close()")
        return result

    async def _ask(self, driver: Driver, stub: Any) -> str | None:
        """What the driver answers to `probe()`, None where it has no such method or nothing to say."""
        if not is_marked(getattr(type(driver), PROBE, None), MARKER_DRIVERCALL):
            return None
        self._begin("probe()")
        answer = await AsyncDriverClient(uuid=driver.uuid, stub=stub).call_async(PROBE)
        return None if answer is None else str(answer)

    def _begin(self, step: str) -> None:
        self._step = step
        self._send(step)


def _explained(error: BaseException) -> str:
    """The error, or the ones in it: what the driver raised by itself."""
    if isinstance(error, ConfigurationError) and error.__cause__ is not None:
        return _explained(error.__cause__)
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(map(_explained, error.exceptions))
    if isinstance(error, ConfigurationError):
        return str(error)
    if isinstance(error, DriverError):
        return str(error).removeprefix(f"{PROBE}: ")
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
