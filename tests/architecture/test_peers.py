"""Every program that a test of this run names as its peer is one that scripts/system-packages installs."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def installed() -> set[str]:
    script = (ROOT / "scripts" / "system-packages").read_text()
    table = script.split("<<END\n")[1].split("\nEND")[0]
    return {line.split()[1] for line in table.splitlines()}


def test_every_peer_can_be_installed(request: pytest.FixtureRequest) -> None:
    peers = {mark.args[0]: item.nodeid for item in request.session.items for mark in item.iter_markers("peer")}
    ours = {name for name in peers if name.startswith(f"{ROOT}/")}  # made by the Makefile
    assert {name: peers[name] for name in peers.keys() - ours - installed()} == {}
