"""An exporter to talk to: in this process on a socket of its own, or in another one."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from jumpstarter.client.client import client_from_path
from jumpstarter.common.enums import ExporterStatus
from jumpstarter.driver import Driver
from jumpstarter.exporter import Session
from jumpstarter.streams.portal import running_portal

SCRIPT_SECONDS = 60


@dataclass
class Exporter:
    """A session that is served, and a client of it."""

    session: Session
    path: str
    client: Any


Exporting = Callable[..., AbstractAsyncContextManager[Exporter]]


@asynccontextmanager
async def _exporting(
    driver: Driver,
    status: ExporterStatus = ExporterStatus.LEASE_READY,
    interceptors: Sequence[Any] = (),
    **options: Any,
) -> AsyncGenerator[Exporter]:
    session = Session(root_device=driver, **options)
    serving = session.serve_tcp_async("127.0.0.1", 0, interceptors=list(interceptors))
    async with session, serving as port, running_portal() as portal:
        session.update_status(status)
        path = f"127.0.0.1:{port}"
        with ExitStack() as stack:
            async with client_from_path(path, portal, stack, [], unsafe=True, insecure=True) as client:
                yield Exporter(session, path, client)


@pytest.fixture
def exporting() -> Exporting:
    """Async context manager `(driver, status, interceptors, **session options)`: an Exporter on the running loop."""
    return _exporting


class Scripts:
    """Python scripts in processes of their own."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._running: list[tuple[subprocess.Popen[str], threading.Timer]] = []

    def start(self, source: str, *args: str, name: str = "script", **env: str) -> subprocess.Popen[str]:
        """Run `source` as `name`.py; its standard streams are pipes."""
        path = self._directory / f"{name}.py"
        path.write_text(textwrap.dedent(source))
        process = subprocess.Popen(
            [sys.executable, str(path), *args],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self._directory,
            env={**os.environ, **env},
        )
        # Whoever waits for a line of a script that hangs gets its end instead.
        watch = threading.Timer(SCRIPT_SECONDS, process.kill)
        watch.daemon = True
        watch.start()
        self._running.append((process, watch))
        return process

    def end(self) -> None:
        """Kill what still runs."""
        for process, watch in self._running:
            watch.cancel()
            watch.join()
            process.kill()
            process.communicate()


@pytest.fixture
def scripts(tmp_path: Path) -> Iterator[Scripts]:
    """Starts Python scripts in processes of their own; kills them at the end."""
    running = Scripts(tmp_path)
    yield running
    running.end()
