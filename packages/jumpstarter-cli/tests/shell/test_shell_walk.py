"""A new user's first steps in a real terminal: keys are pressed, and what the screen shows is read."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from jumpstarter_testing.certificates import Authority
from jumpstarter_testing.eventually import eventually

pytestmark = [pytest.mark.peer("tmux")]

FILE = """\
    apiVersion: jumpstarter.dev/v1alpha1
    kind: ExporterConfig
    metadata: {name: first-board}
    motd: The first board
    export:
      power:
        type: CommandPower
        config:
          power_on: python -m jumpstarter_testing.board power on --socket ./power
          power_off: python -m jumpstarter_testing.board power off --socket ./power
      console: {type: Serial, config: {url: ./console}}
"""


class Window:
    """A window of tmux with a shell in it."""

    def __init__(self, tmux: Callable[..., str], name: str) -> None:
        self._tmux = tmux
        self._name = name

    def press(self, *keys: str) -> None:
        """Press keys by their names: Enter, C-c."""
        self._tmux("send-keys", "-t", self._name, *keys)

    def type(self, text: str) -> None:
        self._tmux("send-keys", "-t", self._name, "-l", text)

    def enter(self, line: str) -> None:
        self.type(line)
        self.press("Enter")

    def screen(self) -> str:
        """What was written since the window was opened, as it looks; long lines in one piece."""
        return self._tmux("capture-pane", "-p", "-J", "-S", "-", "-t", self._name)

    def expect(self, text: str, count: int = 1) -> str:
        """Wait until the screen shows `text` that often."""

        def check() -> str:
            screen = self.screen()
            assert screen.count(text) >= count, screen
            return screen

        return eventually(check, timeout=40)

    def resize(self, columns: int, rows: int) -> None:
        self._tmux("resize-window", "-t", self._name, "-x", str(columns), "-y", str(rows))


@pytest.fixture
def window(bench: Any) -> Iterator[Callable[[str], Window]]:
    """Opens windows by name, each with bash in the user's home."""
    base = ["tmux", "-S", str(bench.home / "tmux"), "-f", "/dev/null"]
    # Nothing of the terminal that the tests themselves may run in.
    variables = {name: text for name, text in bench.environment().items() if not name.startswith(("PS1", "PROMPT"))}
    shell = "env PS1='outer> ' bash --noprofile --norc"

    def tmux(*arguments: str) -> str:
        done = subprocess.run(
            [*base, *arguments], env=variables, cwd=bench.home, capture_output=True, text=True, timeout=30, check=True
        )
        return done.stdout

    def open_window(name: str) -> Window:
        tmux("new-session", "-d", "-s", name, "-x", "100", "-y", "40", shell)
        one = Window(tmux, name)
        one.expect("outer>")
        return one

    try:
        yield open_window
    finally:
        subprocess.run([*base, "kill-server"], env=variables, capture_output=True, check=False)


@pytest.fixture
def board(bench: Any) -> None:
    """A virtual board, whose console and power input the exporter's file names."""
    process = bench.start(
        sys.executable, "-m", "jumpstarter_testing.board", "--console", "console", "--socket", "power",
        "--countdown", "60",
    )  # fmt: skip
    assert any(line == "ready\n" for line in process.stdout)


def stop_the_boot(window: Window) -> None:
    """Any key does, but not before the countdown."""
    window.press("Space")
    assert "=> " in window.screen(), window.screen()


def walk(window: Window, context: str) -> None:
    """Power, console, Ctrl-C, another size, exit."""
    prompt = f"⚡{context} ➤"
    screen = window.expect(prompt)
    assert "The first board" in screen
    window.enter("j power on && echo powered=$?")
    window.expect("powered=0")
    window.enter("j console start-console")
    window.expect("Ctrl-B three times leaves the console")
    eventually(lambda: stop_the_boot(window), timeout=40, interval=0.5)
    window.type("version")
    window.press("Enter")
    window.expect("\nU-Boot 2024.01-virtual (Jan 01 2024 - 00:00:00 +0000)\n=>")
    prompts = window.screen().count(prompt)
    window.press("C-b", "C-b", "C-b")
    window.expect(prompt, prompts + 1)
    window.enter("echo up; sleep 600; echo never")
    window.expect("\nup\n")
    prompts = window.screen().count(prompt)
    window.press("C-c")
    window.expect(prompt, prompts + 1)
    window.enter("sleep 601")
    window.press("C-z")
    window.expect("Stopped")
    window.enter("fg")
    window.expect("\nsleep 601\n")
    window.press("C-c")
    window.expect("^C", 2)
    window.enter("echo ended=$?")
    window.expect("ended=130")
    window.resize(73, 31)
    window.enter("stty size")
    window.expect("31 73")
    window.enter("j power off; exit 7")
    window.expect("outer> ", 2)
    window.enter("echo code=$? host=$JUMPSTARTER_HOST.")
    window.expect("code=7 host=.")
    assert "\nnever\n" not in window.screen()


