"""`jmp shell` as a user starts it, against an exporter in its own process and against a `jmp run`."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest
from jumpstarter_testing.eventually import eventually

BIN = Path(sys.executable).parent
SECONDS = 60
PASSPHRASE = "open sesame"

EXPORTER = """
    apiVersion: jumpstarter.dev/v1alpha1
    kind: ExporterConfig
    metadata: {namespace: default, name: bench}
    motd: The bench by the window
    export:
      power: {type: MockPower}
"""
MODES = ("local", "direct", "direct with passphrase")


def environment(home: Path, **variables: str) -> dict[str, str]:
    """An empty home, and nothing that the surrounding shell says to the programs under test."""
    ours = ("JMP_", "JUMPSTARTER_", "_JMP", "_J_", "PYTHONDONTWRITEBYTECODE", "NO_COLOR", "NONINTERACTIVE", "TMUX")
    inherited = {name: text for name, text in os.environ.items() if not name.startswith(ours)}
    path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
    return inherited | {"HOME": str(home), "PATH": path, "SHELL": "/bin/bash", "LANG": "C.UTF-8"} | variables


def kill_tree(pid: int) -> None:
    """End a process and all below it."""
    try:
        root = psutil.Process(pid)
        processes = [*root.children(recursive=True), root]
    except psutil.NoSuchProcess:
        return
    for process in processes:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue


class Service:
    """A running `jmp run` on a port of this machine."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.log: list[dict[str, Any]] = []
        self.port = 0
        assert process.stderr is not None
        for line in process.stderr:
            self.log.append(json.loads(line))
            if found := re.search(r"serves at \S+:(\d+) ", self.log[-1]["message"]):
                self.port = int(found[1])
                return
        raise AssertionError(f"not started: {self.log}")

    def end(self) -> int:
        """The exit code, once it has ended by itself."""
        assert self.process.stderr is not None
        self.log += [json.loads(line) for line in self.process.stderr]
        return self.process.wait(SECONDS)

    def stop(self) -> int:
        """The exit code after SIGTERM."""
        self.process.send_signal(signal.SIGTERM)
        return self.end()

    def messages(self, level: str) -> list[str]:
        return [record["message"] for record in self.log if record["level"] == level]


@dataclass
class Bench:
    """Files and processes of one test."""

    home: Path
    stack: ExitStack
    passphrase: Path = field(init=False)

    def __post_init__(self) -> None:
        self.passphrase = self.home / "passphrase"
        self.passphrase.touch(0o600)
        self.passphrase.write_text(f"{PASSPHRASE}\n")

    def environment(self, **variables: str) -> dict[str, str]:
        return environment(self.home, **variables)

    def file(self, more: str = "", name: str = "x.yaml") -> Path:
        """An exporter's file: the common keys, and `more`."""
        path = self.home / name
        path.write_text(textwrap.dedent(EXPORTER) + textwrap.dedent(more))
        return path

    def start(self, *command: str | Path, **options: Any) -> subprocess.Popen[str]:
        """A program of ours, with pipes and in a session of its own."""
        variables = options.pop("env", {})
        pipes: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        process = subprocess.Popen(
            [str(one) for one in command],
            env=self.environment(**variables),
            cwd=self.home,
            text=True,
            start_new_session=True,
            **pipes | options,
        )
        self.stack.callback(self._discard, process)
        return process

    def serve(self, file: Path, *options: str) -> Service:
        return Service(
            self.start(
                "jmp", "run", "--exporter-config", file, "--tls-grpc-listener", "127.0.0.1:0", "--tls-grpc-insecure",
                *options,
            )
        )  # fmt: skip

    def reach(self, mode: str, file: Path) -> tuple[Service | None, list[str]]:
        """What `jmp shell` has to be told to reach the exporter of `file`; with its service, where it has one."""
        if mode == "local":
            return None, ["--exporter-config", str(file)]
        secret = ["--passphrase-file", str(self.passphrase)] if "passphrase" in mode else []
        service = self.serve(file, *secret)
        return service, ["--tls-grpc", f"127.0.0.1:{service.port}", "--tls-grpc-insecure", *secret]

    def shell(self, way: list[str], *command: str, **options: Any) -> subprocess.Popen[str]:
        return self.start("jmp", "shell", *way, *(("--", *command) if command else ()), **options)

    @staticmethod
    def _discard(process: subprocess.Popen[str]) -> None:
        kill_tree(process.pid)
        with process:
            process.kill()


@pytest.fixture(scope="session")
def bench_type() -> type[Bench]:
    """For benches that live longer than a test."""
    return Bench


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with ExitStack() as stack:
        yield Bench(tmp_path, stack)


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def gone() -> Callable[[int], None]:
    """Waits until no process of a session is left."""

    def members(session: int) -> list[psutil.Process]:
        return [one for one in psutil.process_iter() if _session(one.pid) == session]

    def check(session: int) -> None:
        def nobody() -> None:
            left = [f"{one.pid} {' '.join(one.cmdline())}" for one in members(session) if _alive(one)]
            assert left == []

        eventually(nobody, timeout=20)

    return check


def _session(pid: int) -> int:
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return 0


def _alive(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
