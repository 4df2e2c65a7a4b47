"""What a terminal program prints, as lines for a log."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator

# A longer line comes in pieces.
LINE_CHARACTERS = 8192

_LINE_END = re.compile(r"\r*+\n|\r++")
_ESCAPES = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # colours, cursor movements
    r"|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?"  # titles, links
    r"|\x1b[ -/]*[0-~]"
    r"|[\x00-\x08\x0b-\x1f\x7f-\x9f]"
)


class OutputLines:
    """Cuts output into lines of text, without escape sequences.

    A carriage return ends a line too, so that progress bars show. Bytes that are not UTF-8 become U+FFFD.
    """

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._rest = ""
        self._in_pieces = False

    def feed(self, data: bytes) -> Iterator[str]:
        """The lines that `data` completes."""
        text = self._rest + self._decoder.decode(data)
        start = 0
        for end in _LINE_END.finditer(text):
            newline = end[0].endswith("\n")
            if end.end() == len(text) and not newline:
                break  # a newline may follow
            if end.start() > start or (newline and not self._in_pieces):
                yield from _pieces(text[start : end.start()])
            self._in_pieces = False
            start = end.end()
        self._rest = text[start:]
        while len(self._rest) > LINE_CHARACTERS:
            self._in_pieces = True
            yield _clean(self._rest[:LINE_CHARACTERS])
            self._rest = self._rest[LINE_CHARACTERS:]

    def close(self) -> Iterator[str]:
        """The last line, where nothing ended it."""
        rest = (self._rest + self._decoder.decode(b"", final=True)).rstrip("\r")
        self._rest = ""
        if rest:
            yield _clean(rest)


def _pieces(line: str) -> Iterator[str]:
    for start in range(0, max(len(line), 1), LINE_CHARACTERS):
        yield _clean(line[start : start + LINE_CHARACTERS])


def _clean(line: str) -> str:
    return line if line.isprintable() else _ESCAPES.sub("", line)
