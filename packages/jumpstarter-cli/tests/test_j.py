"""`j`: the tree as commands, help, errors, exit codes."""

from __future__ import annotations

import os
import pty
import re
from collections.abc import Callable
from typing import Any

import pytest

BOARD = Any
Serve = Callable[[str], Any]


def test_without_arguments_it_prints_help(board: BOARD) -> None:
    result = board.j()
    assert result.stderr.startswith("Usage: j [OPTIONS] COMMAND")
    assert "The board on the desk" in result.stderr
    assert (result.returncode, result.stdout) == (1, "")


def test_help_lists_what_can_be_used_with_the_drivers_texts(board: BOARD) -> None:
    result = board.j("--help")
    listed = dict(re.findall(r"^  (\w+) +(.+)$", result.stdout.split("Commands:\n")[1], re.MULTILINE))
    assert listed == {
        "disk": "Generic flasher interface",
        "echo": "Generic network connection",
        "power": "The relay",
        "rack": "The rack",
        "sensor": "A sensor",
    }
    assert (result.returncode, result.stderr) == (0, "")


def test_help_of_a_driver_has_the_exporters_texts(board: BOARD) -> None:
    text = board.j("power", "--help").stdout
    assert text.startswith("Usage: j power [OPTIONS] COMMAND")
    assert re.search(r"on +Close the relay", text)
    assert re.search(r"off +Power off", text)


def test_commands_print_their_data_on_stdout(board: BOARD) -> None:
    assert board.j("power", "on").returncode == 0
    result = board.j("power", "read", "-n", "2", "-i", "0")
    assert result.stdout.splitlines()[1] == "voltage=5.0 V  current=2.0 A  apparent_power=10.0 VA"
    assert (result.returncode, result.stderr) == (0, "")


def test_groups_without_commands_of_their_own_are_groups_of_their_children(board: BOARD) -> None:
    assert board.j("rack", "slot", "power", "on").returncode == 0
    assert "slot" in board.j("rack", "--help").stdout


