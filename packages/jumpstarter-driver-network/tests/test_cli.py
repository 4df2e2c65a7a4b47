from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from click.testing import CliRunner
from jumpstarter.common.utils import serve
from jumpstarter_driver_network.driver import EchoNetwork, TcpNetwork

# What a user's shell runs, with an exporter in the same process.
PROGRAM = """
import sys
from jumpstarter.common.utils import serve
from jumpstarter_driver_network.driver import EchoNetwork
with serve(EchoNetwork()) as client:
    client.cli()(sys.argv[1:])
"""


@contextmanager
def forwarding(*arguments: str) -> Iterator[str]:
    """The command, running; gives the line it prints. Ctrl-C ends it at the end."""
    command = [sys.executable, "-c", PROGRAM, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
            process.send_signal(signal.SIGINT)
            rest, log = process.communicate(timeout=20)
            assert (process.returncode, rest, log) == (0, "", "stopped\n")
        finally:
            process.kill()


def test_forward_tcp_until_interrupt():
    with forwarding("forward-tcp", "--address", "127.0.0.1") as address:
        host, _, port = address.partition(":")
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            connection.sendall(b"ping")
            assert connection.recv(100) == b"ping"
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, int(port)))


def test_forward_unix_until_interrupt(tmp_path):
    with forwarding("forward-unix", str(tmp_path / "board")) as path:
        assert path == str(tmp_path / "board")
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(10)
            connection.connect(path)
            connection.sendall(b"ping")
            assert connection.recv(100) == b"ping"
    assert not os.path.exists(path)


def run(client, *arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(client.cli(), arguments)
    return result.exit_code, result.output


def test_a_port_in_use_is_an_error_message():
    with socket.create_server(("127.0.0.1", 0)) as taken, serve(EchoNetwork()) as client:
        port = str(taken.getsockname()[1])
        code, output = run(client, "forward-tcp", "--address", "127.0.0.1", port)
    assert (code, output) == (1, f"Error: cannot listen on 127.0.0.1:{port}: Address already in use\n")


@pytest.mark.parametrize(
    ("host", "options", "printed"),
    [
        ("board.example", [], "board.example:22"),
        ("board.example", ["--host"], "board.example"),
        ("board.example", ["--port"], "22"),
        ("fe80::1", [], "[fe80::1]:22"),
        ("fe80::1", ["--host"], "fe80::1"),
    ],
)
def test_address(host: str, options: list[str], printed: str):
    with serve(TcpNetwork(host=host, port=22)) as client:
        assert run(client, "address", *options) == (0, f"{printed}\n")


def test_help_is_that_of_the_exporter_where_it_has_one():
    driver = TcpNetwork(host="board", port=22, description="SSH of the board", methods_description={"address": "Where"})
    with serve(driver) as client:
        code, output = run(client, "--help")
    assert code == 0
    assert "SSH of the board" in output
    assert "Forward a local TCP port" in output
    assert output.split("address")[1].split("\n")[0].strip() == "Where"
