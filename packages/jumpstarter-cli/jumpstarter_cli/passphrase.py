"""A passphrase from the command line, a file or the environment, kept out of sight."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

# More than this does not fit beside the rest into gRPC's metadata.
_CHARACTERS = 4096
_MASK = "***"


def opt_passphrase(variable: str) -> Callable[[F], F]:
    """The options --passphrase and --passphrase-file, else the environment's `variable`; given as `passphrase`."""

    def decorate(function: F) -> F:
        @wraps(function)
        def resolved(*args: Any, passphrase: str | None, passphrase_file: Path | None, **kwargs: Any) -> Any:
            return function(*args, passphrase=_resolve(passphrase, passphrase_file, variable), **kwargs)

        command: Any = click.option(
            "--passphrase-file",
            type=click.Path(path_type=Path),
            metavar="PATH",
            help="File whose only line is the passphrase.",
        )(resolved)
        return click.option(  # type: ignore[no-any-return]
            "--passphrase",
            metavar="TEXT",
            help=f"Passphrase between client and exporter. Better: --passphrase-file, or the variable {variable}.",
        )(command)

    return decorate


def _resolve(text: str | None, path: Path | None, variable: str) -> str | None:
    from jumpstarter.config.env import environment

    if text is not None:
        _hide(text)
        if path is not None:
            raise click.UsageError("--passphrase and --passphrase-file exclude each other")
        return _checked(text, "--passphrase")
    if path is not None:
        return _checked(_read(path), str(path))
    text = environment().get(variable)
    return None if text is None else _checked(text, f"the environment variable {variable}")


def _read(path: Path) -> str:
    """The text of a file or pipe, without the end of its line."""
    from jumpstarter.common.exceptions import ConfigurationError

    try:
        with path.open("rb") as file:
            state = os.fstat(file.fileno())
            if stat.S_ISREG(state.st_mode) and state.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                _warn(f"{path}: others can get at this passphrase; make the file yours alone: chmod 600 {path}")
            data = file.read(_CHARACTERS + 3)
        return data.decode().removesuffix("\n").removesuffix("\r")
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path}: not a text file in UTF-8") from None


def _checked(text: str, source: str) -> str:
    """`text`, where it can be a passphrase; errors name its source and never show it."""
    from jumpstarter.common.exceptions import ConfigurationError
    from jumpstarter.rpc.features import passphrase_metadata

    if not text:
        raise ConfigurationError(f"{source}: the passphrase is empty")
    if len(text) > _CHARACTERS:
        raise ConfigurationError(f"{source}: a passphrase has at most {_CHARACTERS} characters")
    try:
        passphrase_metadata(text)
    except ConfigurationError as error:
        raise ConfigurationError(f"{source}: {error}") from None
    return text


def _hide(secret: str) -> None:
    """Take `secret` out of the command line that others see of this process and of those it forks."""
    if not secret or not any(secret in argument for argument in sys.argv):
        return
    import setproctitle

    name, *arguments = sys.argv
    shown = [_MASK if argument == secret else argument for argument in arguments]
    shown = [f"--passphrase={_MASK}" if argument == f"--passphrase={secret}" else argument for argument in shown]
    setproctitle.setproctitle(" ".join([Path(name).name, *shown]))


def _warn(message: str) -> None:
    import logging

    logging.getLogger(__name__).warning(message)