@pytest.mark.usefixtures("board")
def test_the_first_board(bench: Any, window: Callable[[str], Window], gone: Callable[[int], None]) -> None:
    Path(bench.home, "x.yaml").write_text(textwrap.dedent(FILE))
    here = window("here")
    here.enter("jmp shell --exporter-config x.yaml")
    walk(here, "local")


@pytest.mark.usefixtures("board")
def test_the_same_from_another_machine(bench: Any, window: Callable[[str], Window]) -> None:
    Path(bench.home, "x.yaml").write_text(textwrap.dedent(FILE))
    authority = Authority(bench.home)
    pair = authority.issue("board", hosts=["localhost"])
    there, here = window("there"), window("here")
    there.enter(
        "jmp run --exporter-config x.yaml --tls-grpc-listener localhost:0 "
        f"--tls-cert {pair.certificate} --tls-key {pair.key} --passphrase-file passphrase"
    )
    address = there.expect("serves at localhost:").partition("serves at ")[2].split()[0]
    secret = bench.passphrase.read_text().strip()
    here.enter(f"jmp shell --tls-grpc {address} --tls-ca {authority.certificate} --passphrase {shlex.quote(secret)}")
    here.expect(f"⚡{address} ➤")
    processes = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    shells = [line for line in processes.splitlines() if f"--tls-grpc {address}" in line]
    assert len(shells) == 2
    assert [line for line in shells if secret in line] == []
    walk(here, address)
    there.press("C-c")
    there.expect("outer> ", 2)
    there.enter("echo code=$?")
    there.expect("code=0")


def test_a_lost_exporter_ends_the_shell(bench: Any, window: Callable[[str], Window]) -> None:
    service, way = bench.reach("direct", bench.file())
    here = window("here")
    here.enter(shlex.join(["jmp", "shell", *way]))
    here.expect("➤")
    here.enter("stty -echo; sleep 600")
    service.stop()
    here.expect("outer> ", 2)
    here.enter("echo code=$? $(stty | grep -c -- -echo)")
    screen = here.expect("code=1 0")
    assert "Error: the exporter has ended the lease" in screen


def test_suspending_the_whole(bench: Any, window: Callable[[str], Window]) -> None:
    here = window("here")
    here.enter(f"jmp shell --exporter-config {bench.file()} -- sh -c 'echo pid=$$.; read answer; exit $answer'")
    pid = int(re.findall(r"pid=(\d+)\.", here.expect("\npid="))[-1])
    here.press("C-z")
    here.expect("Stopped")
    assert psutil.Process(pid).status() == psutil.STATUS_STOPPED
    here.enter("fg")

    def goes_on() -> None:
        assert psutil.Process(pid).status() != psutil.STATUS_STOPPED

    eventually(goes_on, timeout=20)
    here.enter("9")
    here.expect("outer> ", 3)
    here.enter("echo code=$?")
    here.expect("code=9")


def test_ctrl_c_before_the_exporter_is_ready(bench: Any, window: Callable[[str], Window]) -> None:
    here = window("here")
    file = bench.file(
        """
        hooks:
          beforeLease: {script: "echo waiting; sleep 600"}
          afterLease: {script: "echo cleaned up"}
        """
    )
    here.enter(f"jmp shell --exporter-config {file}")
    here.expect("beforeLease: waiting")
    here.press("C-c")
    here.expect("outer> ", 2)
    here.enter("echo code=$?")
    screen = here.expect("code=2")
    assert "afterLease: cleaned up" in screen
