"""A driver tree from the start of its serving to the end: who is called when, how often, and what is left behind."""

from __future__ import annotations

import asyncio
import logging
import os
import stat
import threading
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import psutil
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test
from jumpstarter.client import DriverClient
from jumpstarter.client.core import DriverError
from jumpstarter.common.enums import ExporterStatus
from jumpstarter.common.utils import serve, serve_async
from jumpstarter.driver import Driver, export, exportstream
from jumpstarter.exporter import Session
from jumpstarter.streams.common import create_memory_stream

Journal = list[tuple[str, str]]


class Device(Driver):
    """Writes down what happens to it; `faults` says which of its methods fail, and with what."""

    def __init__(
        self, name: str, journal: Journal, *, supers: int = 1, children: dict[str, Driver] | None = None, **faults: Any
    ) -> None:
        super().__init__(children=children or {})
        self.title = name
        self.journal = journal
        self.supers = supers
        self.faults = faults

    @classmethod
    def client(cls) -> str:
        return "jumpstarter.client.DriverClient"

    def close(self) -> None:
        self._happen("close", super().close)

    def reset(self) -> None:
        self._happen("reset", super().reset)

    def _happen(self, what: str, inherited: Callable[[], None]) -> None:
        for _ in range(self.supers - 1):
            inherited()
        self.journal.append((what, self.title))
        if what in self.faults:
            raise self.faults[what]
        if self.supers:
            inherited()

    @export
    def who(self) -> str:
        return self.title

    @export
    def items(self) -> Generator[int]:
        try:
            while True:
                yield 1
        finally:
            self.journal.append(("items", self.title))

    @exportstream
    @asynccontextmanager
    async def connect(self) -> Any:
        near, far = create_memory_stream()
        async with near, far:
            try:
                yield near
            finally:
                self.journal.append(("stream", self.title))


@pytest.fixture
def journal() -> Journal:
    return []


class TestOrder:
    @pytest.mark.parametrize("supers", [0, 1, 2])
    def test_children_first_once_each(self, journal: Journal, supers: int) -> None:
        def device(name: str, **children: Driver) -> Device:
            return Device(name, journal, supers=supers, children=children)

        tree = device("root", a=device("a", b=device("b"), c=device("c")), d=device("d"))
        with serve(tree) as client:
            assert journal == [("reset", name) for name in ("b", "c", "a", "d", "root")]
            journal.clear()
            assert client.children["a"].children["c"].call("who") == "c"
        assert journal == [("close", name) for name in ("b", "c", "a", "d", "root")]

    def test_one_driver_in_two_places_is_closed_once(self, journal: Journal) -> None:
        shared = Device("shared", journal, children={"leaf": Device("leaf", journal)})
        tree = Device("root", journal, children={"a": Device("a", journal, children={"s": shared}), "s": shared})
        with serve(tree):
            journal.clear()
        assert journal == [("close", name) for name in ("leaf", "shared", "a", "root")]

    def test_a_driver_served_twice_in_a_row(self, journal: Journal) -> None:
        tree = Device("root", journal, children={"a": Device("a", journal)})
        for _ in range(2):
            with serve(tree) as client:
                assert client.children["a"].call("who") == "a"
                assert list(zip(client.streamingcall("items"), range(2), strict=False)) == [(1, 0), (1, 1)]
        walk = [("reset", "a"), ("reset", "root"), ("items", "root"), ("close", "a"), ("close", "root")]
        assert journal == walk * 2

    def test_without_a_session_the_tree_closes_too(self, journal: Journal) -> None:
        tree = Device("root", journal, children={"a": Device("a", journal), "b": Device("b", journal)})
        tree.close()
        assert journal == [("close", "root"), ("close", "a"), ("close", "b")]

    def test_in_a_worker_not_on_the_loop(self) -> None:
        threads = []

        class Careful(Device):
            def _happen(self, what: str, inherited: Callable[[], None]) -> None:
                with pytest.raises(RuntimeError, match="no running event loop"):
                    asyncio.get_running_loop()
                threads.append(threading.current_thread())

        with serve(Careful("root", [])):
            pass
        assert len(threads) == 2
        assert threading.main_thread() not in threads

    def test_whatever_is_open_ends_before_the_driver_closes(self, journal: Journal) -> None:
        with serve(Device("root", journal)) as client:
            items = client.streamingcall("items")
            next(items)
            stream = client.open_stream()
            journal.clear()
        assert sorted(journal[:2]) == [("items", "root"), ("stream", "root")]
        assert journal[2:] == [("close", "root")]
        items.close()
        stream.close()

    def test_a_call_under_way_ends_before_the_driver_closes(self, journal: Journal) -> None:
        running, go_on = threading.Event(), threading.Event()

        class Busy(Device):
            @export
            def work(self) -> None:
                running.set()
                go_on.wait(10)
                self.journal.append(("work", self.title))

        with ThreadPoolExecutor(1) as pool:
            with serve(Busy("root", journal)) as client:
                call = pool.submit(client.call, "work")
                assert running.wait(10)
                threading.Timer(0.3, go_on.set).start()
            assert journal == [("reset", "root"), ("work", "root"), ("close", "root")]
            with suppress(DriverError):
                call.result(10)

    def test_a_call_that_never_ends_does_not_keep_the_driver_open(
        self, journal: Journal, caplog: pytest.LogCaptureFixture
    ) -> None:
        running, go_on = threading.Event(), threading.Event()

        class Stuck(Device):
            @export
            def work(self) -> None:
                running.set()
                go_on.wait(30)

        with ThreadPoolExecutor(1) as pool:
            with serve(Stuck("root", journal)) as client:
                call = pool.submit(client.call, "work")
                assert running.wait(10)
            assert journal[-1] == ("close", "root")
            assert "closing although methods still run in: Stuck" in caplog.messages
            with pytest.raises(DriverError):
                call.result(10)
            go_on.set()


