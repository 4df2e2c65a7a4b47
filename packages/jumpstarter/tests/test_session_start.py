"""What keeps a session from starting, and that nothing stays open or behind then."""

from __future__ import annotations

import logging
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from jumpstarter.common.exceptions import ConfigurationError
from jumpstarter.common.utils import serve, serve_async
from jumpstarter.driver import Driver, export
from jumpstarter.exporter import Session

SOON = 20


class Device(Driver):
    def __init__(self, *, on_reset: Callable[[], object] = lambda: None, **fields: Any) -> None:
        super().__init__(**fields)
        self.on_reset = on_reset
        self.closed = threading.Event()

    @classmethod
    def client(cls) -> str:
        return "jumpstarter.client.DriverClient"

    @export
    def ping(self) -> str:
        return "pong"

    def reset(self) -> None:
        super().reset()
        self.on_reset()

    def close(self) -> None:
        super().close()
        self.closed.set()


class Labelled(Device):
    def __init__(self, extra: dict[Any, Any], **fields: Any) -> None:
        super().__init__(**fields)
        self.extra = extra

    def extra_labels(self) -> dict[str, str]:
        return self.extra


@pytest.fixture(autouse=True)
def no_handler_is_left() -> Iterator[None]:
    before = list(logging.getLogger().handlers)
    yield
    assert [one for one in logging.getLogger().handlers if one not in before] == []


def fail() -> None:
    raise OSError(5, "no answer")


class TestAFailingReset:
    def test_closes_every_driver(self) -> None:
        child = Device()
        root = Device(on_reset=fail, children={"it": child})
        with pytest.raises(OSError, match="no answer"), serve(root):
            pytest.fail("served")
        assert root.closed.is_set()
        assert child.closed.is_set()

    def test_is_raised_even_if_closing_fails_too(self, caplog: pytest.LogCaptureFixture) -> None:
        class Stuck(Device):
            def close(self) -> None:
                raise RuntimeError("the latch is stuck")

        with pytest.raises(OSError, match="no answer"), Session(root_device=Stuck(on_reset=fail)):
            pytest.fail("served")
        assert "the latch is stuck" in caplog.text

    @pytest.mark.anyio
    async def test_that_nobody_waits_for_any_more_undoes_itself(self) -> None:
        begun, go_on = threading.Event(), threading.Event()

        def hang() -> None:
            begun.set()
            assert go_on.wait(SOON)

        device = Device(on_reset=hang)
        before = list(logging.getLogger().handlers)

        async def start() -> None:
            async with Session(root_device=device):
                pytest.fail("entered")

        with anyio.fail_after(SOON):
            async with anyio.create_task_group() as group:
                group.start_soon(start)
                await anyio.to_thread.run_sync(begun.wait)
                group.cancel_scope.cancel()
        assert logging.getLogger().handlers == before
        assert not device.closed.is_set()
        go_on.set()
        assert await anyio.to_thread.run_sync(device.closed.wait, SOON)


class TestLabels:
    @pytest.mark.parametrize(
        ("device", "key"),
        [
            (Labelled({"slots": 4}), "slots"),
            (Labelled({7: "seven"}), "7"),
            (Device(labels={"rack": None}), "rack"),
            (Device(methods_description={"ping": True}), "ping"),
        ],
    )
    def test_that_are_no_text_are_named(self, device: Device, key: str) -> None:
        expected = f"driver {type(device).__name__}: .*{key}'? must be text"
        with pytest.raises(ConfigurationError, match=expected), serve(Device(children={"it": device})):
            pytest.fail("served")
        assert device.closed.is_set()


def chain(levels: int) -> Driver:
    driver = Device()
    for _ in range(levels - 1):
        driver = Device(children={"c": driver})
    return driver


class TestShapes:
    def test_a_deep_tree(self) -> None:
        with serve(chain(500)) as client:
            for _ in range(499):
                client = client.children["c"]
            assert client.call("ping") == "pong"

    @pytest.mark.parametrize("levels", [513, 1200, 5000])
    def test_one_that_is_too_deep(self, levels: int) -> None:
        with pytest.raises(ConfigurationError, match="deeper than 512 levels"):
            Session(root_device=chain(levels))

    def test_a_shared_part_counts_with_its_depth(self) -> None:
        shared = chain(300)
        way = shared
        for _ in range(300):
            way = Device(children={"c": way})
        for children in ({"a": shared, "b": way}, {"b": way, "a": shared}):
            with pytest.raises(ConfigurationError, match="deeper than 512 levels"):
                Session(root_device=Device(children=children))

    def test_a_driver_below_itself(self) -> None:
        below = Device()
        below.children["again"] = Device(children={"below": below})
        with pytest.raises(ConfigurationError, match="Device is its own descendant: Device -> Device -> Device"):
            Session(root_device=Device(children={"below": below}))

    def test_ways_that_multiply(self) -> None:
        """A check that walks every way to a shared driver would not come back."""
        root: Driver = Device()
        for _ in range(64):
            root = Device(children={"a": root, "b": root})
        with pytest.raises(ConfigurationError, match=r"ways lead to the drivers of this tree, more than 100000"):
            Session(root_device=root)


class TestSocketPaths:
    @pytest.mark.parametrize("name", ["a b", "a%20b", "a%zzb", "a?b", "a#b", "a:80", "ä/€", "a&b=c;d", "a\nb"])
    def test_any_name_of_the_runtime_directory(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
    ) -> None:
        with tempfile.TemporaryDirectory() as short:
            directory = Path(short) / name
            directory.mkdir(parents=True)
            monkeypatch.setenv("XDG_RUNTIME_DIR", str(directory))
            with serve(Device()) as client:
                assert [one.name[:12] for one in directory.iterdir()] == ["jumpstarter-"]
                assert client.call("ping") == "pong"

    @pytest.mark.anyio
    async def test_a_temporary_directory_with_too_long_a_path(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        directory = tmp_path / ("d" * 100)
        directory.mkdir()
        monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
        monkeypatch.setattr(tempfile, "tempdir", str(directory))
        with pytest.raises(ConfigurationError, match=f"{directory} is too long .* set XDG_RUNTIME_DIR or TMPDIR"):
            async with serve_async(Device()):
                pytest.fail("served")
