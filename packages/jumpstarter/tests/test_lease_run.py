"""A lease lived through on a real session: hooks as processes, clients over gRPC."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import textwrap
from collections.abc import AsyncGenerator, Callable
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jumpstarter.client.client import client_from_path
from jumpstarter.client.core import ExporterNotReady
from jumpstarter.client.status_monitor import StatusMonitor
from jumpstarter.common.enums import ExporterStatus
from jumpstarter.common.exceptions import ConfigurationError
from jumpstarter.config.exporter import ExporterConfigV1Alpha1
from jumpstarter.config.serving import Listener, local_exporter, run_exporter
from jumpstarter.driver import Driver
from jumpstarter.exporter import Session
from jumpstarter.exporter.hooks import Hook
from jumpstarter.exporter.lease_life import FINAL, Event, State
from jumpstarter.exporter.lease_run import LeaseRun, LeaseTerms
from jumpstarter.streams.portal import running_portal

pytestmark = pytest.mark.anyio

FAILED = {ExporterStatus.BEFORE_LEASE_HOOK_FAILED, ExporterStatus.AFTER_LEASE_HOOK_FAILED}


class Nothing(Driver):
    @classmethod
    def client(cls) -> str:
        return "jumpstarter.client.DriverClient"


class RecordingLink:
    """The worker's end of a pipe to a guard that notes what it is told."""

    watchdog_seconds = None

    def __init__(self) -> None:
        self.told: list[str] = []
        self.statuses: list[str] = []

    def status(self, text: str) -> None:
        self.statuses.append(text)

    def __getattr__(self, name: str) -> Any:
        return lambda *args: self.told.append(name) if name not in ("own", "disown") else None


async def write(directory: Path, hooks: str = "", more: str = "") -> ExporterConfigV1Alpha1:
    path = directory / "bench.yaml"
    head = "metadata: {name: bench}\nexport:\n  power: {type: MockPower}\n"
    path.write_text(head + textwrap.dedent(hooks) + textwrap.dedent(more))
    return await asyncio.to_thread(ExporterConfigV1Alpha1.load_path, path)


@asynccontextmanager
async def connected(path: str, **options: Any) -> AsyncGenerator[tuple[Any, StatusMonitor]]:
    async with running_portal() as portal:
        with ExitStack() as stack:
            async with client_from_path(path, portal, stack, [], unsafe=True, **options) as client:
                async with StatusMonitor(client.stub) as monitor:
                    yield client, monitor