class TestFailures:
    def test_one_failing_close_keeps_no_other_from_closing(self, journal: Journal) -> None:
        broken = Device("b", journal, close=OSError("stuck relay"))
        tree = Device("root", journal, children={"a": Device("a", journal), "b": broken, "c": Device("c", journal)})
        with pytest.raises(OSError, match="stuck relay") as caught, serve(tree):
            journal.clear()
        assert journal == [("close", name) for name in ("a", "b", "c", "root")]
        assert caught.value.__notes__ == ["while calling close() of driver b (Device)"]

    def test_all_errors_are_reported(self, journal: Journal) -> None:
        inner = Device("inner", journal, close=ValueError("inner"))
        outer = Device("outer", journal, close=OSError("outer"), children={"inner": inner})
        tree = Device("root", journal, close=KeyError("root"), children={"outer": outer, "fine": Device("f", journal)})
        with pytest.raises(ExceptionGroup, match="closing failed for 3 drivers") as caught, serve(tree):
            journal.clear()
        assert [name for _, name in journal] == ["inner", "outer", "f", "root"]
        assert [(type(e), e.__notes__) for e in caught.value.exceptions] == [
            (ValueError, ["while calling close() of driver outer.inner (Device)"]),
            (OSError, ["while calling close() of driver outer (Device)"]),
            (KeyError, ["while calling close() of driver root (Device)"]),
        ]

    @pytest.mark.parametrize("fault", [SystemExit(3), KeyboardInterrupt("x"), GeneratorExit("x"), StopIteration("x")])
    def test_an_exit_in_close_is_an_error_like_any_other(self, journal: Journal, fault: BaseException) -> None:
        tree = Device("root", journal, children={"a": Device("a", journal, close=fault), "b": Device("b", journal)})
        with pytest.raises(RuntimeError, match=type(fault).__name__) as caught, serve(tree):
            journal.clear()
        assert journal == [("close", name) for name in ("a", "b", "root")]
        assert caught.value.__cause__ is fault

    @pytest.mark.parametrize("error", [ZeroDivisionError("of the body"), KeyboardInterrupt("x"), SystemExit(3)])
    def test_the_bodys_own_error_is_not_masked(
        self, journal: Journal, caplog: pytest.LogCaptureFixture, error: BaseException
    ) -> None:
        with pytest.raises(type(error)) as caught, serve(Device("root", journal, close=OSError("stuck relay"))):
            raise error
        assert caught.value is error
        assert journal[-1] == ("close", "root")
        assert any("stuck relay" in text and "driver root" in text for text in caplog.messages)

    @pytest.mark.anyio
    async def test_the_bodys_own_error_is_not_masked_on_a_loop(self, journal: Journal) -> None:
        error = ZeroDivisionError("of the body")
        with pytest.raises(ZeroDivisionError) as caught:
            async with serve_async(Device("root", journal, close=OSError("stuck relay"))):
                raise error
        assert caught.value is error

    @pytest.mark.anyio
    async def test_drivers_are_closed_when_the_serving_task_is_cancelled(self, journal: Journal) -> None:
        with anyio.CancelScope() as scope:
            async with serve_async(Device("root", journal)):
                scope.cancel()
                await anyio.sleep_forever()
        assert journal == [("reset", "root"), ("close", "root")]

    def test_a_failing_reset_keeps_no_other_from_its_turn_but_nothing_is_served(self, journal: Journal) -> None:
        broken = Device("a", journal, reset=OSError("no answer"))
        tree = Device("root", journal, children={"a": broken, "b": Device("b", journal)})
        with pytest.raises(OSError, match="no answer") as caught, serve(tree):
            pytest.fail("served")
        assert [entry for entry in journal if entry[0] == "reset"] == [("reset", name) for name in ("a", "b", "root")]
        assert "while calling reset() of driver a (Device)" in caught.value.__notes__

    def test_a_client_class_that_cannot_be_made(self, journal: Journal) -> None:
        class Misled(Device):
            @classmethod
            def client(cls) -> str:
                return f"{__name__}.NeedsMore"

        with pytest.raises(TypeError, match="more"), serve(Misled("root", journal)):
            pytest.fail("served")
        assert journal == [("reset", "root"), ("close", "root")]


