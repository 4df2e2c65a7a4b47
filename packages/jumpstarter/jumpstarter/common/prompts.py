"""Interactive shells that show where they are connected to, and complete the words of `j`."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from shlex import quote
from typing import NamedTuple

from jumpstarter.config.env import ENV, HISTFILE, PS1, ZDOTDIR, Environment

_BASH_PROMPT = r"\[\e[90m\]\W \[\e[93m\]⚡\[\e[97m\]{} \[\e[93m\]➤\[\e[0m\] "
_ZSH_PROMPT = "%F{{8}}%1~ %F{{yellow}}⚡%F{{white}}{} %F{{yellow}}➤%f "
_FISH_PROMPT = (
    "function fish_prompt; set_color grey; printf '%s ' (basename $PWD); set_color yellow; printf '⚡'; "
    "set_color white; printf '%s ' '{}'; set_color yellow; printf '➤ '; set_color normal; end"
)
_PLAIN_PROMPT = "⚡{} ➤ "
_PLAIN_SHELLS = frozenset({"sh", "dash", "ash", "ksh", "mksh", "busybox"})


class Start(NamedTuple):
    """How to start a shell: its arguments, and variables to set, or to unset where they are None."""

    arguments: list[str]
    variables: dict[str, str | None]


def start(shell: str, context: str, use_profiles: bool, directory: Path, here: Environment) -> Start:
    """What gives `shell` (a program's name) its prompt; shells we do not know keep their own.

    `use_profiles`: let it read the user's start-up files. `directory`: private; start-up files of ours go there.
    """
    # The name comes from another machine, and shells expand what is in a prompt.
    safe = re.sub(r"[^\w.:@/+-]", "?", context)
    name = next((name for name in _STARTS if shell == name or shell.startswith(f"{name}-")), None)
    if name is not None:
        return _STARTS[name](safe, use_profiles, directory, here)
    if shell in _PLAIN_SHELLS:
        return Start([], {PS1: _PLAIN_PROMPT.format(safe)} | ({} if use_profiles else {ENV: None}))
    return Start([], {})


def _bash(context: str, use_profiles: bool, directory: Path, here: Environment) -> Start:
    own = "[ ! -f ~/.bashrc ] || . ~/.bashrc\n" if use_profiles else ""
    prompt = f"PS1={quote(_BASH_PROMPT.format(context))}\n"
    file = _write(directory / "bashrc", own + prompt + _completion("bash"))
    return Start(["--noprofile", "--rcfile", file], {})


def _zsh(context: str, use_profiles: bool, directory: Path, here: Environment) -> Start:
    """zsh finds its files by ZDOTDIR: ours hand that back to the user's."""
    users = here.get(ZDOTDIR)
    hand_back = "unset ZDOTDIR\n" if users is None else f"ZDOTDIR={quote(users)}\n"
    if use_profiles:
        source = '[[ ! -f "${{ZDOTDIR:-$HOME}}/{0}" ]] || . "${{ZDOTDIR:-$HOME}}/{0}"\n'
        environment = f'{hand_back}{source.format(".zshenv")}_jmp_zdotdir="$ZDOTDIR"\nZDOTDIR={quote(str(directory))}\n'
        hand_back = '[[ -n "$_jmp_zdotdir" ]] && ZDOTDIR="$_jmp_zdotdir" || unset ZDOTDIR\nunset _jmp_zdotdir\n'
        _write(directory / ".zshenv", environment)
        hand_back += source.format(".zshrc")
    settings = (
        f"PS1={quote(_ZSH_PROMPT.format(context))}\n"
        "(( SAVEHIST )) || SAVEHIST=1000\n(( HISTSIZE > SAVEHIST )) || HISTSIZE=$SAVEHIST\n"
        "(( $+functions[compdef] )) || { autoload -Uz compinit && compinit -D -i }\n"
    )
    _write(directory / ".zshrc", hand_back + settings + _completion("zsh"))
    variables: dict[str, str | None] = {ZDOTDIR: str(directory)}
    if here.get(HISTFILE) is None:
        variables[HISTFILE] = str(Path.home() / ".zsh_history")
    arguments = [] if use_profiles else ["--no-global-rcs"]
    return Start([*arguments, "-o", "inc_append_history", "-o", "share_history"], variables)


def _fish(context: str, use_profiles: bool, directory: Path, here: Environment) -> Start:
    file = _write(directory / "init.fish", f"{_FISH_PROMPT.format(context)}\n{_completion('fish')}")
    return Start([*([] if use_profiles else ["--no-config"]), "--init-command", f"source {quote(file)}"], {})


_STARTS: dict[str, Callable[[str, bool, Path, Environment], Start]] = {"bash": _bash, "zsh": _zsh, "fish": _fish}


def _completion(shell: str) -> str:
    """The script that completes the words of `j`."""
    from click import Command
    from click.shell_completion import ShellComplete, get_completion_class

    complete = get_completion_class(shell)
    # Not bash's own way to it, which starts a bash to ask for its version.
    return "" if complete is None else ShellComplete.source(complete(Command("j"), {}, "j", "_J_COMPLETE"))


def _write(path: Path, text: str) -> str:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:  # of a full disk it does not say where that is
        raise OSError(error.errno, error.strerror, str(path)) from None
    return os.fspath(path)
