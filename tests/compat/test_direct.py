"""Direct connections: a 0.9.0 client with our `jmp run`, our client with a 0.9.0 exporter, over TCP and TLS."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from jumpstarter_testing.certificates import Authority

SIDES = Path(__file__).parent / "sides"
PEER = Path(__file__).parents[2] / ".peer" / "bin" / "python"
JMP = Path(sys.executable).parent / "jmp"
SECRET = "open-sesame-4711"
SECONDS = 60

pytestmark = pytest.mark.peer(str(PEER))

EXPORTER = """
metadata: {namespace: default, name: direct}
export:
  board: {type: under_test.UnderTest}
"""
# What a client of either kind gets to see in one session with an exporter of either kind.
SESSION = {
    "call": "hello",
    "items": [0, 1, 2],
    "status": "LEASE_READY",
    "stream": "BYTES",
    "log": "a line of log",
}


def environment(**variables: str) -> dict[str, str]:
    inherited = {name: text for name, text in os.environ.items() if not name.startswith(("JMP_", "JUMPSTARTER_"))}
    return inherited | {"PYTHONPATH": str(SIDES), "JMP_DRIVERS_ALLOW": "UNSAFE"} | variables


def visit(python: Path | str, address: str, **variables: str) -> dict[str, Any]:
    done = subprocess.run(
        [str(python), str(SIDES / "direct_client.py")],
        env=environment(JUMPSTARTER_HOST=address, **variables),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    outcomes: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    # What was logged before may come first.
    return {what: outcome[-1] if what == "log" else outcome for what, outcome in outcomes.items()}


@contextmanager
def our_exporter(directory: Path, *args: str, **variables: str) -> Iterator[int]:
    (directory / "x.yaml").write_text(EXPORTER)
    command = [str(JMP), "run", "--exporter-config", "x.yaml", "--tls-grpc-listener", "127.0.0.1:0", *args]
    with subprocess.Popen(
        command, cwd=directory, env=environment(**variables), stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stderr is not None
            found = next(filter(None, (re.search(r"serves at \S+:(\d+) ", line) for line in process.stderr)))
            yield int(found[1])
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=SECONDS)
    assert process.returncode == 0


@contextmanager
def their_exporter(*args: str) -> Iterator[int]:
    command = [str(PEER), str(SIDES / "direct_exporter.py"), *args]
    with subprocess.Popen(
        command, env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.stdin.close()
            process.wait(SECONDS)


class TestTheirClient:
    def test_session_after_session(self, tmp_path: Path) -> None:
        with our_exporter(tmp_path, "--tls-grpc-insecure") as port:
            for _ in range(2):
                assert visit(PEER, f"127.0.0.1:{port}", JMP_GRPC_INSECURE="1") == SESSION | {"end": True}

    def test_with_a_passphrase(self, tmp_path: Path) -> None:
        with our_exporter(tmp_path, "--tls-grpc-insecure", JMP_EXPORTER_PASSPHRASE=SECRET) as port:
            address = f"127.0.0.1:{port}"
            right = visit(PEER, address, JMP_GRPC_INSECURE="1", JMP_GRPC_PASSPHRASE=SECRET)
            assert right == SESSION | {"end": True}
            for given in ({}, {"JMP_GRPC_PASSPHRASE": "wrong"}):
                assert "invalid or missing passphrase" in visit(PEER, address, JMP_GRPC_INSECURE="1", **given)["error"]

    def test_over_tls(self, tmp_path: Path) -> None:
        authority = Authority(tmp_path)
        authority.issue()
        how = ("--tls-cert", "server.pem", "--tls-key", "server.key")
        with our_exporter(tmp_path, *how, JMP_EXPORTER_PASSPHRASE=SECRET) as port:
            trusting = {"GRPC_DEFAULT_SSL_ROOTS_FILE_PATH": str(authority.certificate)}
            outcomes = visit(PEER, f"localhost:{port}", JMP_GRPC_PASSPHRASE=SECRET, **trusting)
        assert outcomes == SESSION | {"end": True}


class TestOurClient:
    def test_in_plain_text(self) -> None:
        with their_exporter("-") as port:
            outcomes = visit(sys.executable, f"127.0.0.1:{port}", JMP_GRPC_INSECURE="1")
            # There is no lease that could end.
            assert outcomes == SESSION | {"end": False}
            assert "serves without TLS" in visit(sys.executable, f"127.0.0.1:{port}")["error"]

    def test_with_a_passphrase(self) -> None:
        with their_exporter(SECRET) as port:
            address = f"127.0.0.1:{port}"
            right = visit(sys.executable, address, JMP_GRPC_INSECURE="1", JMP_GRPC_PASSPHRASE=SECRET)
            assert right == SESSION | {"end": False}
            assert "wants a passphrase" in visit(sys.executable, address, JMP_GRPC_INSECURE="1")["error"]
            wrong = visit(sys.executable, address, JMP_GRPC_INSECURE="1", JMP_GRPC_PASSPHRASE="wrong")
            assert "refuses the passphrase" in wrong["error"]

    def test_over_tls(self, tmp_path: Path) -> None:
        authority = Authority(tmp_path)
        pair = authority.issue()
        with their_exporter(SECRET, str(pair.certificate), str(pair.key)) as port:
            address = f"localhost:{port}"
            trusting = {"JMP_GRPC_CA": str(authority.certificate), "JMP_GRPC_PASSPHRASE": SECRET}
            assert visit(sys.executable, address, **trusting) == SESSION | {"end": False}
            assert "serves with TLS" in visit(sys.executable, address, JMP_GRPC_INSECURE="1")["error"]
