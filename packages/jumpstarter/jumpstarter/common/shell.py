"""A shell, or one command, that finds itself connected to an exporter."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from jumpstarter.config.env import (
    HISTFILE,
    JMP_DRIVERS_ALLOW,
    JMP_EXPORTER,
    JMP_EXPORTER_LABELS,
    JMP_GRPC_INSECURE,
    JMP_GRPC_PASSPHRASE,
    JMP_LEASE,
    JMP_SUPPRESS_DRIVER_WARNINGS,
    JUMPSTARTER_HOST,
    SHELL,
    UNSAFE,
    Environment,
    environment,
)

NOT_EXECUTABLE = 126
NOT_FOUND = 127

# What an outer shell may have set for another exporter.
_OF_ONE_SESSION = (JMP_LEASE, JMP_EXPORTER, JMP_EXPORTER_LABELS, JMP_GRPC_PASSPHRASE)
_PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
_FROM_TERMINAL = frozenset({signal.SIGINT, signal.SIGQUIT})

_BASH_PROMPT = r"\[\e[90m\]\W \[\e[93m\]⚡\[\e[97m\]{} \[\e[93m\]➤\[\e[0m\] "
_ZSH_PROMPT = "%F{{8}}%1~ %F{{yellow}}⚡%F{{white}}{} %F{{yellow}}➤%f "
_FISH_PROMPT = (
    "function fish_prompt; set_color grey; printf '%s ' (basename $PWD); set_color yellow; printf '⚡'; "
    "set_color white; printf '%s ' '{}'; set_color yellow; printf '➤ '; set_color normal; end"
)


def launch_shell(
    host: str,
    context: str,
    allow: list[str],
    unsafe: bool,
    use_profiles: bool,
    *,
    command: tuple[str, ...] | None = None,
    lease: Any = None,
    insecure: bool = False,
    passphrase: str | None = None,
) -> int:
    """Run the user's shell, or `command`, connected to the exporter at `host`, and give its exit code.

    128+N after signal N, 127 where the program does not exist, 126 where it cannot be run. Blocks until the program
    ends; called in the main thread, it passes on signals sent to this process. `context` is shown in the prompt.
    `use_profiles`: let the shell read its start-up files. `lease`: anything with a `name`, and perhaps with an
    `exporter_name` and `exporter_labels`.
    """
    here = environment()
    variables = _variables(here, host, allow, unsafe, lease)
    if insecure:
        variables[JMP_GRPC_INSECURE] = "1"
    if passphrase:
        variables[JMP_GRPC_PASSPHRASE] = passphrase
    if command:
        return _run(command, variables)
    shell = here.get(SHELL) or "/bin/sh"
    arguments, prompt = _interactive(here, Path(shell).name, context, use_profiles)
    return _run([shell, *arguments], variables | prompt)


def _variables(here: Environment, host: str, allow: Sequence[str], unsafe: bool, lease: Any) -> dict[str, str]:
    variables = {name: text for name, text in here.variables.items() if name not in _OF_ONE_SESSION}
    variables[JUMPSTARTER_HOST] = host
    variables[JMP_DRIVERS_ALLOW] = UNSAFE if unsafe else ",".join(allow)
    variables[JMP_SUPPRESS_DRIVER_WARNINGS] = "1"
    if lease is not None:
        labels: dict[str, str] = getattr(lease, "exporter_labels", None) or {}
        described = {
            JMP_LEASE: getattr(lease, "name", None),
            JMP_EXPORTER: getattr(lease, "exporter_name", None),
            JMP_EXPORTER_LABELS: ",".join(f"{key}={value}" for key, value in sorted(labels.items())),
        }
        variables |= {name: text for name, text in described.items() if text}
    return variables


def _interactive(here: Environment, shell: str, context: str, use_profiles: bool) -> tuple[list[str], dict[str, str]]:
    """Arguments and variables that give a shell its prompt; those we do not know keep their own."""
    # The name comes from another machine, and shells expand what is in a prompt.
    safe = re.sub(r"[^\w.:@/+-]", "?", context)
    if shell.startswith("bash"):
        return ([] if use_profiles else ["--norc", "--noprofile"]), {"PS1": _BASH_PROMPT.format(safe)}
    if shell == "zsh":
        history = ["-o", "inc_append_history", "-o", "share_history"]
        variables = {"PS1": _ZSH_PROMPT.format(safe)}
        if here.get(HISTFILE) is None:
            variables[HISTFILE] = str(Path.home() / ".zsh_history")
        return ([] if use_profiles else ["--no-rcs"]) + history, variables
    if shell == "fish":
        return ([] if use_profiles else ["--no-config"]) + ["--init-command", _FISH_PROMPT.format(safe)], {}
    return [], {}


def _run(command: Sequence[str], variables: dict[str, str]) -> int:
    with _signals() as child:
        try:
            process = subprocess.Popen(command, env=variables)
        except FileNotFoundError:
            return _complain(f"{command[0]}: command not found", NOT_FOUND)
        except OSError as error:
            return _complain(f"{command[0]}: {error.strerror}", NOT_EXECUTABLE)
        with process:
            child.attach(process)
            code = process.wait()
    return code if code >= 0 else 128 - code


class _Child:
    """Where signals go: to the child, or into a queue until there is one."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._early: list[int] = []

    def attach(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        for number in self._early:
            process.send_signal(number)

    def pass_on(self, number: int, frame: FrameType | None) -> None:
        if number in _FROM_TERMINAL and _in_foreground():
            return  # the terminal has sent it to the child as well
        if self._process is None:
            self._early.append(number)
        else:
            self._process.send_signal(number)


@contextmanager
def _signals() -> Iterator[_Child]:
    """Pass signals on to a child; outside the main thread, which alone can, they stay with whoever handles them."""
    child = _Child()
    if threading.current_thread() is not threading.main_thread():
        yield child
        return
    # What is ignored here, as under nohup, is ignored by the child too.
    heeded = [number for number in _PASSED_ON if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, child.pass_on) for number in heeded}
    try:
        yield child
    finally:
        for number, handler in before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)


def _in_foreground() -> bool:
    """Whether a terminal sends its keys' signals to this process group."""
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)


def _complain(message: str, code: int) -> int:
    sys.stderr.write(f"{message}\n")
    return code
