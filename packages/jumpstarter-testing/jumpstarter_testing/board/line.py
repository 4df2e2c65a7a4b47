"""The line discipline of the board's prompts: typed bytes in, echo and whole lines out."""

from __future__ import annotations

from dataclasses import dataclass, field

INTERRUPT = 0x03
END_OF_FILE = 0x04
_BACKSPACES = (0x08, 0x7F)
_KILL = 0x15
_CR, _LF = 0x0D, 0x0A
_LIMIT = 4095
"""Bytes in a line, as on a Linux terminal; what is typed beyond is lost and answered with a bell."""


@dataclass
class LineEditor:
    """One line at a time; CR, LF and CR LF end it, backspace and Ctrl-U edit it, other control bytes are ignored."""

    text: bytearray = field(default_factory=bytearray)
    _after_cr: bool = False

    def reset(self) -> None:
        """Forgets the unfinished line."""
        self.text.clear()
        self._after_cr = False

    def feed(self, byte: int, *, echo: bool = True) -> tuple[bytes, str | None]:
        """The bytes to echo, and the line if this byte ended one."""
        second_half, self._after_cr = self._after_cr and byte == _LF, byte == _CR
        if second_half:
            return b"", None
        if byte in (_CR, _LF):
            line = self.text.decode(errors="replace")
            self.text.clear()
            return b"\r\n", line
        answer = self._edit(byte)
        return answer if echo else b"", None

    def _edit(self, byte: int) -> bytes:
        if byte in _BACKSPACES:
            return self._erase(1)
        if byte == _KILL:
            return self._erase(len(self.text))
        if byte < 0x20:
            return b""
        if len(self.text) >= _LIMIT:
            return b"\a"
        self.text.append(byte)
        return bytes([byte])

    def _erase(self, count: int) -> bytes:
        count = min(count, len(self.text))
        del self.text[len(self.text) - count :]
        return b"\b \b" * count
