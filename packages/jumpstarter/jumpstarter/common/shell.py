"""A shell, or one command, that finds itself connected to an exporter."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jumpstarter.config.env import (
    JMP_DRIVERS_ALLOW,
    JMP_EXPORTER,
    JMP_EXPORTER_LABELS,
    JMP_GRPC_CA,
    JMP_GRPC_CERT,
    JMP_GRPC_INSECURE,
    JMP_GRPC_KEY,
    JMP_GRPC_PASSPHRASE,
    JMP_LEASE,
    JMP_SUPPRESS_DRIVER_WARNINGS,
    JUMPSTARTER_HOST,
    OF_ONE_SESSION,
    PATH,
    SHELL,
    UNSAFE,
    Environment,
    environment,
)

from .child import NOT_EXECUTABLE, NOT_FOUND, Child

__all__ = ["NOT_EXECUTABLE", "NOT_FOUND", "Child", "launch_shell", "with_commands"]

_COMMAND = "j"


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
    ca: Path | None = None,
    certificate: Path | None = None,
    key: Path | None = None,
    child: Child | None = None,
) -> int:
    """Run the user's shell, or `command`, connected to the exporter at `host`, and give its exit code.

    128+N after signal N, 127 where the program does not exist, 126 where it cannot be run. Blocks until the program
    ends; called in the main thread, it passes on signals sent to this process. `context` is shown in the prompt.
    `use_profiles`: let the shell read its start-up files. `lease`: anything with a `name`, and perhaps with an
    `exporter_name` and `exporter_labels`. `ca`, `certificate`, `key`: files for TLS. `child`: to reach the program by.
    """
    here = environment()
    variables = with_commands(_inherited(here))
    connection = {
        JUMPSTARTER_HOST: host,
        JMP_DRIVERS_ALLOW: UNSAFE if unsafe else ",".join(allow),
        JMP_SUPPRESS_DRIVER_WARNINGS: "1",
        JMP_GRPC_INSECURE: "1" if insecure else None,
        JMP_GRPC_PASSPHRASE: passphrase,
        JMP_GRPC_CA: _absolute(ca),
        JMP_GRPC_CERT: _absolute(certificate),
        JMP_GRPC_KEY: _absolute(key),
    }
    variables |= {name: text for name, text in (connection | _described(lease)).items() if text is not None}
    child = child or Child()
    if command:
        return child.run(command, variables)
    return _run_interactive(child, here, variables, context, use_profiles)


def with_commands(variables: Mapping[str, str]) -> dict[str, str]:
    """`variables` with a PATH on which `j` is found, as it is when `jmp` was called by its path."""
    path = variables.get(PATH, os.defpath)
    if shutil.which(_COMMAND, path=path):
        return dict(variables)
    beside = (Path(program).absolute().parent for program in (sys.argv[0], sys.executable))
    found = next((directory for directory in beside if os.access(directory / _COMMAND, os.X_OK)), None)
    return dict(variables) if found is None else {**variables, PATH: f"{path}{os.pathsep}{found}"}


def _inherited(here: Environment) -> dict[str, str]:
    return {name: text for name, text in here.variables.items() if name not in OF_ONE_SESSION}


def _described(lease: Any) -> dict[str, str | None]:
    labels: dict[str, str] = getattr(lease, "exporter_labels", None) or {}
    return {
        JMP_LEASE: getattr(lease, "name", None) or None,
        JMP_EXPORTER: getattr(lease, "exporter_name", None) or None,
        JMP_EXPORTER_LABELS: ",".join(f"{key}={value}" for key, value in sorted(labels.items())) or None,
    }


def _run_interactive(
    child: Child, here: Environment, variables: dict[str, str], context: str, use_profiles: bool
) -> int:
    from .directories import private_directory
    from .prompts import start

    shell = here.get(SHELL) or "/bin/sh"
    with private_directory() as directory:
        arguments, changes = start(Path(shell).name, context, use_profiles, directory, here)
        variables = {name: text for name, text in (variables | changes).items() if text is not None}
        return child.run([shell, *arguments], variables, interactive=True)


def _absolute(path: Path | None) -> str | None:
    return None if path is None else os.fspath(path.absolute())
