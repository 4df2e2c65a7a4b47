"""`jmp` and `j` start fast because of what they do not load; benchmarks/startup.py tells how fast."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BIN = Path(sys.executable).parent
HEAVY = {"rich", "yaml", "pydantic", "importlib.metadata", "aiohttp", "pexpect"}


def loaded(program: str, *args: str, env: dict[str, str]) -> set[str]:
    """Modules that a program of ours imports."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", BIN / program, *args],
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    lines = (line for line in done.stderr.splitlines() if line.startswith("import time:"))
    return {line.rpartition("|")[2].strip() for line in lines}


@pytest.mark.parametrize("args", [["--help"], ["version"]])
def test_jmp_loads_click_and_nothing_heavier(board: Any, args: list[str]) -> None:
    modules = loaded("jmp", *args, env=board.environment())
    assert "click" in modules
    assert modules & (HEAVY | {"grpc", "anyio", "asyncio", "logging", "dataclasses", "jumpstarter"}) == set()


@pytest.mark.parametrize("args", [["power", "on"], ["power", "read", "--json"], ["power", "--help"]])
def test_j_loads_nothing_that_it_does_not_use(board: Any, args: list[str]) -> None:
    modules = loaded("j", *args, env=board.environment())
    assert "grpc" in modules
    heavy = HEAVY - {"pydantic", "importlib.metadata"} if "read" in args else HEAVY
    assert modules & heavy == set()
