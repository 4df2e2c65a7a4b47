"""Importing the client stays light: `j` pays for it on every command."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "scripts" / "import_budget.py"
BUDGET = 80


def test_import_of_the_client_stays_within_its_budget(record_property: Callable[[str, object], None]) -> None:
    report = subprocess.run([sys.executable, SCRIPT, "--list"], check=True, capture_output=True, text=True).stdout
    match = re.match(r"import jumpstarter\.client: (\d+) modules", report)
    assert match, report
    record_property("modules", match[1])
    print(match.string.splitlines()[0])
    assert int(match[1]) <= BUDGET, report
