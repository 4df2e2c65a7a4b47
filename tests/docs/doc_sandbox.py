"""Runs what a page shows in a terminal: in the page's order, in one directory, as a user with an empty home."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from types import TracebackType
from typing import Self

import pexpect
from doc_blocks import Block
from doc_terminal import DEADLINE, Background, keys_of, until_prompt
from doc_transcript import ESCAPE, Command, commands_of, matches

# The ports that the pages write; tests take free ones.
PORT = re.compile(r"\b184\d\d\b")
BIN = Path(sys.executable).parent
KEPT = ("LANG", "LD_LIBRARY_PATH", "PYTHONDONTWRITEBYTECODE")
# `pip install --editable '.[extra]'` for this user alone, and without a network: what an extra asks for is there.
PIP = """\
#!/bin/sh
set -e
[ "$1 $2" = 'install --editable' ]
cd "${{3%%[*}}"
{uv} pip install --quiet --offline --no-deps --no-build-isolation --python {python} --target {site} .
for package in */__init__.py; do rm -r "{site}/${{package%/*}}"; done
pwd > {site}/editable.pth
"""
# What makes the directory above one in which Python looks for editable packages.
SITE = """\
import site

site.addsitedir({site!r})
"""


class Sandbox:
    """One user's home and directory, with what the page started in the background."""

    def __init__(self) -> None:
        self._ports: dict[str, str] = defaultdict(free_port)
        self._root = Path(tempfile.mkdtemp(prefix="page-"))
        self.directory = self._root / "lab"
        self._state = self._root / "state"
        self._background: list[Background] = []
        self._exit_code = 0
        for path in (self.directory, self._root / "home", self._root / "run", self._root / "bin", self._root / "site"):
            path.mkdir()
        pip = self._root / "bin" / "pip"
        pip.write_text(PIP.format(uv=BIN / "uv", python=sys.executable, site=self._root / "site"))
        pip.chmod(0o755)
        (self._root / "site" / "sitecustomize.py").write_text(SITE.format(site=str(self._root / "site")))
        self._state.write_text(f"cd {shlex.quote(str(self.directory))}\n")
        self.environment = {name: os.environ[name] for name in KEPT if name in os.environ} | {
            "HOME": str(self._root / "home"),
            "XDG_RUNTIME_DIR": str(self._root / "run"),
            "PATH": f"{self._root / 'bin'}:{BIN}:{os.environ['PATH']}",
            "PYTHONPATH": str(self._root / "site"),
            "SHELL": "/bin/bash",
            "TERM": "xterm",
            "INPUTRC": "/dev/null",
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for background in self._background:
            background.stop()
        shutil.rmtree(self._root, ignore_errors=True)
        for background in self._background if error is None else ():
            assert background.exit_code in (0, -signal.SIGTERM), background.command
            expected = [self._free(line) for line in background.command.output]
            assert matches(expected, background.shown), f"{background.command}\n{background.shown}"

    def write(self, block: Block) -> Path:
        """Put a block that is a file where it belongs."""
        assert block.file is not None
        path = self.directory / block.file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self._free(block.code))
        return path

    def run(self, block: Block) -> None:
        """Run the commands of a block, and compare what they print."""
        commands = commands_of(block)
        for number, command in enumerate(commands, start=1):
            last = number == len(commands)
            if last and "background" in block.notes:
                self._background.append(Background(command, self._alone(command), self.environment))
                self._background[-1].wait_for(block.notes["background"])
            elif command.typed:
                self._converse(block, command)
            else:
                self._run(block, command, int(block.notes.get("fails", 0)) if last else 0)

    def _shell(self, command: Command) -> list[str]:
        """Run a line where the one before it ended: directory, variables and `$?` live on."""
        state = shlex.quote(str(self._state))
        script = (
            f". {state}\n(exit {self._exit_code})\n{self._free(command.line)}\n"
            f"code=$?; {{ export -p; echo cd \"'$PWD'\"; }} > {state}; exit $code"
        )
        return ["bash", "-c", script]

    def _alone(self, command: Command) -> list[str]:
        """Run a line in the place of its shell, so that signals reach it."""
        return ["bash", "-c", f". {shlex.quote(str(self._state))}\nexec env {self._free(command.line)}"]

    def _free(self, text: str) -> str:
        return PORT.sub(lambda port: self._ports[port[0]], text)

    def _run(self, block: Block, command: Command, fails: int) -> None:
        done = subprocess.run(
            self._shell(command),
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=DEADLINE * 2,
            check=False,
        )
        told = f"{block}: $ {command.line}\nexit code {done.returncode}, which printed\n{done.stdout}"
        assert done.returncode == fails, told
        assert matches([self._free(line) for line in command.output], done.stdout), f"{told}\nand not\n" + "\n".join(
            command.output
        )
        self._exit_code = done.returncode

    def _converse(self, block: Block, command: Command) -> None:
        keys = list(keys_of(block.notes.get("types", "")))
        program, *arguments = self._shell(command)
        terminal = pexpect.spawn(
            program,
            arguments,
            env=self.environment,
            encoding="utf-8",
            codec_errors="replace",
            timeout=DEADLINE,
            dimensions=(40, 200),
        )
        try:
            greeting = until_prompt(terminal, keys)
            assert matches(command.output, greeting), f"{block}: $ {command.line}\n{greeting}"
            for typed in command.typed:
                assert f"⚡{self._free(typed.context)} " in ESCAPE.sub("", str(terminal.after)), str(block)
                terminal.sendline(typed.line)
                shown = until_prompt(terminal, keys, end=typed is command.typed[-1]).partition("\n")[2]
                assert matches(typed.output, shown), f"{block}: {typed.line}\n{shown}\nand not\n" + "\n".join(
                    typed.output
                )
            assert not keys, f"{block}: nothing on the terminal asked for {keys}"
            terminal.wait()
            assert (terminal.exitstatus, terminal.signalstatus) == (0, None), str(block)
        finally:
            terminal.close(force=True)


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])
