"""`--json`: there where a command returns data, and only there."""

from __future__ import annotations

import json
from typing import Any

import pytest

BOARD = Any


@pytest.mark.parametrize(
    ("args", "text", "documents"),
    [
        (["sensor", "temperature"], "21.5\n", [21.5]),
        (
            ["sensor", "info"],
            "model: T-1\nlimits: [-20, inf]\nserial: None\n",
            [{"model": "T-1", "limits": [-20, None], "serial": None}],
        ),
        (["sensor", "names"], "inner\nouter\n", [["inner", "outer"]]),
        (["sensor", "healthy"], "True\n", [True]),
        (["sensor", "samples", "3"], "0 °C\n1 °C\n2 °C\n", [0, 1, 2]),
        (["sensor", "samples", "0"], "", []),
    ],
)
def test_data_as_text_and_as_json(board: BOARD, args: list[str], text: str, documents: list[Any]) -> None:
    plain = board.j(*args, PYTHONUTF8="1")
    assert (plain.returncode, plain.stdout, plain.stderr) == (0, text, "")
    result = board.j(*args, "--json")
    assert [json.loads(line) for line in result.stdout.splitlines()] == documents
    assert (result.returncode, result.stderr) == (0, "")


def test_bytes_are_printed_as_they_are(board: BOARD) -> None:
    with board.start("sensor", "blob", text=False) as process:
        assert process.stdout.read() == b"\x00\xff\n"
    assert board.j("sensor", "blob", "--json").stdout == '"AP8K"\n'


def test_power_readings(board: BOARD) -> None:
    board.j("power", "on")
    result = board.j("power", "read", "-n", "2", "--json")
    assert [json.loads(line) for line in result.stdout.splitlines()] == [
        {"voltage": 0.0, "current": 0.0},
        {"voltage": 5.0, "current": 2.0},
    ]


def test_readings_come_as_they_are_made(board: BOARD) -> None:
    with board.start("power", "read", "-n", "0", "-i", "0", "--json") as process:
        for _ in range(3):
            assert json.loads(process.stdout.readline()).keys() == {"voltage", "current"}
        process.terminate()
        process.communicate(timeout=30)
        assert process.returncode == 2


def test_a_forwarded_port(board: BOARD) -> None:
    with board.start("echo", "forward-tcp", "--address", "127.0.0.1", "--json") as process:
        address = json.loads(process.stdout.readline())
        assert address["host"] == "127.0.0.1"
        assert 0 < address["port"] < 65536
        process.terminate()
        assert process.communicate(timeout=30) == ("", "stopped\n")
        assert process.returncode == 0


def test_a_forwarded_port_that_nobody_can_be_told_of(board: BOARD) -> None:
    with open("/dev/full", "w") as full, board.start("echo", "forward-tcp", stdout=full) as process:
        assert process.wait(30) == 1
        assert process.stderr.read() == "Error: No space left on device\n"


@pytest.mark.parametrize("args", [["power", "on"], ["sensor", "leave", "0"], ["sensor", "fail", "OSError"]])
def test_no_json_of_commands_without_data(board: BOARD, args: list[str]) -> None:
    result = board.j(*args, "--json")
    assert result.returncode == 1
    assert "No such option '--json'" in result.stderr


def test_help_tells_of_it(board: BOARD) -> None:
    assert "--json" in board.j("sensor", "temperature", "--help").stdout
    assert "--json" not in board.j("power", "on", "--help").stdout