class TestLocal:
    async def test_hooks_around_one_lease(self, tmp_path: Path) -> None:
        trace = tmp_path / "trace"
        hooks = f"""\
            hooks:
              beforeLease: {{script: echo before >> {trace}}}
              afterLease: {{script: echo after >> {trace}}}
        """
        async with local_exporter(await write(tmp_path, hooks)) as path, connected(path) as (client, monitor):
            assert await monitor.wait_for_status(ExporterStatus.LEASE_READY, 10)
            assert trace.read_text() == "before\n"
            await client.power.call_async("on")
            assert await client.end_session_async()
            assert await monitor.wait_for_status(ExporterStatus.AVAILABLE, 10)
            assert trace.read_text() == "before\nafter\n"
            with pytest.raises(ExporterNotReady, match="AVAILABLE"):
                await client.power.call_async("on")
        assert trace.read_text() == "before\nafter\n"

    async def test_leaving_without_a_word_runs_the_after_hook(self, tmp_path: Path) -> None:
        hooks = f"hooks: {{afterLease: {{script: touch {tmp_path}/after}}}}\n"
        async with local_exporter(await write(tmp_path, hooks)):
            pass
        assert (tmp_path / "after").exists()

    async def test_clients_wait_for_the_before_hook_and_the_hook_does_not(self, tmp_path: Path) -> None:
        script = f"""\
            from jumpstarter.common.utils import env
            with env() as client:
                client.power.on()
            open("{tmp_path}/called", "w").close()
            open("{tmp_path}/wait").read()
        """
        (tmp_path / "hook.py").write_text(textwrap.dedent(script))
        os.mkfifo(tmp_path / "wait")
        hooks = f"hooks: {{beforeLease: {{script: {sys.executable} {tmp_path}/hook.py}}}}\n"
        async with local_exporter(await write(tmp_path, hooks)) as path, connected(path) as (client, monitor):
            assert await monitor.wait_for_status(ExporterStatus.BEFORE_LEASE_HOOK, 10)
            with pytest.raises(ExporterNotReady, match="BEFORE_LEASE_HOOK"):
                await client.power.call_async("on")
            with pytest.raises(ExporterNotReady, match="BEFORE_LEASE_HOOK"):
                [item async for item in client.power.streamingcall_async("read")]
            await asyncio.to_thread((tmp_path / "wait").write_text, "")
            assert await monitor.wait_for_status(ExporterStatus.LEASE_READY, 10)
            assert (tmp_path / "called").exists()
            await client.power.call_async("on")

    @pytest.mark.parametrize("on_failure", ["warn", "endLease", "exit"])
    async def test_a_failing_before_hook(self, tmp_path: Path, on_failure: str) -> None:
        hooks = f"""\
            hooks:
              beforeLease: {{script: exit 3, onFailure: {on_failure}}}
              afterLease: {{script: touch {tmp_path}/after}}
        """
        async with local_exporter(await write(tmp_path, hooks)) as path, connected(path) as (_, monitor):
            status = await monitor.wait_for_any_of({ExporterStatus.LEASE_READY, *FAILED}, 10)
            message = monitor.status_message
        assert "bench.yaml:5" in message
        assert "exit code 3" in message
        if on_failure == "warn":
            assert status is ExporterStatus.LEASE_READY
            assert message.startswith("[HOOK_WARNING] beforeLease hook warning: ")
        else:
            assert status is ExporterStatus.BEFORE_LEASE_HOOK_FAILED
            assert message.startswith(f"beforeLease hook failed (on_failure={on_failure}")
        assert (tmp_path / "after").exists() is (on_failure == "warn")

    @pytest.mark.parametrize("on_failure", ["warn", "endLease", "exit"])
    async def test_an_after_hook_that_takes_too_long(self, tmp_path: Path, on_failure: str) -> None:
        hooks = f"hooks: {{afterLease: {{script: sleep 60, timeout: 1, onFailure: {on_failure}}}}}\n"
        async with local_exporter(await write(tmp_path, hooks)) as path, connected(path) as (client, monitor):
            assert await monitor.wait_for_status(ExporterStatus.LEASE_READY, 10)
            assert await client.end_session_async()
            status = await monitor.wait_for_any_of({ExporterStatus.AVAILABLE, *FAILED}, 10)
            assert "timed out after 1 second" in monitor.status_message
        failed = on_failure != "warn"
        assert status is (ExporterStatus.AFTER_LEASE_HOOK_FAILED if failed else ExporterStatus.AVAILABLE)


