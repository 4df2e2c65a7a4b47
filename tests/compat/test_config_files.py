"""Configuration files: what one of 0.9.0 and ours has written, the other reads as the same."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SIDES = Path(__file__).parent / "sides"
PEER = str(Path(__file__).parents[2] / ".peer" / "bin" / "python")
OURS = sys.executable

pytestmark = pytest.mark.peer(PEER)

FILES = {
    "clients/lab.yaml": """\
apiVersion: jumpstarter.dev/v1alpha1
kind: ClientConfig
metadata: {namespace: ns, name: me}
endpoint: grpc.example.com:443
token: "on"
refresh_token: ü
grpcOptions: {grpc.keepalive_time_ms: 20000, user: me}
drivers: {allow: "a.*,b", unsafe: false}
shell: {use_profiles: true}
leases: {acquisition_timeout: 10, retry_timeout: 2.5}
""",
    "clients/bare.yaml": "metadata: {namespace: ns, name: me}\ndrivers: {allow: [UNSAFE]}\n",
    "exporters/bench.yaml": """\
apiVersion: jumpstarter.dev/v1alpha1
kind: ExporterConfig
metadata: {namespace: lab, name: bench}
endpoint: grpc.example.com:443
tls: {insecure: true}
token: abc
grpcOptions: {grpc.keepalive_time_ms: 20000}
description: A bench
export:
  relay:
    type: jumpstarter_driver_network.driver.TcpNetwork
    description: The relay
    methods_description: {"on": switch it on}
    config: {host: localhost, port: 80, labels: {"yes": "no"}}
    children:
      inner: {type: jumpstarter_driver_network.driver.EchoNetwork}
  board: {children: {same: {ref: relay}, group: {children: {}}}}
hooks:
  beforeLease: {script: "j relay\\necho on", timeout: 5, onFailure: endLease}
  afterLease: {script: echo, exec: /bin/sh}
failureDetection: {maxRapidFailures: 2}
""",
    "exporters/bare.yaml": "metadata: {namespace: null, name: bare}\n",
    "config.yaml": "apiVersion: jumpstarter.dev/v1alpha1\nkind: UserConfig\nconfig: {current-client: lab}\n",
}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return tmp_path


def load_and_save(python: str, home: Path) -> dict[str, Any]:
    """What is in the files, as the side `python` reads them; it then writes all of them."""
    done = subprocess.run(
        [python, str(SIDES / "configuration.py")],
        env={**os.environ, "JMP_CLIENT_CONFIG_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_what_users_wrote_is_the_same_to_both(home: Path) -> None:
    theirs = load_and_save(PEER, home)
    assert theirs["exporter bench"]["export"]["board"]["children"]["same"] == {"ref": "relay"}
    assert (theirs["current"], theirs["listed"]) == ("lab", ["bare", "lab"])
    for name, text in FILES.items():
        (home / name).write_text(text)
    assert load_and_save(OURS, home) == theirs


@pytest.mark.parametrize(("first", "second"), [(PEER, OURS), (OURS, PEER)], ids=["theirs", "ours"])
def test_what_one_writes_the_other_reads(home: Path, first: str, second: str) -> None:
    written = load_and_save(first, home)
    assert load_and_save(second, home) == written
    assert load_and_save(first, home) == written


def test_theirs_goes_on_where_a_file_has_keys_of_ours(home: Path) -> None:
    path = home / "exporters" / "bench.yaml"
    path.write_text(f"{path.read_text()}motd: hello\nclientLost: {{grace: 3}}\n")
    ours = load_and_save(OURS, home)
    assert "motd: hello" in path.read_text()
    assert load_and_save(PEER, home) == ours
