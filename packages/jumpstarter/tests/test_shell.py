"""Shells and commands connected to an exporter: their environment, exit codes, signals and prompts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from jumpstarter.common.utils import launch_shell
from pexpect.fdpexpect import fdspawn

DUMP = "import json, os; print(json.dumps(dict(os.environ)))"
LEASE = SimpleNamespace(name="lease-1", exporter_name="bench", exporter_labels={"b": "2", "a": "1"})
LAUNCH = """
import os, sys
if os.isatty(0):
    os.open(os.ttyname(0), os.O_RDWR)  # the first terminal that a session's leader opens becomes its own
from jumpstarter.common.shell import launch_shell
sys.exit(launch_shell("/run/socket", "lab", [], True, False, command=tuple(sys.argv[1:]) or None))
"""

Capture = pytest.CaptureFixture[str]
Launch = Callable[..., dict[str, str]]


@pytest.fixture
def variables(capfd: Capture, monkeypatch: pytest.MonkeyPatch) -> Launch:
    """The environment that a command finds."""
    for name in [name for name in os.environ if name.startswith(("JMP_", "JUMPSTARTER_", "_JMP"))]:
        monkeypatch.delenv(name)

    def launch(allow: list[str] | None = None, unsafe: bool = False, **options: object) -> dict[str, str]:
        command = (sys.executable, "-c", DUMP)
        assert launch_shell("board:8082", "lab", allow or [], unsafe, False, command=command, **options) == 0  # type: ignore[arg-type]
        found: dict[str, str] = json.loads(capfd.readouterr().out)
        return {name: text for name, text in found.items() if "JMP_" in name or name.startswith("JUMPSTARTER_")}

    return launch


def test_environment_of_a_direct_connection(variables: Launch) -> None:
    assert variables(["a.*", "b.C"]) == {
        "JUMPSTARTER_HOST": "board:8082",
        "JMP_DRIVERS_ALLOW": "a.*,b.C",
        "_JMP_SUPPRESS_DRIVER_WARNINGS": "1",
    }


def test_environment_of_a_lease(variables: Launch) -> None:
    assert variables(unsafe=True, lease=LEASE, insecure=True, passphrase="pw") == {
        "JUMPSTARTER_HOST": "board:8082",
        "JMP_DRIVERS_ALLOW": "UNSAFE",
        "_JMP_SUPPRESS_DRIVER_WARNINGS": "1",
        "JMP_GRPC_INSECURE": "1",
        "JMP_GRPC_PASSPHRASE": "pw",
        "JMP_LEASE": "lease-1",
        "JMP_EXPORTER": "bench",
        "JMP_EXPORTER_LABELS": "a=1,b=2",
    }


def test_a_shell_inside_a_shell(variables: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("JMP_LEASE", "JMP_EXPORTER", "JMP_EXPORTER_LABELS", "JMP_GRPC_PASSPHRASE", "JUMPSTARTER_HOST"):
        monkeypatch.setenv(name, "outer")
    monkeypatch.setenv("JMP_NAMESPACE", "kept")
    inner = variables()
    assert "outer" not in inner.values()
    assert inner["JMP_NAMESPACE"] == "kept"


@pytest.mark.parametrize(("script", "code"), [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 137), ("kill -15 $$", 143)])
def test_exit_codes(script: str, code: int) -> None:
    assert launch_shell("h:1", "lab", [], True, False, command=("sh", "-c", script)) == code


def test_programs_that_cannot_be_run(tmp_path: Path, capfd: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    assert launch_shell("h:1", "lab", [], True, False, command=("no-such-program",)) == 127
    assert capfd.readouterr().err == "no-such-program: command not found\n"
    text = tmp_path / "text"
    text.write_text("no program")
    assert launch_shell("h:1", "lab", [], True, False, command=(str(text),)) == 126
    assert capfd.readouterr().err == f"{text}: Permission denied\n"
    monkeypatch.setenv("SHELL", str(tmp_path / "bash"))
    assert launch_shell("h:1", "lab", [], True, False) == 127


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT])
def test_signals_reach_the_command(number: signal.Signals) -> None:
    script = f"trap 'exit 42' {number.value}; echo ready; while :; do sleep 60 & wait $!; done"
    command = [sys.executable, "-c", LAUNCH, "sh", "-c", script]
    # A session of its own has no terminal that would send the signal to the command as well.
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(number)
        try:
            assert process.wait(30) == 42
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def test_the_callers_handlers_come_back() -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    assert launch_shell("h:1", "lab", [], True, False, command=("true",)) == 0
    assert {number: signal.getsignal(number) for number in before} == before


@contextmanager
def on_a_terminal(*command: str, **options: Any) -> Iterator[tuple[fdspawn[bytes], subprocess.Popen[bytes]]]:
    """A process that leads a session on a terminal of its own. Not by forking: gRPC has threads in this process."""
    ours, theirs = os.openpty()
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True, **options)
    os.close(theirs)
    terminal: fdspawn[bytes] = fdspawn(ours, timeout=30)
    try:
        with process:
            try:
                yield terminal, process
            except BaseException:
                process.kill()
                raise
    finally:
        terminal.close()


def test_ctrl_c_on_a_terminal_comes_once() -> None:
    count = (
        "import signal, sys\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])\n"
        "print('ready', flush=True)\n"
        "signal.sigwait([signal.SIGINT])\n"
        "sys.exit(5 if signal.sigtimedwait([signal.SIGINT], 0.3) is None else 6)\n"
    )
    with on_a_terminal(sys.executable, "-c", LAUNCH, sys.executable, "-c", count) as (terminal, process):
        terminal.expect_exact(b"ready")
        terminal.send(b"\x03")
        assert process.wait(30) == 5


def test_bash_shows_where_it_is(tmp_path: Path) -> None:
    launch = LAUNCH.replace('"lab"', repr("lab$(touch oops)"))
    environment = {**os.environ, "SHELL": "/bin/bash", "HOME": str(tmp_path), "LANG": "C.UTF-8"}
    with on_a_terminal(sys.executable, "-c", launch, env=environment, cwd=tmp_path) as (terminal, process):
        for part in ("⚡", "lab??touch?oops?", "➤"):
            terminal.expect_exact(part.encode())
        terminal.sendline(b"echo host=$JUMPSTARTER_HOST.")
        terminal.expect_exact(b"host=/run/socket.")
        terminal.sendline(b"exit 3")
        assert process.wait(30) == 3
    assert not (tmp_path / "oops").exists()


@pytest.mark.parametrize(
    ("shell", "profiles", "arguments"),
    [
        ("bash", False, ["--norc", "--noprofile"]),
        ("bash", True, []),
        ("zsh", False, ["--no-rcs", "-o", "inc_append_history", "-o", "share_history"]),
        ("zsh", True, ["-o", "inc_append_history", "-o", "share_history"]),
        ("fish", False, ["--no-config", "--init-command", "function fish_prompt; ..."]),
        ("fish", True, ["--init-command", "function fish_prompt; ..."]),
        ("tcsh", False, []),
    ],
)
def test_how_shells_are_started(
    shell: str, profiles: bool, arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Capture
) -> None:
    program = tmp_path / shell
    program.write_text('#!/bin/sh\nfor argument in "$@"; do echo "$argument"; done\necho "PS1=$PS1"\nexit 9\n')
    program.chmod(0o755)
    monkeypatch.setenv("SHELL", str(program))
    monkeypatch.delenv("PS1", raising=False)
    assert launch_shell("h:1", "lab", [], True, profiles) == 9
    *given, prompt = capfd.readouterr().out.splitlines()
    assert [one if len(one) < 30 else f"{one[:21]} ..." for one in given] == arguments
    assert ("lab" in prompt) == (shell in ("bash", "zsh"))
    assert ("lab" in "".join(given)) == (shell == "fish")


def test_called_outside_the_main_thread() -> None:
    code = (
        "import threading\nfrom jumpstarter.common.shell import launch_shell\n"
        "result = []\n"
        "run = lambda: result.append(launch_shell('h:1', 'lab', [], True, False, command=('sh', '-c', 'exit 4')))\n"
        "thread = threading.Thread(target=run); thread.start(); thread.join(); raise SystemExit(result[0])\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 4
