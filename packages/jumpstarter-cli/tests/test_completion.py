"""Completion of `jmp` and `j`, as real shells do it."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

BOARD = Any

# What a shell does at <Tab>: its completion is loaded, asked for a line, and the words are printed.
BASH = """
eval "$(jmp completion bash)"
COMP_WORDS=($1); COMP_LINE=$1
case $1 in *' ') COMP_WORDS+=('') ;; esac
COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); COMP_TYPE=9
program=${COMP_WORDS[0]}
$(complete -p "$program" | sed 's/.*-F \\([^ ]*\\) .*/\\1/') "$program"
printf '%s\\n' "${COMPREPLY[@]}"
"""
FISH = """
jmp completion fish | source
complete --do-complete="$argv[1]" | string replace --regex '\\t.*' '' || true
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home directory with two clients and an exporter."""
    for kind, names in {"clients": ["desk", "lab"], "exporters": ["rack"]}.items():
        directory = tmp_path / ".config" / "jumpstarter" / kind
        directory.mkdir(parents=True)
        for name in names:
            (directory / f"{name}.yaml").touch()
    return tmp_path


def environment(board: BOARD, home: Path) -> dict[str, str]:
    return board.environment(HOME=str(home), XDG_CONFIG_HOME=str(home / ".config"), TERM="dumb")


def bash(line: str, variables: dict[str, str]) -> list[str]:
    return words(["bash", "--norc", "--noprofile", "-c", BASH, "bash", line], variables)


def fish(line: str, variables: dict[str, str]) -> list[str]:
    return words(["fish", "--no-config", "-c", FISH, line], variables)


def words(command: list[str], variables: dict[str, str]) -> list[str]:
    done = subprocess.run(
        command,
        env=variables,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )
    assert done.stderr == ""
    return sorted(done.stdout.split())


LINES = [
    ("jmp ver", ["version"]),
    ("jmp co", ["completion", "config"]),
    ("jmp completion ", ["bash", "fish", "zsh"]),
    ("jmp shell --exporter ", ["rack"]),
    ("jmp shell --client de", ["desk"]),
    ("jmp config client use ", ["desk", "lab"]),
    ("jmp config exporter delete ra", ["rack"]),
    ("jmp driver show MockP", ["MockPower"]),
    ("j pow", ["power"]),
    ("j ", ["disk", "echo", "power", "rack", "sensor"]),
    ("j power o", ["off", "on"]),
    ("j rack slot power c", ["cycle"]),
    ("j power read --c", ["--count"]),
    ("j mute ", []),
    ("j foreign ", []),
]


@pytest.mark.parametrize(("line", "expected"), LINES)
def test_bash(board: BOARD, home: Path, line: str, expected: list[str]) -> None:
    assert bash(line, environment(board, home)) == expected


@pytest.mark.peer("fish")
@pytest.mark.parametrize(("line", "expected"), LINES)
def test_fish(board: BOARD, home: Path, line: str, expected: list[str]) -> None:
    if expected:
        assert fish(line, environment(board, home)) == expected


@pytest.mark.peer("zsh")
@pytest.mark.parametrize(("line", "expected"), [("jmp vers", "jmp version"), ("j rack slot pow", "j rack slot power")])
def test_zsh(board: BOARD, home: Path, line: str, expected: str) -> None:
    pexpect = pytest.importorskip("pexpect")
    shell = pexpect.spawn(
        "zsh", ["--no-rcs", "-i"], env=environment(board, home), encoding="utf-8", timeout=60, dimensions=(24, 200)
    )
    try:
        shell.sendline("PS1='$ '; unsetopt zle_bracketed_paste; autoload -U compinit && compinit -u -D")
        shell.sendline('eval "$(jmp completion zsh)"; echo load"ed"')
        shell.expect_exact("loaded\r\n")
        shell.send(f"{line}\t")
        shell.expect_exact(expected)
    finally:
        shell.close(force=True)


@pytest.mark.parametrize("host", ["/tmp/no-exporter-here", ""])
def test_without_an_exporter_there_are_no_words_and_no_noise(board: BOARD, home: Path, host: str) -> None:
    assert bash("j pow", environment(board, home) | {"JUMPSTARTER_HOST": host}) == []


def test_an_exporter_that_does_not_answer_is_given_up_soon(
    board: BOARD, home: Path, silent_server: Callable[[], str]
) -> None:
    started = time.monotonic()
    assert bash("j pow", environment(board, home) | {"JUMPSTARTER_HOST": silent_server()}) == []
    assert time.monotonic() - started < 15


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_scripts_need_neither_the_shell_nor_an_exporter(program: Callable[..., Any], shell: str) -> None:
    result = program("jmp", "completion", shell, PATH=os.devnull)
    assert (result.returncode, result.stderr) == (0, "")
    for name in ("_JMP_COMPLETE", "_J_COMPLETE"):
        assert f"{name}={shell}_complete" in result.stdout
