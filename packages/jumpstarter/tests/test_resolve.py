"""From a driver's report to its client class: only what is allowed, and a stub that says what to do for the rest."""

from __future__ import annotations

import logging
import sys
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from jumpstarter.client import DriverClient
from jumpstarter.client.client import client_from_path
from jumpstarter.common.exceptions import ConfigurationError, EnvironmentVariableNotSetError
from jumpstarter.common.utils import env, serve
from jumpstarter.driver import Driver, export
from jumpstarter.exporter import Session

BASE = "jumpstarter.client.DriverClient"
OWN = f"{__name__}.OwnClient"


class Named(Driver):
    """A driver whose client class is at `path`."""

    def __init__(self, path: str, **children: Driver) -> None:
        super().__init__(children=children)
        self.path = path

    def client(self) -> str:  # type: ignore[override]
        return self.path

    @export
    def echo(self, value: Any) -> Any:
        return value


class OwnClient(DriverClient):
    def twice(self, value: Any) -> Any:
        return [self.call("echo", value)] * 2


class NoClient:
    def __init__(self, **fields: Any) -> None:
        pass


some_value = 7


@asynccontextmanager
async def connected(exporting: Any, driver: Driver, *allow: str, unsafe: bool = False) -> AsyncGenerator[Any]:
    async with exporting(Named(BASE, it=driver)) as exporter:
        opened = client_from_path(
            exporter.path,
            exporter.client.portal,
            exporter.client.stack,
            ["jumpstarter.client.*", *allow] if allow else [],
            unsafe,
            insecure=True,
        )
        async with opened as client:
            yield client.children["it"]


def missing(client: DriverClient) -> str:
    """Why there is a stub, as any use of it tells."""
    texts = set()
    for use in (
        lambda: client.call("echo", 1),
        lambda: next(client.streamingcall("echo", 1)),
        lambda: client.stream().__enter__(),
        lambda: client.open_stream(),
        lambda: client.log_stream().__enter__(),
    ):
        with pytest.raises(ImportError) as caught:
            use()
        texts.add(str(caught.value))
    assert len(texts) == 1
    return texts.pop()


@pytest.fixture(autouse=True)
def no_trace_of_imports() -> Iterator[None]:
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.startswith(("jumpstarter_driver_far", "faraway", "broken_client", "needy_client")):
            del sys.modules[name]


@pytest.mark.anyio
class TestTheAllowList:
    @pytest.mark.parametrize("pattern", [OWN, f"{__name__}.*", f"{__name__.partition('.')[0]}.*", "*", "*.OwnClient"])
    async def test_allowed(self, exporting: Any, pattern: str) -> None:
        async with connected(exporting, Named(OWN), pattern) as client:
            assert type(client) is OwnClient

    @pytest.mark.parametrize(
        "pattern", ["nothing.*", OWN.upper(), __name__, f"{__name__}.Own", f"{__name__}.*.OwnClient", ""]
    )
    async def test_not_allowed(self, exporting: Any, pattern: str) -> None:
        async with connected(exporting, Named(OWN), pattern) as client:
            text = missing(client)
            assert f"client class {OWN} is not on the allow list (jumpstarter.client.*, {pattern})" in text
            assert "drivers.allow" in text
            assert "JMP_DRIVERS_ALLOW" in text

    async def test_an_empty_list_allows_nothing(self, exporting: Any) -> None:
        async with connected(exporting, Named(BASE)) as client:
            assert "is not on the allow list (which is empty)" in missing(client)

    async def test_unsafe_allows_all(self, exporting: Any) -> None:
        async with connected(exporting, Named(OWN), unsafe=True) as client:
            assert type(client) is OwnClient


