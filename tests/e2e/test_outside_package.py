"""A driver package of forty lines from outside the workspace: installed with pip, found by name, served, driven."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

PACKAGE = {
    "pyproject.toml": """
        [project]
        name = "jumpstarter-driver-lamp"
        version = "1.0"
        dependencies = ["jumpstarter==0.9.0"]

        [project.entry-points."jumpstarter.drivers"]
        Lamp = "jumpstarter_driver_lamp.driver:Lamp"

        [build-system]
        requires = ["hatchling"]
        build-backend = "hatchling.build"
        """,
    "jumpstarter_driver_lamp/__init__.py": "",
    "jumpstarter_driver_lamp/driver.py": '''
        from dataclasses import dataclass, field

        from jumpstarter.driver import Driver, export


        @dataclass(kw_only=True)
        class Lamp(Driver):
            """A lamp of `watts`."""

            watts: int = 40
            lit: bool = field(default=False, init=False)

            @classmethod
            def client(cls) -> str:
                return "jumpstarter_driver_lamp.client.LampClient"

            @export
            def switch(self, on: bool) -> int:
                self.lit = on
                return self.watts if on else 0
        ''',
    "jumpstarter_driver_lamp/client.py": """
        from jumpstarter.client import DriverClient


        class LampClient(DriverClient):
            def on(self) -> int:
                return self.call("switch", True)
        """,
}
EXPORTER = """
import asyncio, sys
import jumpstarter.drivers
from jumpstarter.common import ExporterStatus
from jumpstarter.exporter import Session
from jumpstarter_driver_composite.driver import Composite

async def main():
    lamp = jumpstarter.drivers.Lamp(watts=60)
    async with Session(root_device=Composite(children={"lamp": lamp})) as session:
        async with session.serve_unix_async() as path:
            session.update_status(ExporterStatus.LEASE_READY)
            print(path, flush=True)
            await asyncio.to_thread(sys.stdin.read)

asyncio.run(main())
"""
CLIENT = """
from jumpstarter.common.utils import env
with env() as root:
    try:
        print("lamp:", root.children["lamp"].on())
    except Exception as error:
        print(type(error).__name__, error)
    try:
        print("call:", root.children["lamp"].call("switch", True))
    except Exception as error:
        print(type(error).__name__, error)
"""


@pytest.fixture(scope="module")
def with_lamp(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A Python that has this workspace's packages and, by pip, the lamp's."""
    directory = tmp_path_factory.mktemp("lamp")
    for name, text in PACKAGE.items():
        path = directory / "package" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = text.strip("\n").split("\n")
        indent = len(lines[0]) - len(lines[0].lstrip())
        path.write_text("\n".join(line[indent:] for line in lines) + "\n")
    venv.create(directory / "venv", with_pip=True)
    python = str(directory / "venv" / "bin" / "python")
    purelib = subprocess.check_output(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], text=True
    ).strip()
    # What this Python has, the new one has too, workspace packages included.
    Path(purelib, "workspace.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")
    install = ["install", "--disable-pip-version-check", "--quiet", "--no-build-isolation", str(directory / "package")]
    subprocess.run([python, "-m", "pip", *install], check=True, timeout=100)
    return python


@contextmanager
def exporter(python: str) -> Generator[str]:
    with subprocess.Popen(
        [python, "-c", EXPORTER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.stdin.close()
            process.wait(20)


def drive(python: str, host: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [python, "-W", "error", "-c", CLIENT],
        env={**os.environ, "JUMPSTARTER_HOST": host, **environment},
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )


def test_installed_and_allowed_it_is_driven(with_lamp: str) -> None:
    with exporter(with_lamp) as host:
        done = drive(with_lamp, host, JMP_DRIVERS_ALLOW="jumpstarter_driver_*")
    assert done.stdout.splitlines() == ["lamp: 60", "call: 60"]


def test_not_installed_at_the_client_it_says_what_to_install(with_lamp: str) -> None:
    with exporter(with_lamp) as host:
        done = drive(sys.executable, host, JMP_DRIVERS_ALLOW="UNSAFE")
    assert "pip install jumpstarter-driver-lamp" in done.stderr
    assert all("pip install jumpstarter-driver-lamp" in line for line in done.stdout.splitlines())
    assert done.stdout.splitlines()[1].startswith("ImportError")


def test_off_the_allow_list_it_is_refused(with_lamp: str) -> None:
    with exporter(with_lamp) as host:
        done = drive(with_lamp, host, JMP_DRIVERS_ALLOW="jumpstarter_driver_composite.*")
    assert "not on the allow list" in done.stderr
    assert "not on the allow list" in done.stdout.splitlines()[1]
    assert "lamp: 60" not in done.stdout