@pytest.mark.parametrize("code", [0, 1, 7, 255])
def test_an_int_result_is_the_exit_code(board: BOARD, code: int) -> None:
    result = board.j("sensor", "leave", str(code))
    assert (result.returncode, result.stdout, result.stderr) == (code, "", "")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["pwer", "on"], "No such command 'pwer'. Did you mean 'power'?"),
        (["power", "onn"], "No such command 'onn'. Did you mean 'on'?"),
        (["power", "on", "--fast"], "No such option '--fast'."),
        (["power", "on", "now"], "Got unexpected extra argument (now)"),
        (["sensor", "leave"], "Missing argument 'CODE'."),
        (["mute"], "mute: its client MuteClient has no commands, only methods to use from Python"),
        (["mute", "do", "--it"], "mute: its client MuteClient has no commands, only methods to use from Python"),
        (
            ["foreign", "--help"],
            "foreign: client class jumpstarter_driver_elsewhere.client.ForeignClient is not installed: "
            "pip install jumpstarter-driver-elsewhere",
        ),
        (["broken"], "broken: its commands cannot be made: LookupError: no such probe"),
        (["--log-level", "LOUD"], "Invalid value for '--log-level'"),
        (["sensor", "fail", "ValueError"], "sensor.fail: ValueError: the probe is loose"),
        (["sensor", "fail", "TimeoutError"], "sensor.fail: TimeoutError: the probe is loose"),
        (["sensor", "fail", "OSError"], "sensor.fail: OSError: the probe is loose"),
        (["sensor", "fail", "BrokenPipeError"], "sensor.fail: BrokenPipeError: [Errno 32] Broken pipe"),
        (["sensor", "fail", "RuntimeError"], "sensor.fail: RuntimeError: the probe is loose"),
        (["sensor", "fail", "NotImplementedError"], "sensor.fail: NotImplementedError: the probe is loose"),
        (["sensor", "boom"], "KeyError: 'calibration'"),
        (["disk", "flash", "/no/such/image"], "/no/such/image: No such file or directory"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_errors_are_one_message_and_exit_code_1(board: BOARD, args: list[str], message: str) -> None:
    result = board.j(*args)
    last = result.stderr.splitlines()[-1]
    assert last.startswith(f"Error: {message}"), result.stderr
    assert "Traceback" not in result.stderr
    assert (result.returncode, result.stdout) == (1, "")


def test_help_is_pointed_to_where_there_is_some(board: BOARD) -> None:
    assert "Try 'j power --help' for help." in board.j("power", "onn").stderr
    assert "--help" not in board.j("mute").stderr


def test_a_traceback_at_log_level_debug(board: BOARD) -> None:
    result = board.j("--log-level", "debug", "sensor", "boom")
    assert "Traceback (most recent call last)" in result.stderr
    assert result.stderr.splitlines()[-1] == "Error: KeyError: 'calibration'"
    assert result.returncode == 1


def test_outside_a_shell(program: Callable[..., Any]) -> None:
    for args in ([], ["--help"], ["power", "on"]):
        result = program("j", *args)
        assert result.stderr.startswith("Error: the j command must be used inside a jmp shell")
        assert (result.returncode, result.stdout) == (1, "")


def test_an_exporter_that_has_gone(board: BOARD) -> None:
    result = board.j("power", "on", JUMPSTARTER_HOST="/tmp/no-exporter-here")
    assert result.returncode == 1
    assert "/tmp/no-exporter-here" in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.stderr


def test_client_classes_that_are_not_allowed(board: BOARD) -> None:
    result = board.j("power", "on", JMP_DRIVERS_ALLOW="cli_clients.*")
    assert result.returncode == 1
    assert "not on the allow list" in result.stderr
    assert board.j("sensor", "temperature", JMP_DRIVERS_ALLOW="cli_clients.*").stdout == "21.5\n"


@pytest.mark.parametrize("tree", ["plain", "foreign"])
def test_a_root_without_commands_gives_those_of_its_children(serve_board: Serve, tree: str) -> None:
    with serve_board(tree) as one:
        assert one.j("power", "on").returncode == 0
        help = one.j("--help").stdout
        assert "power" in help.split("Commands:")[1]
        assert "mute" not in help
        assert "--log-level" in help
        assert "--quiet" in help


def test_a_root_that_is_a_driver(serve_board: Serve) -> None:
    with serve_board("single") as one:
        assert one.j("temperature").stdout == "21.5\n"
        assert "The only one" in one.j("--help").stdout


def test_a_root_without_commands_and_children(serve_board: Serve) -> None:
    with serve_board("mute") as one:
        result = one.j("--help")
        assert result.returncode == 1
        assert result.stderr.splitlines()[-1] == (
            "Error: its client MuteClient has no commands, only methods to use from Python"
        )


@pytest.mark.parametrize(("options", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)])
def test_errors_are_red_on_a_terminal_that_is_to_have_colours(
    board: BOARD, options: dict[str, str], coloured: bool
) -> None:
    shown = on_terminal(board, ["sensor", "boom"], **options)
    assert ("\x1b[31mError: KeyError: 'calibration'" in shown) is coloured
    assert "Error: KeyError: 'calibration'" in shown


@pytest.mark.parametrize(
    ("args", "options", "bar"),
    [
        (["disk", "flash"], {}, True),
        (["disk", "dump"], {}, True),
        (["--quiet", "disk", "flash"], {}, False),
        (["disk", "flash"], {"JMP_QUIET": "1"}, False),
        (["disk", "flash"], {"NONINTERACTIVE": "1"}, False),
        (["disk", "flash"], {"TERM": "dumb"}, False),
    ],
)
def test_transfers_show_their_progress_unless_told_not_to(
    board: BOARD, tmp_path: Any, args: list[str], options: dict[str, str], bar: bool
) -> None:
    image = tmp_path / "image"
    image.write_bytes(bytes(3_000_000))
    shown = on_terminal(board, [*args, str(image)], **options)
    assert ("3.0" in shown and "MB" in shown) is bar
    assert bar or shown == ""


def on_terminal(board: BOARD, args: list[str], **options: str) -> str:
    """What `j` writes to stderr, when that is a terminal; stdout is none."""
    ours, theirs = pty.openpty()
    environment = {"TERM": "xterm", "COLUMNS": "100"} | options
    with board.start(*args, env=environment, stderr=theirs) as process:
        os.close(theirs)
        shown = b""
        while piece := _read(ours):
            shown += piece
        os.close(ours)
        assert process.stdout.read() == ""
    return shown.decode()


def _read(fd: int) -> bytes:
    try:
        return os.read(fd, 65536)
    except OSError:  # EIO: the other side is closed
        return b""
