"""A terminal on a serial console."""

from __future__ import annotations

import sys

from anyio import ClosedResourceError
from jumpstarter.client import DriverClient

from .terminal import Descriptors, join, raw_terminal

ESCAPE = 0x02
ESCAPE_COUNT = 3
HINT = "Ctrl-B three times leaves the console"


class Console:
    """The terminal of this process as a terminal of the board: every key goes there as it is."""

    def __init__(self, serial_client: DriverClient) -> None:
        self.serial_client = serial_client

    def run(self) -> None:
        """Return when Ctrl-B was typed three times in a row. OSError or DriverError when the console ends by itself.

        The terminal is put back however this ends. ValueError if standard input is no terminal.
        """
        if not sys.stdin.isatty():
            raise ValueError("the console needs a terminal as standard input; without one use pipe")
        descriptor = sys.stdin.fileno()
        with raw_terminal(descriptor):
            join(self.serial_client, Keyboard(descriptor, sys.stdout.fileno()))


class Keyboard(Descriptors):
    """A terminal whose user can leave: it counts as closed after `ESCAPE_COUNT` escapes in a row."""

    _escapes = 0
    _left = False

    async def receive(self) -> bytes:
        data = b"" if self._left else await super().receive()
        typed = self._before_escape(data)
        # What was typed before the last escape still goes to the board.
        self._left = len(typed) < len(data)
        if not typed:
            raise ClosedResourceError
        return typed

    def _before_escape(self, data: bytes) -> bytes:
        for position, key in enumerate(data):
            self._escapes = self._escapes + 1 if key == ESCAPE else 0
            if self._escapes == ESCAPE_COUNT:
                return data[:position]
        return data
