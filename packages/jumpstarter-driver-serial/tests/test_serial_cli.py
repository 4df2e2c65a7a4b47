"""The commands, in a process of their own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pexpect
import pytest

COMMAND = """
import sys
from jumpstarter.common.utils import serve
from jumpstarter_driver_serial.driver import Serial
with serve(Serial(url=sys.argv[1])) as client:
    client.cli()(sys.argv[2:], prog_name="serial")
"""


def command(url: str, *arguments: str) -> list[str]:
    return [sys.executable, "-c", COMMAND, url, *arguments]


@contextmanager
def started(url: str, *arguments: str, stdin: Any) -> Iterator[Any]:
    pipe = subprocess.PIPE
    with subprocess.Popen(command(url, *arguments), stdin=stdin, stdout=pipe, stderr=pipe) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture
def console(board: Any) -> Any:
    session = pexpect.spawn(command(board.url, "start-console")[0], command(board.url, "start-console")[1:], timeout=30)
    session.expect_exact("Ctrl-B three times leaves the console")
    yield session
    session.close(force=True)


def type_until_heard(session: Any, board: Any, keys: bytes) -> None:
    session.send(keys)
    assert board.hear(len(keys)) == keys


def test_console(board: Any, console: Any) -> None:
    board.say(b"login: ")
    console.expect_exact("login: ")
    # Keys that a terminal would act on, a lone Ctrl-B and two of them go to the board.
    type_until_heard(console, board, b"root\r\x03\x1a\x04\x02x\x02\x02y")
    type_until_heard(console, board, b"\x02\x02")
    console.send(b"\x02")
    console.expect(pexpect.EOF)
    console.wait()
    assert console.exitstatus == 0
    assert board.is_silent()


def test_leaving_the_console_in_one_go_sends_what_was_typed_before(board: Any, console: Any) -> None:
    board.say(b"$ ")
    console.expect_exact("$ ")
    console.send(b"exit\r\x02\x02\x02never")
    console.expect(pexpect.EOF)
    console.wait()
    assert console.exitstatus == 0
    assert board.hear(7) == b"exit\r\x02\x02"
    assert board.is_silent()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_terminated_console_restores_the_terminal(board: Any, number: signal.Signals, code: int) -> None:
    script = 'before=$(stty -g); "$@"; echo "code=$?"; [ "$(stty -g)" = "$before" ] && echo restored'
    session = pexpect.spawn("/bin/sh", ["-c", script, "sh", *command(board.url, "start-console")], timeout=30)
    board.say(b"login: ")
    session.expect_exact("login: ")
    type_until_heard(session, board, b"x")
    (child,) = Path(f"/proc/{session.pid}/task/{session.pid}/children").read_text().split()
    os.kill(int(child), number)
    session.expect_exact(f"code={code}")
    session.expect_exact("restored")
    session.close(force=True)


def test_an_unplugged_console_says_so(board: Any, console: Any) -> None:
    board.say(b"login: ")
    console.expect_exact("login: ")
    board.unplug()
    console.expect_exact(f"serial port {board.url} is gone")
    console.expect(pexpect.EOF)
    console.wait()
    assert console.exitstatus == 1


def test_console_needs_a_terminal(board: Any) -> None:
    with started(board.url, "start-console", stdin=subprocess.DEVNULL) as process:
        _, err = process.communicate(timeout=30)
        assert process.returncode == 2
        assert b"needs a terminal" in err
        assert b"Traceback" not in err


def test_pipe_sends_stdin_and_goes_on_until_interrupted(board: Any) -> None:
    with started(board.url, "pipe", stdin=subprocess.PIPE) as process:
        process.stdin.write(b"version\n")
        process.stdin.close()
        assert board.hear(8) == b"version\n"
        answer = b"U-Boot \xff\x00\r\n"
        board.say(answer)
        assert process.stdout.read(len(answer)) == answer
        process.send_signal(signal.SIGINT)
        process.wait(30)
        assert process.returncode == 0
        assert process.stdout.read() == b""


def test_pipe_to_a_file(tmp_path: Path) -> None:
    log, commands = tmp_path / "serial.log", tmp_path / "commands"
    log.write_bytes(b"earlier\n")
    commands.write_bytes(b"go\n")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"socket://127.0.0.1:{listener.getsockname()[1]}"
        for options, text in (((), b"one\n"), (("--append",), b"two\n")):
            with commands.open("rb") as stdin, started(url, "pipe", "-o", str(log), *options, stdin=stdin) as process:
                connection, _ = listener.accept()
                with connection:
                    assert connection.recv(3, socket.MSG_WAITALL) == b"go\n"
                    connection.sendall(text)
                _, err = process.communicate(timeout=30)
                assert process.returncode == 1
                assert f"serial port {url} is gone".encode() in err
                assert b"Traceback" not in err
    assert log.read_bytes() == b"one\ntwo\n"


def test_pipe_without_output_sends_and_leaves(board: Any) -> None:
    with started(board.url, "pipe", "--no-output", stdin=subprocess.PIPE) as process:
        process.stdin.write(b"reboot\n" * 1000)
        process.stdin.close()
        assert board.hear(7000) == b"reboot\n" * 1000
        assert (process.wait(30), process.stdout.read(), process.stderr.read()) == (0, b"", b"")


def test_pipe_without_input_only_listens(board: Any) -> None:
    with started(board.url, "pipe", "--no-input", stdin=subprocess.PIPE) as process:
        process.stdin.write(b"not sent")
        process.stdin.flush()
        board.say(b"listening")
        assert process.stdout.read(9) == b"listening"
        assert board.is_silent()
        # Nobody reads on: the next output finds the pipe closed.
        process.stdout.close()
        board.say(b"more")
        assert process.wait(30) == 0


@pytest.mark.parametrize(
    "options", [("-i", "--no-input"), ("--no-output", "--no-input"), ("--no-output", "-o", "x"), ("-a",)]
)
def test_pipe_refuses_contradictions(board: Any, options: tuple[str, ...]) -> None:
    with started(board.url, "pipe", *options, stdin=subprocess.DEVNULL) as process:
        _, err = process.communicate(timeout=30)
        assert process.returncode == 2
        assert b"Usage:" in err