class NeedsMore(DriverClient):
    def __init__(self, *, more: int, **fields: Any) -> None:
        super().__init__(**fields)


CLOSED: list[Any] = []


class Closing(DriverClient):
    def close(self) -> None:
        super().close()
        CLOSED.append(self.call("who"))


class ClosesBadly(DriverClient):
    def close(self) -> None:
        raise OSError("client stuck")


class ForClosing(Device):
    @classmethod
    def client(cls) -> str:
        return f"{__name__}.Closing"


class ForClosingBadly(Device):
    @classmethod
    def client(cls) -> str:
        return f"{__name__}.ClosesBadly"


class TestClients:
    """A client's close() comes once, while its exporter still answers."""

    def test_children_first(self, journal: Journal) -> None:
        CLOSED.clear()
        tree = ForClosing("root", journal, children={"a": ForClosing("a", journal), "b": ForClosing("b", journal)})
        with serve(tree):
            assert CLOSED == []
        assert CLOSED == ["a", "b", "root"]

    @pytest.mark.anyio
    async def test_on_a_loop_it_may_block(self, journal: Journal) -> None:
        CLOSED.clear()
        async with serve_async(ForClosing("root", journal)):
            assert CLOSED == []
        assert CLOSED == ["root"]

    def test_its_failure_is_reported_and_the_drivers_are_closed(self, journal: Journal) -> None:
        with pytest.raises(OSError, match="client stuck"), serve(ForClosingBadly("root", journal)):
            pass
        assert journal[-1] == ("close", "root")

    def test_its_failure_masks_no_error_of_the_body(self, journal: Journal, caplog: pytest.LogCaptureFixture) -> None:
        with pytest.raises(ZeroDivisionError), serve(ForClosingBadly("root", journal)):
            raise ZeroDivisionError
        assert "closing the client failed" in caplog.messages

    def test_what_a_client_puts_on_its_stack_ends_with_the_session(self, journal: Journal) -> None:
        with serve(Device("root", journal)) as client:
            client.stack.callback(lambda: CLOSED.append(client.call("who")))
            CLOSED.clear()
        assert CLOSED == ["root"]


def raise_in(place: str, here: str, error: Exception) -> None:
    if place == here:
        raise error