@asynccontextmanager
async def direct(
    config: ExporterConfigV1Alpha1, **options: Any
) -> AsyncGenerator[tuple[str, asyncio.Task[int], RecordingLink]]:
    """`run_exporter` on a free port: its address, its task and its link."""
    link = RecordingLink()
    port: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    work = run_exporter(config, Listener("127.0.0.1", 0), link, listening=port.set_result, **options)
    task = asyncio.ensure_future(work)
    await asyncio.wait({task, port}, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        task.result()
    try:
        yield f"127.0.0.1:{await port}", task, link
    finally:
        task.cancel()
        await asyncio.wait({task})


class TestDirect:
    TRACED = """\
        hooks:
          beforeLease: {{script: echo before >> {0}/trace}}
          afterLease: {{script: echo after >> {0}/trace}}
    """

    async def test_one_lease_after_the_other(self, tmp_path: Path) -> None:
        async with direct(await write(tmp_path, self.TRACED.format(tmp_path))) as (address, _, link):
            for number in range(1, 4):
                async with connected(address, insecure=True) as (client, monitor):
                    assert await monitor.wait_for_status(ExporterStatus.LEASE_READY, 10)
                    assert (tmp_path / "trace").read_text() == "before\nafter\n" * (number - 1) + "before\n"
                    async with client.log_stream_async():
                        assert await client.end_session_async()
                        assert await monitor.wait_for_status(ExporterStatus.AVAILABLE, 10)
            assert link.told == ["ready"]

    async def test_a_client_hears_nothing_of_the_one_before(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        hooks = f"hooks: {{beforeLease: {{script: 'cat {tmp_path}/said'}}}}\n"
        (tmp_path / "said").write_text("first\n")
        caplog.set_level(logging.INFO)
        async with direct(await write(tmp_path, hooks)) as (address, _, _):
            for said in ("first", "second"):
                caplog.clear()
                async with connected(address, insecure=True) as (client, monitor):
                    assert await monitor.wait_for_status(ExporterStatus.LEASE_READY, 10)
                    async with client.log_stream_async():
                        pass
                    heard = [record.message for record in caplog.records if record.name == "exporter:beforeLease"]
                    assert heard == [said]
                    (tmp_path / "said").write_text("second\n")
                    async with client.log_stream_async():
                        assert await client.end_session_async()
                        assert await monitor.wait_for_status(ExporterStatus.AVAILABLE, 10)

    async def test_the_last_of_two_clients_ends_the_lease(self, tmp_path: Path) -> None:
        async with direct(await write(tmp_path, self.TRACED.format(tmp_path))) as (address, _, _):
            own_connection = {"grpc.use_local_subchannel_pool": 1}
            async with connected(address, insecure=True, grpc_options=own_connection) as (first, monitor):
                assert await monitor.wait_for_status(ExporterStatus.LEASE_READY, 10)
                async with first.log_stream_async():
                    async with connected(address, insecure=True, grpc_options=own_connection) as (second, _):
                        async with second.log_stream_async():
                            assert not await first.end_session_async()
                            await first.power.call_async("on")
                    assert await first.end_session_async()
                    assert await monitor.wait_for_status(ExporterStatus.AVAILABLE, 10)
            assert "after" in (tmp_path / "trace").read_text()

    async def test_a_lost_client_leaves_the_board_safe(self, tmp_path: Path) -> None:
        more = "clientLost: {run: [power.off], grace: 0}\n"
        hooks = f"hooks: {{afterLease: {{script: cp {tmp_path}/state {tmp_path}/seen}}}}\n"
        config = await write(tmp_path, hooks, more)
        async with direct(config) as (address, _, _):
            async with connected(address, insecure=True) as (client, monitor):
                assert await monitor.wait_for_status(ExporterStatus.LEASE_READY, 10)
                async with client.log_stream_async():
                    await client.power.call_async("on")
            async with connected(address, insecure=True) as (client, monitor):
                assert await monitor.wait_for_status(ExporterStatus.LEASE_READY, 10)
                readings = [item async for item in client.power.streamingcall_async("read")]
                assert readings[0]["voltage"] == 0

    async def test_a_client_that_comes_back_in_time_keeps_its_lease(self, tmp_path: Path) -> None:
        config = await write(tmp_path, self.TRACED.format(tmp_path), "clientLost: {grace: 60}\n")
        async with direct(config) as (address, _, _):
            async with connected(address, insecure=True) as (client, monitor):
                assert await monitor.wait_for_status(ExporterStatus.LEASE_READY, 10)
                async with client.log_stream_async():
                    pass
                lost = "Waiting for a lost client"
                while monitor.status_message != lost:
                    await asyncio.sleep(0)
                async with client.log_stream_async():
                    while monitor.status_message == lost:
                        await asyncio.sleep(0)
                assert monitor.current_status is ExporterStatus.LEASE_READY
            assert (tmp_path / "trace").read_text() == "before\n"

    async def test_a_refused_lease_ends_the_exporter_and_its_waiting_client_hears_why(self, tmp_path: Path) -> None:
        script = f"'while [ ! -e {tmp_path}/fail ]; do sleep 0.05; done; exit 4'"
        hooks = f"hooks: {{beforeLease: {{script: {script}, onFailure: endLease}}}}\n"
        async with direct(await write(tmp_path, hooks)) as (address, task, link):
            async with connected(address, insecure=True) as (client, monitor):
                async with client.log_stream_async():
                    assert await monitor.wait_for_status(ExporterStatus.BEFORE_LEASE_HOOK, 10)
                    (tmp_path / "fail").touch()
                    assert await monitor.wait_for_status(ExporterStatus.BEFORE_LEASE_HOOK_FAILED, 10)
                    assert "exit code 4" in monitor.status_message
            assert await asyncio.wait_for(task, 10) == 1
            assert "finish" not in link.told

    async def test_exit_on_lease_end(self, tmp_path: Path) -> None:
        config = await write(tmp_path, self.TRACED.format(tmp_path))
        async with direct(config, exit_on_lease_end=True) as (address, task, link):
            async with connected(address, insecure=True) as (client, monitor):
                assert await monitor.wait_for_status(ExporterStatus.LEASE_READY, 10)
                assert await client.end_session_async()
            assert await asyncio.wait_for(task, 10) == 0
            assert link.told == ["ready", "finish", "stopping"]
            assert link.statuses == [
                "Running beforeLease hook",
                "Ready for commands",
                "Running afterLease hooks",
                "Available for new lease",
                "Available for new lease",
                "Exporter shutting down",
            ]

    async def test_safe_calls_are_checked_before_serving(self, tmp_path: Path) -> None:
        for call, told in (("power.of", "of"), ("pwer.off", "pwer")):
            config = await write(tmp_path, more=f"clientLost: {{run: [{call}]}}\n")
            with pytest.raises(ConfigurationError, match=f"bench.yaml:4.*{told}"):
                await direct(config).__aenter__()


HOOKS: dict[str, Callable[[str], Hook | None]] = {
    "none": lambda name: None,
    "passes": lambda name: Hook(name, "true", None, 10, "exit"),
    "warns": lambda name: Hook(name, "exit 1", None, 10, "warn"),
    "ends the lease": lambda name: Hook(name, "exit 1", None, 10, "endLease"),
    "ends the exporter": lambda name: Hook(name, "exit 1", None, 10, "exit"),
    "is killed": lambda name: Hook(name, "kill -9 $$", None, 10, "endLease"),
    "cannot be run": lambda name: Hook(name, "true", "/nonexistent", 10, "warn"),
    "takes its time": lambda name: Hook(name, "sleep 0.02", None, 10, "warn"),
}


@given(
    before=st.sampled_from(sorted(HOOKS)),
    after=st.sampled_from(sorted(HOOKS)),
    faults=st.lists(st.sampled_from([Event.CLIENT_GONE, Event.CLIENT_BACK, Event.ENDED, None]), max_size=8),
)
def test_whatever_happens_when_a_life_ends_after_stop(before: str, after: str, faults: list[Event | None]) -> None:
    """Whatever hooks and clients do, every lease ends, and every exporter stops with the exit code of its hooks."""

    async def live() -> None:
        async with Session(root_device=Nothing()) as session:
            terms = LeaseTerms(before=HOOKS[before]("beforeLease"), after=HOOKS[after]("afterLease"), grace=0.01)
            run = LeaseRun(session, terms)
            life = asyncio.ensure_future(run.run())
            for _ in range(2):
                lease = asyncio.ensure_future(run.lease("lease", "client"))
                for fault in faults:
                    if fault is None:
                        await asyncio.sleep(0.005)
                    else:
                        run.post(fault)
                run.post(Event.ENDED)
                while not lease.done() and not life.done():
                    # An end that came before the lease was ready is late by design: it is repeated until it counts.
                    run.post(Event.ENDED)
                    await asyncio.wait({lease, life}, timeout=0.05, return_when=asyncio.FIRST_COMPLETED)
            run.post(Event.STOP)
            assert await asyncio.wait_for(life, 10) in FINAL
            assert session.status.status is ExporterStatus.OFFLINE
            failed = "ends the exporter" in (before, after)
            assert failed or run.state is State.STOPPED

    asyncio.run(live())


@pytest.mark.parametrize("cut", [Event.ENDED, Event.STOP])
@pytest.mark.parametrize("turns", range(10))
async def test_an_end_in_the_same_moment_as_the_before_hooks_still_has_its_after_hook(turns: int, cut: Event) -> None:
    """`turns`: of the event loop, from the lease's begin to the end."""
    async with Session(root_device=Nothing()) as session:
        run = LeaseRun(session, LeaseTerms(after=Hook("afterLease", "exit 3", None, 10, "exit")))
        life = asyncio.ensure_future(run.run())
        await asyncio.sleep(0)
        run.begin()
        for _ in range(turns):
            await asyncio.sleep(0)
        run.post(cut)
        ended = await asyncio.wait_for(life, 10)
    assert ended is State.FAILED
