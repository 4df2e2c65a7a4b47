"""Files that are not right, each with what its user is told: every mistake, its place, and what to do about it."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from jumpstarter.config.registry import offers
from jumpstarter.config.suggestions import nearest
from jumpstarter_cli.config import config
from jumpstarter_cli.exporter import exporter

TABLE = yaml.safe_load(Path(__file__).with_name("broken_files.yaml").read_text())
HEAD = "metadata: {namespace: lab, name: bench}\n"
KEYS = {
    "EXPORTER_KEYS": "apiVersion, kind, metadata, endpoint, tls, token, grpcOptions, description, motd, export, hooks, "
    "failureDetection, clientLost",
    "CLIENT_KEYS": "apiVersion, kind, metadata, endpoint, tls, token, refresh_token, grpcOptions, drivers, shell, "
    "leases",
}
# What would not be legible in the table.
ODD: dict[str, tuple[bytes, str]] = {
    "binary": (b"\x7fELF\x02\x01\x01\x00\x00", " not a text file: it holds NUL bytes\n"),
    "utf-16": ("export: {}".encode("utf-16"), " this is text in UTF-16 or UTF-32: save it as UTF-8\n"),
    "latin-1": ("# Prüfstand\n".encode("latin-1"), "1: not a text file in UTF-8: the byte 0xfc\n"),
    "a control character": (f"{HEAD}motd: \x07\n".encode(), "2: not valid YAML: the character '\\x07'\n"),
    "an aliases bomb": (
        b"a: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
        + b"".join(f"b{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n".encode() for n in range(1, 10)),
        "1:33: not valid YAML: more than 50000 values, once its aliases are written out\n",
    ),
    "very deep": (b"[" * 5000, "1:101: not valid YAML: nested deeper than 100 levels\n"),
}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty configuration directory; what the commands do to this process's signals is undone."""
    directory = tmp_path / "jumpstarter"
    for kind in ("clients", "exporters"):
        (directory / kind).mkdir(parents=True)
    monkeypatch.setenv("JMP_CLIENT_CONFIG_HOME", str(directory))
    for name in ("NAMESPACE", "NAME", "ENDPOINT", "TOKEN", "REFRESH_TOKEN", "TLS", "DRIVERS_ALLOW", "DRIVERS_UNSAFE"):
        monkeypatch.delenv(f"JMP_{name}", raising=False)
    before = signal.getsignal(signal.SIGTERM)
    yield directory
    signal.signal(signal.SIGTERM, before)


def told(command: Any, *args: str) -> str:
    """What a command that fails tells its user."""
    result = CliRunner().invoke(command, args, prog_name="jmp")
    assert (result.exit_code, result.stdout) == (1, ""), result.output
    assert "Traceback" not in result.stderr
    return result.stderr


def message(path: Path, told: str) -> str:
    names = sorted({offer.name for offer in offers()})
    words = KEYS | {"INSTALLED": f"Installed: {', '.join(names)}", "NEAR": " or ".join(nearest("MockPwer", names))}
    for word, meaning in words.items():
        told = told.replace(word, meaning)
    return "Error: " + "".join(f"{path}:{line}" for line in told.splitlines(keepends=True))


def test_there_are_enough_of_them() -> None:
    assert sum(map(len, TABLE.values())) + len(ODD) >= 70


@pytest.mark.parametrize("name", TABLE["exporters"])
def test_exporters(tmp_path: Path, name: str) -> None:
    row = TABLE["exporters"][name]
    path = tmp_path / "x.yaml"
    path.write_text(row["file"])
    assert told(exporter, "check", str(path)) == message(path, row["told"])


@pytest.mark.parametrize("name", ODD)
def test_odd_ones(tmp_path: Path, name: str) -> None:
    content, text = ODD[name]
    path = tmp_path / "x.yaml"
    path.write_bytes(content)
    assert told(exporter, "check", str(path)) == message(path, text)


@pytest.mark.parametrize("name", TABLE["clients"])
def test_clients(home: Path, name: str) -> None:
    row = TABLE["clients"][name]
    path = home / "clients" / "lab.yaml"
    path.write_text(row["file"])
    assert told(config, "client", "use", "lab") == message(path, row["told"])


@pytest.mark.parametrize("name", TABLE["users"])
def test_users(home: Path, name: str) -> None:
    row = TABLE["users"][name]
    path = home / "config.yaml"
    path.write_text(row["file"])
    assert told(config, "client", "list") == message(path, row["told"])


def make_fifo(path: Path) -> None:
    os.mkfifo(path)


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


def make_huge(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(100 << 20)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (make_fifo, "expected a file, this is a named pipe"),
        (make_socket, "expected a file, this is a socket"),
        (make_huge, "larger than 1 MiB: this is no configuration file"),
        (lambda path: path.symlink_to("/dev/zero"), "expected a file, this is a device"),
        (lambda path: path.symlink_to("gone.yaml"), "there is no such file (it is a link to gone.yaml)"),
        (lambda path: path.symlink_to(path), "cannot be read: too many levels of symbolic links"),
    ],
    ids=["fifo", "socket", "huge", "device", "dangling link", "circular link"],
)
def test_what_is_no_file(home: Path, make: Callable[[Path], None], text: str) -> None:
    path = home / "clients" / "lab.yaml"
    make(path)
    assert told(config, "client", "use", "lab") == f"Error: {path}: {text}\n"


def test_what_may_not_be_read() -> None:
    directory = Path(tempfile.mkdtemp())
    path = directory / "x.yaml"
    path.write_text(HEAD)
    CliRunner().invoke(exporter, ["check", str(path)])  # all that it imports is there before rights are dropped
    root = os.geteuid() == 0
    try:
        path.chmod(0)
        if root:
            directory.chmod(0o755)
            os.seteuid(65534)
        assert told(exporter, "check", str(path)) == f"Error: {path}: cannot be read: permission denied\n"
    finally:
        if root:
            os.seteuid(0)
        shutil.rmtree(directory)


SHELL = ("shell", "--exporter-config", "FILE", "--", "true")
RUN = ("run", "--exporter-config", "FILE", "--tls-grpc-listener", "127.0.0.1:0", "--tls-grpc-insecure")


@pytest.mark.parametrize("arguments", [("exporter", "check", "FILE"), SHELL, RUN], ids=["check", "shell", "run"])
def test_the_commands_themselves(
    tmp_path: Path, jmp: Callable[..., subprocess.CompletedProcess[str]], arguments: tuple[str, ...]
) -> None:
    row = TABLE["exporters"]["mistakes of all kinds"]
    path = tmp_path / "x.yaml"
    path.write_text(row["file"])
    done = jmp(*(str(path) if argument == "FILE" else argument for argument in arguments))
    assert (done.returncode, done.stdout) == (1, "")
    assert "Traceback" not in done.stderr
    for line in row["told"].splitlines():
        assert f"{path}:{line}" in done.stderr


def test_a_pipe_keeps_no_command_waiting(tmp_path: Path, jmp: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    path = tmp_path / "x.yaml"
    os.mkfifo(path)
    done = jmp("shell", "--exporter-config", str(path), "--", "true")
    assert (done.returncode, done.stderr) == (1, f"Error: {path}: expected a file, this is a named pipe\n")
