"""The generated code of jumpstarter-protocol is what `make protocol` makes of the .proto files."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
GENERATED = ROOT / "packages" / "jumpstarter-protocol" / "jumpstarter_protocol" / "jumpstarter"


def files_in(directory: Path) -> dict[str, str]:
    paths = (path for path in directory.rglob("*.py*") if path.suffix != ".pyc")
    return {str(path.relative_to(directory)): path.read_text() for path in paths}


def test_generated_code_is_current(tmp_path: Path) -> None:
    subprocess.run([sys.executable, ROOT / "scripts" / "generate_protocol.py", tmp_path], check=True)
    current, fresh = files_in(GENERATED), files_in(tmp_path / "jumpstarter")
    assert sorted(current) == sorted(fresh)
    assert [name for name in fresh if current[name] != fresh[name]] == [], "run `make protocol`"
