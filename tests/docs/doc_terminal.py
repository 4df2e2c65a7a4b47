"""Terminals on which the commands of a page run."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress

import pexpect
import pytest
from doc_transcript import ESCAPE, Command
from jumpstarter_testing.eventually import eventually

DEADLINE = 30


class Background:
    """A command that goes on while the page does, on a terminal of its own."""

    def __init__(self, command: Command, arguments: list[str], environment: dict[str, str]) -> None:
        self.command = command
        self.exit_code: int | None = None
        self._output = b""
        self._terminal, screen = os.openpty()
        self._process = subprocess.Popen(
            arguments, env=environment, stdin=screen, stdout=screen, stderr=screen, start_new_session=True
        )
        os.close(screen)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def shown(self) -> str:
        return self._output.decode(errors="replace")

    def wait_for(self, text: str) -> None:
        """Return when the terminal shows a text; fail where the command ends before."""

        def look() -> None:
            if self._process.poll() is not None:
                pytest.fail(f"{self.command.line} ended with {self._process.returncode}:\n{self.shown}")
            assert text in self.shown

        eventually(look, timeout=DEADLINE)

    def stop(self) -> None:
        """End it as a service manager would."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGTERM)
        self.exit_code = self._process.wait(DEADLINE)
        self._reader.join(DEADLINE)
        os.close(self._terminal)

    def _read(self) -> None:
        with suppress(OSError):  # nobody has the other end open any more
            while part := os.read(self._terminal, 4096):
                self._output += part


def keys_of(text: str) -> Iterator[tuple[str, str]]:
    for pair in filter(None, text.split(" | ")):
        prompt, _, keys = pair.partition(" => ")
        yield prompt, keys.encode().decode("unicode_escape")


def until_prompt(terminal: pexpect.spawn[str], keys: list[tuple[str, str]], *, end: bool = False) -> str:
    """What the terminal shows before the shell asks for the next command, or ends; answers questions on the way."""
    shown = ""
    while True:
        prompts: list[str | type[Exception]] = [pexpect.EOF if end else r"[^\n]*⚡[^\n]*➤[^\n]* "]
        prompts += [re.escape(prompt) for prompt, _ in keys[:1]]
        try:
            found = terminal.expect(prompts)
        except (pexpect.EOF, pexpect.TIMEOUT) as error:
            waited = [*prompts[1:], "a prompt" if not end else "the end"]
            pytest.fail(f"{type(error).__name__} while waiting for {waited}:\n{shown}{terminal.before}")
        shown += terminal.before or ""
        if not found:
            return ESCAPE.sub("", shown)
        shown += str(terminal.after)
        terminal.send(keys.pop(0)[1])
