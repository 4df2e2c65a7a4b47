"""Our client with a 0.9.0 exporter, a 0.9.0 client with our exporter: what 0.9.0 does with itself is the measure."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SIDES = Path(__file__).parent / "sides"
PEER = Path(__file__).parents[2] / ".peer" / "bin" / "python"

pytestmark = pytest.mark.peer(str(PEER))

# 0.9.0 would change these in silence; ours refuses them, naming the argument or the call.
REFUSED = {"big", "huge", "nan", "inf", "binary", "int key"}
# 0.9.0's class for these says less than ours, which is that class too.
BETTER = {"error TimeoutError": "TimeoutError"}


def run(client: str, exporter: str) -> dict[str, Any]:
    environment = {**os.environ, "JMP_DRIVERS_ALLOW": "UNSAFE", "PYTHONPATH": str(SIDES)}
    with subprocess.Popen(
        [exporter, str(SIDES / "exporter.py")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        host = process.stdout.readline().strip()
        try:
            done = subprocess.run(
                [client, str(SIDES / "client.py")],
                env={**environment, "JUMPSTARTER_HOST": host},
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
        finally:
            process.stdin.close()
            process.wait(20)
    assert done.returncode == 0, done.stderr
    outcomes: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return outcomes


@pytest.fixture(scope="module")
def measure() -> dict[str, Any]:
    return run(str(PEER), str(PEER))


def check(what: str, theirs: Any, ours: Any, refusing_side: str) -> None:
    side, _, name = what.partition(" ")
    if side == refusing_side and name in REFUSED:
        assert ours[0] == "error", f"{what} was changed in silence: {ours}"
        assert "echo" in ours[2] or "give" in ours[2], f"{what} is refused, but not by name: {ours[2]}"
    elif theirs[0] == "error":
        assert ours[0] == "error", what
        assert set(theirs[1]) <= set(ours[1]) | {"UnicodeDecodeError", "PydanticSerializationError"}, what
        if what in BETTER:
            assert BETTER[what] in ours[1] or refusing_side == "result", what
    else:
        assert ours == theirs, what


def test_our_client_with_their_exporter(measure: dict[str, Any]) -> None:
    ours = run(sys.executable, str(PEER))
    assert ours.keys() == measure.keys()
    for what, theirs in measure.items():
        check(what, theirs, ours[what], "argument")


def test_their_client_with_our_exporter(measure: dict[str, Any]) -> None:
    ours = run(str(PEER), sys.executable)
    assert ours.keys() == measure.keys()
    for what, theirs in measure.items():
        check(what, theirs, ours[what], "result")


def test_between_our_own_peers_nothing_changes() -> None:
    sys.path.insert(0, str(SIDES))
    ours = run(sys.executable, sys.executable)
    assert ours["argument big"] == ["ok", ["int", str(2**53 + 1)]]
    assert ours["result nan"] == ["ok", ["float", "nan"]]
    assert ours["argument binary"] == ["ok", ["bytes", "ff00"]]
    assert ours["result uuid"][1][0] == "UUID"
    assert ours["argument naive"][1][0] == "datetime"
    assert ours["result enum"] == ["ok", ["str", "'red'"]]
