"""`make demo` as its user sees it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

DEMO = str(Path(__file__).parents[2] / "examples" / "demo.py")


def run(*options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, DEMO, *options],
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_the_demo_does_the_main_job() -> None:
    done = run()
    assert (done.returncode, done.stderr) == (0, "")
    expected = [
        "type: jumpstarter_driver_power.driver.CommandPower",
        "== Switch the power on",
        "Hit any key to stop autoboot:  3",
        "=> version\n | U-Boot 2024.01-virtual",
        "Starting kernel",
        "board login: root\n | Password: \n | root@board:~# ",
        "uname -a\n | Linux board",
        "== Switch the power off",
        "bootloader  U-Boot 2024.01-virtual",
        "system      Linux board",
        "power       5.00 V, 0.34 A",
    ]
    places = [done.stdout.find(text) for text in expected]
    assert -1 not in places, expected[places.index(-1)]
    assert places == sorted(places)
    assert "\033" not in done.stdout


@pytest.mark.parametrize(
    ("environment", "colored"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)]
)
def test_colors_are_for_terminals_that_want_them(environment: dict[str, str], colored: bool) -> None:
    inherited = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    terminal, other_side = os.openpty()
    environment = {**inherited, "TERM": "xterm", **environment}
    with subprocess.Popen([sys.executable, DEMO], stdout=other_side, env=environment) as demo:
        os.close(other_side)
        shown = b"".join(iter(lambda: read_terminal(terminal), b""))
        os.close(terminal)
    assert demo.returncode == 0
    assert b"Switch the power off" in shown
    assert (b"\033[" in shown) == colored


def read_terminal(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # Linux: the other side is closed
        return b""


@pytest.mark.parametrize("fault", ["hang-bootloader", "hang-kernel"])
def test_a_board_that_hangs_is_one_clear_message(fault: str) -> None:
    done = run("--fault", fault, "--timeout", "2")
    assert done.returncode == 1
    assert done.stderr == "demo: the board did not answer within 2 s; its last words are above\n"
    assert "== Switch the power off" in done.stdout


def test_a_board_that_cannot_start_is_one_clear_message(tmp_path: Path) -> None:
    deep = tmp_path / ("deep" * 30)
    deep.mkdir()
    done = run(TMPDIR=str(deep))
    assert done.returncode == 1
    assert done.stderr.startswith("demo: the virtual board did not start: ")
    assert len(done.stderr.splitlines()) == 1
