"""examples/example.py defines a driver and its client and serves it at module level: as a script and as an import."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
DEADLINE = 20


@pytest.mark.parametrize("arguments", [["example.py"], ["-c", "import example"]], ids=["script", "import"])
def test_the_example_prints_hello_once(arguments: list[str]) -> None:
    run = subprocess.run(
        [sys.executable, "-W", "error", *arguments],
        cwd=EXAMPLES,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, "hello\n", "")
