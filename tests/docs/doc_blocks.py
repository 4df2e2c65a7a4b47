"""The blocks of code in the READMEs and in docs/, and what the comments above them say.

HTML comments right above a block, one per line, tell more about it:

`<!-- file: relay.py -->`       the block is that file of the page's directory
`<!-- not run: REASON -->`      why the tests cannot run the block; `test_blocks` counts these
`<!-- wrong: TEXT -->`          a configuration file with a mistake, which the error names as TEXT
`<!-- background: TEXT -->`     the last command goes on in the background, once it has printed TEXT
`<!-- types: TEXT => KEYS | TEXT => KEYS -->`   keys to press when the terminal shows a text, with escapes as in Python
`<!-- fails: 2 -->`             the exit code of the block's last command
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parents[2]
NOTE = re.compile(r"<!-- (?P<name>[a-z ]+): (?P<text>.+?) -->")
NOTES = frozenset({"background", "fails", "file", "not run", "types", "wrong"})


@dataclass(frozen=True)
class Block:
    """One fenced or indented block of a page; `line` is its first."""

    page: Path
    line: int
    language: str
    code: str
    notes: dict[str, str] = field(default_factory=dict, hash=False)

    def __str__(self) -> str:
        return f"{name_of(self.page)}:{self.notes.get('file', self.line)}"

    @property
    def file(self) -> str | None:
        return self.notes.get("file")

    @property
    def not_run(self) -> str | None:
        return self.notes.get("not run")


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


@cache
def pages() -> list[Path]:
    """Every page that users read."""
    docs = (path for path in (ROOT / "docs").rglob("*.md") if "_build" not in path.parts)
    return [ROOT / "README.md", *sorted(ROOT.glob("packages/*/README.md")), *sorted(docs)]


@cache
def blocks_of(page: Path) -> list[Block]:
    """The blocks of a page in their order; directives of the site, ```{name}, are none."""
    return list(_blocks(page, MarkdownIt().parse(page.read_text())))


def all_blocks() -> list[Block]:
    return [block for page in pages() for block in blocks_of(page)]


@cache
def inline(page: Path) -> list[Token]:
    """The pieces of the text of a page, tables included."""
    parents = MarkdownIt("gfm-like", {"linkify": False}).parse(page.read_text())
    return [token for parent in parents for token in parent.children or []]


def inline_code(page: Path) -> list[str]:
    """The pieces of code within the text of a page."""
    return [token.content for token in inline(page) if token.type == "code_inline"]


def links(page: Path) -> list[str]:
    """Where the links of a page lead to."""
    return [str(token.attrs["href"]) for token in inline(page) if token.type == "link_open"]


def _blocks(page: Path, tokens: list[Token]) -> Iterator[Block]:
    notes: dict[str, str] = {}
    for token in tokens:
        if token.type == "html_block":
            notes |= {note["name"]: note["text"] for note in NOTE.finditer(token.content)}
            unknown = notes.keys() - NOTES
            assert not unknown, f"{page}: notes are {', '.join(sorted(NOTES))}, not {unknown}"
            continue
        if token.type in ("fence", "code_block") and not token.info.startswith("{"):
            assert token.map is not None
            yield Block(page, token.map[0] + 1, token.info.strip(), token.content, notes)
        notes = {}