def sockets_below(directory: Path) -> list[Path]:
    return [path for path in directory.rglob("*") if stat.S_ISSOCK(path.lstat().st_mode)]


class TestNothingIsLeft:
    def test_threads_files_and_handlers(self) -> None:
        def use() -> None:
            with serve(Device("root", [], children={"a": Device("a", [])})) as client:
                client.call("who")
                with client.children["a"].stream(), client.log_stream():
                    next(client.streamingcall("items"))
                client.open_stream()

        def threads() -> set[threading.Thread]:
            return {thread for thread in threading.enumerate() if thread.name != "jumpstarter-worker"}

        process = psutil.Process()
        for _ in range(3):
            use()
        threads_before, handlers_before, files_before = threads(), list(logging.getLogger().handlers), process.num_fds()
        for _ in range(20):
            use()
        assert logging.getLogger().handlers == handlers_before
        for thread in threads() - threads_before:
            thread.join(2)
            assert not thread.is_alive(), thread
        # gRPC closes the last ones in its own time.
        assert process.num_fds() < files_before + 20

    def test_the_socket_is_private_and_goes_away(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
        with serve(Device("root", [])) as client:
            (directory,) = tmp_path.iterdir()
            assert stat.S_IMODE(directory.stat().st_mode) == 0o700
            assert len(sockets_below(directory)) == 1
            assert client.call("who") == "root"
        assert list(tmp_path.iterdir()) == []

    def test_a_socket_path_that_would_be_too_long(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        directory = tmp_path / ("x" * 120)
        directory.mkdir()
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(directory))
        with serve(Device("root", [])) as client:
            assert client.call("who") == "root"
            assert list(directory.iterdir()) == []

    @pytest.mark.parametrize("fault", ["reset", "close", "body"])
    def test_after_a_failure_too(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
        handlers = list(logging.getLogger().handlers)
        threads = threading.active_count()
        error = OSError("on purpose")
        with pytest.raises(OSError, match="on purpose"), serve(Device("root", [], **{fault: error})):
            raise_in(fault, "body", error)
        assert list(tmp_path.iterdir()) == []
        assert logging.getLogger().handlers == handlers
        assert threading.active_count() <= threads + 1  # an idle worker

    @pytest.mark.anyio
    async def test_on_a_loop(self) -> None:
        async with serve_async(Device("root", [])) as client:
            await client.call_async("who")
        before = asyncio.all_tasks()
        for _ in range(5):
            async with serve_async(Device("root", [])) as client:
                await client.call_async("who")
                async with client.stream_async(), client.log_stream_async():
                    pass
        left = asyncio.all_tasks() - before
        if left:
            _, pending = await asyncio.wait(left, timeout=2)
            assert not pending


class TestSessions:
    def test_blocking(self, journal: Journal) -> None:
        with Session(root_device=Device("root", journal)) as session, session.serve_unix() as path:
            assert journal == [("reset", "root")]
            assert stat.S_IMODE(os.stat(Path(path).parent).st_mode) == 0o700
            session.update_status(ExporterStatus.LEASE_READY)
        assert journal == [("reset", "root"), ("close", "root")]
        assert not Path(path).exists()

    @pytest.mark.anyio
    async def test_many_endpoints_of_one_session(self, journal: Journal, exporting: Any) -> None:
        from jumpstarter.client.client import open_stub

        async with exporting(Device("root", journal)) as exporter:
            async with exporter.session.serve_unix_async() as one, exporter.session.serve_unix_async() as other:
                assert one != other
                for path in (one, other):
                    async with open_stub(path) as (_, report):
                        assert report.reports[0].uuid == str(exporter.client.uuid)
            assert not Path(one).exists()
            assert await exporter.client.call_async("who") == "root"


class Serving(RuleBasedStateMachine):
    """A tree that grows, is served, used and closed again, against a plain model of what happens to it."""

    @initialize()
    def begin(self) -> None:
        self.journal: Journal = []
        self.devices = [Device("0", self.journal)]
        self.stack: ExitStack | None = None
        self.client: Any = None
        self.open: list[Any] = []

    def model(self) -> list[Device]:
        """Every device once, children first."""
        order: list[Device] = []

        def visit(device: Any) -> None:
            for child in device.children.values():
                visit(child)
            if device not in order:
                order.append(device)

        visit(self.devices[0])
        return order

    def paths(self, device: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Device]]:
        yield path, device
        for name, child in device.children.items():
            yield from self.paths(child, (*path, name))

    def below(self, device: Driver) -> set[int]:
        return {id(device)}.union(*(self.below(child) for child in device.children.values()))

    @precondition(lambda self: self.stack is None and len(self.devices) < 8)
    @rule(parent=st.integers(0), supers=st.integers(0, 2), fails=st.sampled_from([None, None, OSError, SystemExit]))
    def add(self, parent: int, supers: int, fails: Any) -> None:
        name = str(len(self.devices))
        faults = {} if fails is None else {"close": fails(f"fault of {name}")}
        device = Device(name, self.journal, supers=supers, **faults)
        self.devices[parent % len(self.devices)].children[name] = device
        self.devices.append(device)

    @precondition(lambda self: self.stack is None)
    @rule(parent=st.integers(0), child=st.integers(0))
    def share(self, parent: int, child: int) -> None:
        above, shared = self.devices[parent % len(self.devices)], self.devices[child % len(self.devices)]
        if id(above) not in self.below(shared) and sum(1 for _ in self.paths(self.devices[0])) < 40:
            above.children[f"shared{child % len(self.devices)}"] = shared

    @precondition(lambda self: self.stack is None)
    @rule()
    def start(self) -> None:
        self.journal.clear()
        self.stack = ExitStack()
        self.client = self.stack.enter_context(serve(self.devices[0]))
        assert self.journal == [("reset", device.title) for device in self.model()]
        self.journal.clear()

    def find(self, number: int) -> tuple[Any, Device]:
        paths = list(self.paths(self.devices[0]))
        path, device = paths[number % len(paths)]
        client = self.client
        for name in path:
            client = client.children[name]
        return client, device

    @precondition(lambda self: self.stack is not None)
    @rule(number=st.integers(0))
    def call(self, number: int) -> None:
        client, device = self.find(number)
        assert client.call("who") == device.title
        assert client.uuid == device.uuid

    @precondition(lambda self: self.stack is not None and len(self.open) < 4)
    @rule(number=st.integers(0), kind=st.sampled_from(["items", "stream"]))
    def leave_open(self, number: int, kind: str) -> None:
        client, device = self.find(number)
        if kind == "items":
            opened: Any = client.streamingcall("items")
            assert next(opened) == 1
        else:
            opened = client.open_stream()
        self.open.append((opened, (kind, device.title)))

    @precondition(lambda self: self.open)
    @rule()
    def close_one(self) -> None:
        opened, _ = self.open.pop()
        opened.close()

    @precondition(lambda self: self.stack is not None)
    @rule(fails=st.booleans())
    def stop(self, fails: bool) -> None:
        assert self.stack is not None
        stack, self.stack = self.stack, None
        error = ZeroDivisionError() if fails else None
        still_open = sorted(entry for _, entry in self.open)
        raised: BaseException | None = None
        try:
            with stack:
                if error is not None:
                    raise error
        except Exception as caught:
            raised = caught
        closed = [entry for entry in self.journal if entry[0] == "close"]
        assert closed == [("close", device.title) for device in self.model()]
        ended = self.journal[: -len(closed)]
        assert all(ended.count(entry) >= still_open.count(entry) for entry in still_open)
        faults = [device.faults["close"] for device in self.model() if "close" in device.faults]
        assert error in (None, raised)
        if error is None:
            reported = list(raised.exceptions) if isinstance(raised, ExceptionGroup) else [raised] if raised else []
            assert [e if isinstance(e, OSError) else e.__cause__ for e in reported] == faults
        for opened, _ in self.open:
            opened.close()
        self.open.clear()
        self.journal.clear()

    def teardown(self) -> None:
        if getattr(self, "stack", None) is not None:
            self.stop(fails=False)


def test_any_tree_however_used() -> None:
    run_state_machine_as_test(Serving, settings=settings(max_examples=settings.default.max_examples // 2 or 1))
