"""`jmp`: its commands, second names, commands of other packages, version, errors, log options."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

JMP = Callable[..., Any]
VERSION = importlib.metadata.version("jumpstarter-cli")


def test_help_names_every_command(jmp: JMP) -> None:
    result = jmp("--help")
    listed = [line.split()[0] for line in result.stdout.split("Commands:\n")[1].splitlines()]
    assert listed == ["shell", "run", "exporter", "config", "driver", "completion", "version"]
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize("name", ["shell", "run", "exporter", "config", "driver", "completion", "version"])
def test_every_command_has_help(jmp: JMP, name: str) -> None:
    result = jmp(name, "--help")
    assert result.stdout.startswith(f"Usage: jmp {name} ")
    assert (result.returncode, result.stderr) == (0, "")


def test_without_arguments_it_prints_help(jmp: JMP) -> None:
    result = jmp()
    assert "Commands:" in result.stderr
    assert (result.returncode, result.stdout) == (2, "")


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("ver", "version"),
        ("v", "version"),
        ("sh", "shell"),
        ("s", "shell"),
        ("exporters", "exporter"),
        ("e", "exporter"),
        ("conf c c", "config client create"),
        ("config cl ls", "config client list"),
        ("config e d", "config exporter delete"),
        ("config exporters del", "config exporter delete"),
        ("driver ls", "driver list"),
    ],
)
def test_second_names(jmp: JMP, typed: str, meant: str) -> None:
    assert jmp(*typed.split(), "--help").stdout.startswith(f"Usage: jmp {meant} ")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["shel"], "No such command 'shel'. Did you mean 'shell'?"),
        (["completion", "tcsh"], "Invalid value for '{bash|zsh|fish}': 'tcsh' is not one of 'bash', 'zsh', 'fish'."),
        (["--log-level", "LOUD", "version"], "Invalid value for '--log-level'"),
        (["version", "-o", "xml"], "Invalid value for '-o' / '--output'"),
    ],
)
def test_usage_errors_are_exit_code_2(jmp: JMP, args: list[str], message: str) -> None:
    result = jmp(*args)
    assert result.stderr.splitlines()[-1].startswith(f"Error: {message}")
    assert (result.returncode, result.stdout) == (2, "")


def test_version(jmp: JMP) -> None:
    assert jmp("version").stdout == f"Jumpstarter version: {VERSION} (Python {platform.python_version()})\n"
    assert jmp("version", "-o", "name").stdout == f"{VERSION}\n"
    expected = {"version": VERSION, "python_version": platform.python_version()}
    assert json.loads(jmp("version", "-o", "json").stdout) == expected
    assert yaml.safe_load(jmp("version", "-o", "yaml").stdout) == expected


@pytest.fixture
def sh(tmp_path: Path) -> JMP:
    """A line of shell script, run to its end from an empty home directory; JMP in it is the program."""

    def run(line: str) -> subprocess.CompletedProcess[str]:
        line = line.replace("JMP", str(Path(sys.executable).with_name("jmp")))
        home = {**os.environ, "HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path / ".config")}
        return subprocess.run(["sh", "-c", line], env=home, capture_output=True, text=True, timeout=60, check=False)

    return run


@pytest.mark.parametrize("command", ["version", "driver list", "config client list", "driver schema MockPower"])
def test_closed_standard_streams(sh: JMP, command: str) -> None:
    done = sh(f"JMP {command} <&- >&- 2>&-; echo $?")
    assert (done.stdout, done.stderr) == ("0\n", "")


def test_questions_to_nobody(sh: JMP) -> None:
    done = sh("JMP config client create lab <&-")
    assert (done.returncode, "there is no terminal to ask at" in done.stderr) == (2, True)


PLUGIN = """
import logging
import click

@click.command()
@click.option("--raise", "what", default=None)
def lab(what):
    \"\"\"Ask the lab\"\"\"
    logging.getLogger("lab").info("asked")
    logging.getLogger("lab").warning("it is late")
    if what == "exit":
        raise SystemExit(9)
    if what == "text":
        raise SystemExit("no power")
    if what == "interrupt":
        raise KeyboardInterrupt
    if what == "group":
        raise ExceptionGroup("two", [OSError(2, "No such file or directory", "/lab"), ValueError("b")])
    if what == "bug":
        raise ZeroDivisionError
    if what == "configuration":
        from jumpstarter.common.exceptions import ConfigurationError
        raise ConfigurationError("lab.yaml:3: unknown key")
    click.echo("the lab is open")
    return 5

nothing = 7
"""


@pytest.fixture
def lab(program: Callable[..., Any], tmp_path: Path) -> JMP:
    """`jmp` where another package brings the commands `lab` and `nothing`."""
    site = tmp_path / "site"
    info = site / "jumpstarter_lab-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: jumpstarter-lab\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[console_scripts]\nlab = jumpstarter_lab:main\n\n"
        "[jumpstarter.commands]\nlab = jumpstarter_lab:lab\nnothing = jumpstarter_lab:nothing\n"
        "broken = jumpstarter_lab.gone:broken\n"
    )
    (site / "jumpstarter_lab.py").write_text(PLUGIN)
    return lambda *args, **env: program("jmp", *args, PYTHONPATH=str(site), **env)


def test_commands_of_other_packages(lab: JMP) -> None:
    assert "lab         (jumpstarter-lab)" in lab("--help").stdout
    result = lab("lab")
    assert (result.returncode, result.stdout) == (5, "the lab is open\n")
    assert lab("labb").stderr.splitlines()[-1] == "Error: No such command 'labb'. Did you mean 'lab'?"
    assert lab("nothing").stderr == "Error: command nothing: jumpstarter_lab:nothing is no click command\n"
    broken = lab("broken")
    assert (broken.returncode, broken.stdout) == (1, "")
    assert broken.stderr.startswith("Error: command broken: jumpstarter_lab.gone:broken cannot be loaded: ModuleNotF")


@pytest.mark.parametrize(
    ("what", "code", "message"),
    [
        ("exit", 9, ""),
        ("text", 1, "no power"),
        ("interrupt", 2, "Aborted!"),
        ("group", 1, "Error: /lab: No such file or directory"),
        ("bug", 1, "Error: ZeroDivisionError"),
        ("configuration", 1, "Error: lab.yaml:3: unknown key"),
    ],
)
def test_what_a_command_raises_becomes_a_message_and_an_exit_code(lab: JMP, what: str, code: int, message: str) -> None:
    result = lab("--quiet", "lab", "--raise", what)
    assert (result.returncode, result.stdout, result.stderr.strip()) == (code, "", message)


def test_log_levels(lab: JMP) -> None:
    assert [line.split(" ", 1)[1] for line in lab("lab").stderr.splitlines()] == [
        "INFO lab: asked",
        "WARNING lab: it is late",
    ]
    assert "asked" not in lab("--log-level", "warning", "lab").stderr
    assert lab("--quiet", "lab").stderr == ""
    assert lab("lab", JMP_QUIET="1").stderr == ""
    assert "it is late" in lab("--quiet", "--log-level", "WARNING", "lab").stderr
    assert "Traceback" in lab("--log-level", "DEBUG", "lab", "--raise", "bug").stderr


def test_log_records_as_json(lab: JMP) -> None:
    records = [json.loads(line) for line in lab("--log-format", "json", "lab").stderr.splitlines()]
    assert [(one["level"], one["logger"], one["message"]) for one in records] == [
        ("INFO", "lab", "asked"),
        ("WARNING", "lab", "it is late"),
    ]
    assert records[0]["time"].endswith("Z")
