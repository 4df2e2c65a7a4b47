"""Every python code block of the READMEs runs.

An HTML comment in the line above a block says more about it. `<!-- file: relay.py -->` names the file that it stands
for: the blocks of one README share a directory, and a file named test_* is run by pytest. `<!-- needs: a USB relay -->`
names the hardware without which it is skipped.
"""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
READMES = [ROOT / "README.md", *sorted(ROOT.glob("packages/*/README.md"))]
DEADLINE = 60
BLOCK = re.compile(
    r"^(?:<!-- (?:file: (?P<file>.+?)|needs: (?P<needs>.+?)) -->\n)?```(?P<language>\w*)\n(?P<code>.*?)^```$",
    re.M | re.S,
)


@dataclass(frozen=True)
class Block:
    """One fenced block of a README, and what the comment above it says."""

    readme: Path
    number: int
    language: str
    code: str
    file: str | None = None
    needs: str | None = None

    def __str__(self) -> str:
        return f"{self.readme.parent.name}-{self.file or self.number}"

    @property
    def runs(self) -> bool:
        return self.language == "python"

    def write(self, directory: Path) -> Path:
        path = directory / (self.file or f"block_{self.number}.py")
        path.write_text(self.code)
        return path


def blocks_of(readme: Path) -> list[Block]:
    matches = enumerate(BLOCK.finditer(readme.read_text()), start=1)
    return [Block(readme, n, match["language"], match["code"], match["file"], match["needs"]) for n, match in matches]


BLOCKS = [block for readme in READMES for block in blocks_of(readme)]


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.runs], ids=str)
def test_code_block_runs(block: Block, tmp_path: Path) -> None:
    if block.needs:
        pytest.skip(f"{block} needs {block.needs}")
    for other in blocks_of(block.readme):
        if other.file:
            other.write(tmp_path)
    path = block.write(tmp_path)
    runner = ["-m", "pytest", "-q", "-p", "no:cacheprovider"] if path.name.startswith("test_") else []
    run = subprocess.run(
        [sys.executable, *runner, path.name],
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    assert run.returncode == 0, f"{path.name}:\n{block.code}\n{run.stdout}{run.stderr}"


def test_every_readme_is_read() -> None:
    assert len(READMES) == 1 + len([path for path in (ROOT / "packages").iterdir() if path.is_dir()])
    assert [block for block in BLOCKS if block.readme == ROOT / "README.md" and block.runs]


def test_no_code_fence_goes_unseen() -> None:
    for readme in READMES:
        fences = re.findall(r"^```", readme.read_text(), re.M)
        assert len(fences) == 2 * len(blocks_of(readme)), readme
