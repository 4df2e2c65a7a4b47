"""Exporters in processes of their own, and the programs `jmp` and `j` as a user starts them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

TESTS = Path(__file__).parent
BIN = Path(sys.executable).parent
SECONDS = 60


def clean_environment(**variables: str) -> dict[str, str]:
    """This process's variables without those that say something to the programs under test."""
    ours = ("JMP_", "JUMPSTARTER_", "_JMP", "_J_", "PYTHONDONTWRITEBYTECODE", "NO_COLOR", "NONINTERACTIVE")
    inherited = {name: text for name, text in os.environ.items() if not name.startswith(ours)}
    return inherited | {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(TESTS)} | variables


@dataclass
class Board:
    """An exporter that is served; `j` runs against it."""

    process: subprocess.Popen[str]
    path: str

    def environment(self, **variables: str) -> dict[str, str]:
        session = {"JUMPSTARTER_HOST": self.path, "JMP_DRIVERS_ALLOW": "UNSAFE", "_JMP_SUPPRESS_DRIVER_WARNINGS": "1"}
        return clean_environment(**session | variables)

    def start(self, *args: str, env: dict[str, str] | None = None, **options: Any) -> subprocess.Popen[str]:
        """`j` with its standard streams as pipes."""
        pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        settings = {"text": True} | pipes | options
        return subprocess.Popen([str(BIN / "j"), *args], env=self.environment(**env or {}), **settings)

    def j(self, *args: str, **env: str) -> subprocess.CompletedProcess[str]:
        """`j` run to its end."""
        return subprocess.run(
            [str(BIN / "j"), *args],
            env=self.environment(**env),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )


@contextmanager
def serving(tree: str) -> Iterator[Board]:
    with subprocess.Popen(
        [sys.executable, str(TESTS / "cli_board.py"), tree],
        env=clean_environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            path = process.stdout.readline().strip()
            assert path, "the exporter has not started"
            yield Board(process, path)
        finally:
            process.stdin.close()
            try:
                process.wait(20)
            finally:
                process.kill()


@pytest.fixture(scope="session")
def serve_board() -> Callable[[str], Any]:
    """Context manager that serves one of the trees of cli_board.py; gives a Board."""
    return serving


@pytest.fixture(scope="session")
def board() -> Iterator[Board]:
    """The tree with everything in it."""
    with serving("composite") as one:
        yield one


Program = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def program(tmp_path: Path) -> Program:
    """`program(name, *args, **environment)`: a program of ours, run to its end from an empty home directory."""

    def run(name: str, *args: str, **env: str) -> subprocess.CompletedProcess[str]:
        home = {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path / ".config")}
        return subprocess.run(
            [str(BIN / name), *args],
            env=clean_environment(**home | env),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
            cwd=tmp_path,
        )

    return run


@pytest.fixture
def jmp(program: Program) -> Program:
    """`jmp(*args, **environment)`, as `program`."""
    return partial(program, "jmp")


@pytest.fixture
def silent_server(tmp_path: Path) -> Iterator[Callable[[], str]]:
    """Gives the path of a Unix socket that takes connections and never says a word."""
    with socket.socket(socket.AF_UNIX) as server:

        def listen() -> str:
            path = str(tmp_path / "silent")
            server.bind(path)
            server.listen(10)
            return path

        yield listen
