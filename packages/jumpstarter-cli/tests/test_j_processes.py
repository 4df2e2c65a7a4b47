"""`j` as a process among others: interrupts, broken pipes, many at once, many in a row, nothing left behind."""

from __future__ import annotations

import gc
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest
from jumpstarter_testing.eventually import eventually

BOARD = Any
AT_ONCE = 20
IN_A_ROW = 300


def interrupted(board: BOARD, command: str, path: Path, *numbers: int) -> tuple[int, str]:
    """Exit code and stderr of a command that is waiting when it gets the signals."""
    with board.start("sensor", command, str(path)) as process:
        eventually(lambda: path.read_text(), timeout=30)
        for number in numbers:
            process.send_signal(number)
        _, errors = process.communicate(timeout=30)
        return process.returncode, errors


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_cancels_the_call_on_the_exporter(board: BOARD, tmp_path: Path, number: signal.Signals) -> None:
    path = tmp_path / "wait"
    code, errors = interrupted(board, "wait", path, number)
    assert (code, errors.strip()) == (2, "Aborted!")

    def cancelled() -> None:
        assert path.read_text() == "waiting\ncancelled\n"

    eventually(cancelled)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_lets_the_command_clean_up(board: BOARD, tmp_path: Path, number: signal.Signals) -> None:
    code, errors = interrupted(board, "tidy", tmp_path / "tidy", number)
    assert (code, errors.split("\n")[0]) == (2, "tidied up")
    assert "Traceback" not in errors


def test_several_interrupts_end_it_too(board: BOARD, tmp_path: Path) -> None:
    code, errors = interrupted(board, "wait", tmp_path / "wait", signal.SIGINT, signal.SIGTERM, signal.SIGINT)
    assert code in (2, -signal.SIGINT, -signal.SIGTERM)
    assert "Traceback" not in errors


def test_a_kill_ends_the_call_on_the_exporter(board: BOARD, tmp_path: Path) -> None:
    path = tmp_path / "wait"
    assert interrupted(board, "wait", path, signal.SIGKILL)[0] == -signal.SIGKILL

    def cancelled() -> None:
        assert path.read_text() == "waiting\ncancelled\n"

    eventually(cancelled, timeout=10)


def test_a_reader_that_leaves_ends_it_quietly(board: BOARD) -> None:
    with board.start("power", "read", "-n", "0", "-i", "0") as process:
        assert process.stdout.readline().startswith("voltage=")
        process.stdout.close()
        assert process.wait(30) == 1
        assert process.stderr.read() == ""


def test_help_into_a_reader_that_has_left(board: BOARD) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with board.start("--help", stdout=writer) as process:
        os.close(writer)
        assert process.wait(30) == 1
        assert process.stderr.read() == ""


def test_a_full_disk_is_an_error(board: BOARD) -> None:
    with open("/dev/full", "w") as full, board.start("sensor", "temperature", stdout=full) as process:
        assert process.wait(30) == 1
        assert process.stderr.read() == "Error: No space left on device\n"


def test_closed_standard_streams(board: BOARD) -> None:
    script = '"$0" sensor temperature <&- >&- 2>&-; echo $?; "$0" sensor leave 7 <&- >&- 2>&-; echo $?'
    done = subprocess.run(
        ["sh", "-c", script, Path(sys.executable).parent / "j"],
        env=board.environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.split() == ["0", "7"]


def test_many_at_once(board: BOARD) -> None:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        results = list(pool.map(lambda number: board.j("sensor", "leave", str(number)), range(AT_ONCE)))
    assert [(result.returncode, result.stderr) for result in results] == [(code, "") for code in range(AT_ONCE)]


class Footprint:
    """What an exporter's process holds."""

    def __init__(self, pid: int) -> None:
        process = psutil.Process(pid)
        self.files = process.num_fds()
        self.threads = process.num_threads()
        self.megabytes = process.memory_info().rss / 1e6

    def __repr__(self) -> str:
        return f"{self.files} files, {self.threads} threads, {self.megabytes:.1f} MB"


def check_in_a_row(serve_board: Callable[[str], Any], count: int, megabytes: float) -> None:
    """`count` commands, none of which fails or leaves anything at the exporter; at most `megabytes` more of memory."""
    with serve_board("composite") as board:

        def run(times: int) -> list[float]:
            seconds = []
            for number in range(times):
                started = time.perf_counter()
                result = board.j("power", ("on", "off")[number % 2])
                seconds.append(time.perf_counter() - started)
                assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
            return seconds

        run(20)
        before = Footprint(board.process.pid)
        seconds = run(count)

        def unchanged() -> None:
            after = Footprint(board.process.pid)
            assert after.files <= before.files, (before, after)
            assert after.threads <= before.threads + 2, (before, after)
            assert after.megabytes <= before.megabytes + megabytes, (before, after)

        eventually(unchanged, timeout=20)
        print(f"{count} commands, median {1000 * statistics.median(seconds):.0f} ms; {before!r} before, ", end="")
        print(f"{Footprint(board.process.pid)!r} after")
    gc.collect()


@pytest.mark.timeout(300)
def test_many_in_a_row_leave_nothing_behind(serve_board: Callable[[str], Any]) -> None:
    check_in_a_row(serve_board, IN_A_ROW, megabytes=5)


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_ten_thousand_in_a_row(serve_board: Callable[[str], Any]) -> None:
    check_in_a_row(serve_board, 10_000, megabytes=10)
