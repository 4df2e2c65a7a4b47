"""A peer that vanishes without a word, as by a pulled plug: the other side notices within 45 seconds."""

from __future__ import annotations

import os
import signal
from contextlib import AsyncExitStack
from typing import Any

import anyio
import pytest
from google.protobuf.empty_pb2 import Empty
from jumpstarter.client.client import open_stub
from jumpstarter.client.core import AsyncDriverClient
from jumpstarter.common.enums import ExporterStatus
from jumpstarter.driver import Driver

# Ping after 20 s, and as long again for the answer; then some for a busy machine.
NOTICED_SECONDS = 45.0

pytestmark = [pytest.mark.soak, pytest.mark.anyio]


class Nothing(Driver):
    @classmethod
    def client(cls) -> str:
        return "jumpstarter.client.DriverClient"


CLIENT = """
    import sys
    from jumpstarter.common.utils import env

    with env() as client, client.log_stream():
        print("ready", flush=True)
        sys.stdin.read()
"""

EXPORTER = """
    import asyncio
    import sys
    from jumpstarter.common import ExporterStatus
    from jumpstarter.driver import Driver
    from jumpstarter.exporter import Session

    class Nothing(Driver):
        @classmethod
        def client(cls):
            return "jumpstarter.client.DriverClient"

    async def main():
        async with Session(root_device=Nothing()) as session, session.serve_tcp_async("127.0.0.1", 0) as port:
            session.update_status(ExporterStatus.LEASE_READY)
            print(port, flush=True)
            await asyncio.to_thread(sys.stdin.read)

    asyncio.run(main())
"""


async def test_a_client_that_stands_still(exporting: Any, scripts: Any) -> None:
    """A stopped process keeps its connections and answers nothing."""
    async with exporting(Nothing()) as exporter:
        presence = exporter.session.presence
        process = scripts.start(
            CLIENT, JUMPSTARTER_HOST=exporter.path, JMP_GRPC_INSECURE="1", JMP_DRIVERS_ALLOW="UNSAFE"
        )
        assert await anyio.to_thread.run_sync(process.stdout.readline) == "ready\n", process.stderr.read()
        assert presence.anybody
        os.kill(process.pid, signal.SIGSTOP)
        with anyio.fail_after(NOTICED_SECONDS):
            await presence.nobody()


async def test_a_client_that_has_nothing_to_do(exporting: Any, scripts: Any) -> None:
    async with exporting(Nothing()) as exporter:
        presence = exporter.session.presence
        process = scripts.start(
            CLIENT, JUMPSTARTER_HOST=exporter.path, JMP_GRPC_INSECURE="1", JMP_DRIVERS_ALLOW="UNSAFE"
        )
        assert await anyio.to_thread.run_sync(process.stdout.readline) == "ready\n", process.stderr.read()
        with anyio.move_on_after(NOTICED_SECONDS) as waiting:
            await presence.nobody()
        assert waiting.cancelled_caught


async def test_an_exporter_that_stands_still(scripts: Any) -> None:
    process = scripts.start(EXPORTER)
    port = (await anyio.to_thread.run_sync(process.stdout.readline)).strip()
    async with AsyncExitStack() as stack:
        stub, _ = await stack.enter_async_context(open_stub(f"127.0.0.1:{port}", insecure=True))
        client = AsyncDriverClient(stub=stub)
        assert await client.get_status_async() is ExporterStatus.LEASE_READY
        call = stub.LogStream(Empty())
        await call.initial_metadata()
        os.kill(process.pid, signal.SIGSTOP)
        with anyio.fail_after(NOTICED_SECONDS):
            status = await call.code()
        assert status.name == "UNAVAILABLE"
