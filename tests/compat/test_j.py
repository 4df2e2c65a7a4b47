"""`j` with a 0.9.0 exporter."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

SIDES = Path(__file__).parent / "sides"
PEER = Path(__file__).parents[2] / ".peer" / "bin" / "python"

pytestmark = pytest.mark.peer(str(PEER))

J = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def j() -> Iterator[J]:
    with subprocess.Popen(
        [PEER, SIDES / "network_exporter.py"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        host = process.stdout.readline().strip()
        session = {**os.environ, "JUMPSTARTER_HOST": host, "JMP_DRIVERS_ALLOW": "UNSAFE"}

        def run(*args: str, **env: str) -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                [Path(sys.executable).parent / "j", *args],
                env=session | env,
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )

        try:
            yield run
        finally:
            process.stdin.close()
            process.wait(20)


def test_the_tree_of_their_exporter_as_commands(j: J) -> None:
    result = j("--help")
    assert result.returncode == 0
    assert "a bench" in result.stdout
    for args in (["ssh", "address"], ["rack", "ssh", "address"]):
        result = j(*args)
        assert (result.returncode, result.stdout, result.stderr) == (0, "board.example:22\n", "")
    assert j("ssh", "address", "--json").stdout == '"board.example:22"\n'


def test_a_group_whose_client_is_not_allowed_still_has_its_children(j: J) -> None:
    """Their exporters name a driver package's class for the root, which need not be there."""
    result = j("rack", "ssh", "address", JMP_DRIVERS_ALLOW="jumpstarter_driver_network.*")
    assert (result.returncode, result.stdout) == (0, "board.example:22\n")


def test_errors_of_their_exporter(j: J) -> None:
    result = j("shh", "address")
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1] == "Error: No such command 'shh'. Did you mean 'ssh'?"
