"""The control socket of a running board: one word in, one line out."""

from __future__ import annotations

import socket
from pathlib import Path

REQUESTS = ("on", "off", "read", "state")
"""`on` and `off` answer `ok`, `read` volts and amps, `state` the name of the machine's state."""

_TIMEOUT = 10.0


class BoardError(Exception):
    """The board cannot be reached, did not start, or refused a request."""


def request(path: str | Path, word: str) -> str:
    """The board's answer, or BoardError; within 10 seconds."""
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(_TIMEOUT)
            connection.connect(str(path))
            connection.sendall(f"{word}\n".encode())
            connection.shutdown(socket.SHUT_WR)
            with connection.makefile("r", encoding="utf-8") as answers:
                answer = answers.readline().strip()
    except OSError as e:
        raise BoardError(f"no virtual board answers at {path}: {e.strerror or e}") from e
    if not answer or answer.startswith("error: "):
        raise BoardError(
            f"the virtual board at {path} refused {word!r}: {answer.removeprefix('error: ') or 'no answer'}"
        )
    return answer