@pytest.mark.anyio
class TestWhatCannotBeHad:
    @pytest.mark.parametrize(
        ("path", "texts"),
        [
            ("jumpstarter_driver_far.client.Client", ["is not installed: pip install jumpstarter-driver-far"]),
            ("jumpstarter_driver_far_away.Client", ["is not installed: pip install jumpstarter-driver-far-away"]),
            ("faraway.client.Client", ["is not installed", "install the package that holds the module faraway"]),
            (f"{__name__}.NotThere", ["has no class NotThere", "version"]),
            (f"{__name__}.some_value", ["is no class but int"]),
            (f"{__name__}.missing", ["is no class but function"]),
            (f"{__name__}.NoClient", ["NoClient is no subclass of DriverClient"]),
            ("builtins.dict", ["dict is no subclass of DriverClient"]),
            ("Client", ["'Client' is not an import path", "package.module.Class"]),
            ("", ["'' is not an import path"]),
            (".", ["."]),
            ("..Client", ["..Client"]),
            ("jumpstarter.client.", ["has no class"]),
            ("a b.c-d.E", ["is not installed"]),
            (f"{BASE}.Inner", ["is not installed"]),
        ],
    )
    async def test_a_stub_says_why(self, exporting: Any, path: str, texts: list[str]) -> None:
        async with connected(exporting, Named(path), unsafe=True) as client:
            for text in texts:
                assert text in missing(client)

    @pytest.mark.parametrize(
        ("source", "texts"),
        [
            ("import nowhere_to_be_found", ["needs a module that is not installed: nowhere_to_be_found"]),
            ("import broken_client.part", ["needs a module that is not installed: broken_client.part"]),
            ("from json import nothing_such", ["cannot be imported: ImportError", "nothing_such"]),
            ("1 / 0", ["cannot be imported: ZeroDivisionError"]),
            ("raise SystemExit('bye')", ["cannot be imported: SystemExit: bye"]),
            ("def f(:", ["cannot be imported: SyntaxError"]),
        ],
    )
    async def test_a_module_that_does_not_load(
        self, exporting: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, texts: list[str]
    ) -> None:
        (tmp_path / "broken_client.py").write_text(source)
        monkeypatch.syspath_prepend(tmp_path)
        async with connected(exporting, Named("broken_client.Client"), unsafe=True) as client:
            for text in texts:
                assert text in missing(client)

    async def test_children_of_a_stub_work(self, exporting: Any) -> None:
        tree = Named("faraway.Client", inner=Named("faraway.Other", own=Named(OWN)), own=Named(OWN))
        async with connected(exporting, tree, unsafe=True) as client:
            assert missing(client) != missing(client.children["inner"])
            assert client.children["own"].uuid == tree.children["own"].uuid
            assert await client.children["own"].call_async("echo", 1) == 1
            assert await client.children["inner"].children["own"].call_async("echo", 2) == 2

    async def test_a_stub_as_a_value(self, exporting: Any) -> None:
        async with connected(exporting, Named("faraway.Client"), unsafe=True) as client:
            assert isinstance(client, DriverClient)
            assert client.name == "it"
            assert not hasattr(client, "on")
            with pytest.raises(AttributeError, match="faraway"):
                _ = client.on
            client.close()

    async def test_warns_once_for_each(self, exporting: Any, caplog: pytest.LogCaptureFixture) -> None:
        tree = Named("faraway.Client", inner=Named("jumpstarter_driver_far.Other"))
        async with connected(exporting, tree, unsafe=True):
            pass
        warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
        # The fixture's own client warns as well.
        assert sum(text.startswith("it: client class faraway.Client") for text in warnings) == 2
        assert sum(text.startswith("inner: client class jumpstarter_driver_far.Other") for text in warnings) == 2
        assert len(warnings) == 4

    async def test_warnings_can_be_turned_off(
        self, exporting: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("_JMP_SUPPRESS_DRIVER_WARNINGS", "1")
        async with connected(exporting, Named("faraway.Client"), unsafe=True) as client:
            assert "faraway" in missing(client)
        assert [record for record in caplog.records if record.levelno == logging.WARNING] == []


class TestWhatCanBeHad:
    def test_by_serve(self) -> None:
        with serve(Named(OWN)) as client:
            assert client.twice(3) == [3, 3]

    def test_a_package_on_the_path(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        package = tmp_path / "jumpstarter_driver_far"
        package.mkdir()
        (package / "__init__.py").touch()
        (package / "client.py").write_text(
            "from dataclasses import dataclass, field\n"
            "from jumpstarter.client import DriverClient\n"
            "@dataclass(kw_only=True)\n"
            "class FarClient(DriverClient):\n"
            "    seen: list = field(default_factory=list)\n"
            "    def __post_init__(self):\n"
            "        super().__post_init__()\n"
            "        self.seen.append('made')\n"
            "    def see(self, value):\n"
            "        self.seen.append(self.call('echo', value))\n"
        )
        monkeypatch.syspath_prepend(tmp_path)
        with serve(Named("jumpstarter_driver_far.client.FarClient")) as client:
            client.see(1)
            assert client.seen == ["made", 1]

    def test_a_root_that_is_a_stub(self) -> None:
        with serve(Named("faraway.Client", own=Named(OWN))) as client:
            assert "faraway" in missing(client)
            assert client.children["own"].twice(1) == [1, 1]


class TestTheEnvironment:
    @pytest.fixture(autouse=True)
    def shell(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        """As inside a shell that is connected to an exporter."""
        for name in ("JMP_DRIVERS_ALLOW", "JMP_DRIVERS_UNSAFE"):
            monkeypatch.delenv(name, raising=False)
        with Session(root_device=Named(BASE, own=Named(OWN))) as session, session.serve_unix() as path:
            session.update_status(4)
            monkeypatch.setenv("JUMPSTARTER_HOST", path)
            yield

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("JMP_DRIVERS_ALLOW", f"nothing.*, {OWN} ,jumpstarter.client.*"),
            ("JMP_DRIVERS_ALLOW", "UNSAFE"),
            ("JMP_DRIVERS_ALLOW", "nothing.*,UNSAFE"),
            ("JMP_DRIVERS_UNSAFE", "1"),
            ("JMP_DRIVERS_UNSAFE", "True"),
        ],
    )
    def test_allows(self, monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
        monkeypatch.setenv(name, value)
        with env() as client:
            assert type(client.children["own"]) is OwnClient
            assert client.call("echo", 1) == 1

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("JMP_DRIVERS_ALLOW", ""),
            ("JMP_DRIVERS_ALLOW", "jumpstarter.client.*"),
            ("JMP_DRIVERS_ALLOW", "unsafe"),
            ("JMP_DRIVERS_UNSAFE", "0"),
            ("JMP_DRIVERS_UNSAFE", "false"),
        ],
    )
    def test_does_not_allow(self, monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
        monkeypatch.setenv(name, value)
        with env() as client:
            assert "allow list" in missing(client.children["own"])

    def test_what_is_not_allowed_is_not_even_imported(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "faraway_module.py").touch()
        monkeypatch.syspath_prepend(tmp_path)
        with Session(root_device=Named("faraway_module.Client")) as session, session.serve_unix() as path:
            monkeypatch.setenv("JUMPSTARTER_HOST", path)
            monkeypatch.setenv("JMP_DRIVERS_ALLOW", "other.*")
            with env() as client:
                assert "allow list" in missing(client)
            assert "faraway_module" not in sys.modules
            monkeypatch.setenv("JMP_DRIVERS_ALLOW", "faraway_module.*")
            with env() as client:
                assert "has no class Client" in missing(client)
            assert "faraway_module" in sys.modules

    def test_a_value_that_is_neither(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("JMP_DRIVERS_UNSAFE", "perhaps")
        with pytest.raises(ConfigurationError, match=r"JMP_DRIVERS_UNSAFE.*'perhaps'"), env():
            pass

    def test_outside_a_shell(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("JUMPSTARTER_HOST")
        with pytest.raises(EnvironmentVariableNotSetError, match=r"JUMPSTARTER_HOST is not set.*jmp shell"), env():
            pass
