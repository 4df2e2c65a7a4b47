"""What people wait for stays light: they pay for its imports on every command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from jumpstarter.common.enums import ExporterStatus
from jumpstarter.exporter import Session
from jumpstarter_driver_composite.driver import Composite
from jumpstarter_driver_power.driver import MockPower

SCRIPT = Path(__file__).parents[2] / "scripts" / "import_budget.py"
# Modules beyond those of the libraries that the path stands on.
BUDGETS = {"jmp": 20, "j": 75, "client": 60, "exporter": 140}
# What a plain `j` command does not load: each would take 2 to 90 ms.
FOREIGN_TO_J = {
    "aiohttp",
    "anyio",
    "decimal",
    "email",
    "importlib.metadata",
    "json",
    "jumpstarter.driver",
    "jumpstarter.exporter",
    "pathlib",
    "pydantic",
    "pydantic_core",
    "rich",
    "tempfile",
    "urllib.parse",
    "yaml",
}
# And `jmp --help` and `jmp version`.
FOREIGN_TO_JMP = FOREIGN_TO_J - {"pathlib", "urllib.parse"} | {
    "asyncio",
    "google.protobuf",
    "grpc",
    "jumpstarter",
    "logging",
}

RUN = """
import atexit, sys
from {module} import {function} as command
atexit.register(lambda: print(*sys.modules, file=sys.stderr))
command()
"""


def loaded_by(function: str, *args: str, **variables: str) -> set[str]:
    """The modules that a command has loaded when it ends."""
    code = RUN.format(module=f"jumpstarter_cli.{function}", function=function)
    command = [sys.executable, "-c", code, *args]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **variables})
    assert done.returncode == 0, done.stderr
    return set(done.stderr.splitlines()[-1].split())


@pytest.mark.parametrize("path", BUDGETS)
def test_imports_stay_within_their_budget(path: str, record_property: Callable[[str, object], None]) -> None:
    command = [sys.executable, SCRIPT, "--json", path]
    report = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    added = json.loads(report)[path]["added"]
    record_property("modules", len(added))
    assert 0 < len(added) <= BUDGETS[path], "\n".join(added)


def test_a_command_of_j_loads_nothing_it_does_not_need() -> None:
    power = MockPower()
    session = Session(root_device=Composite(children={"power": power}))
    with session, session.serve_unix() as host:
        session.update_status(ExporterStatus.LEASE_READY)
        loaded = loaded_by("j", "power", "on", JUMPSTARTER_HOST=host, JMP_DRIVERS_ALLOW="UNSAFE")
    assert power.powered
    assert "jumpstarter_driver_power.client" in loaded
    assert loaded & FOREIGN_TO_J == set()


@pytest.mark.parametrize("argument", ["--help", "version"])
def test_jmp_itself_loads_click_and_little_else(argument: str) -> None:
    loaded = loaded_by("jmp", argument)
    assert "click" in loaded
    assert loaded & FOREIGN_TO_JMP == set()
