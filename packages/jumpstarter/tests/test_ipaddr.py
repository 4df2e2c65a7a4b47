"""This host's address, and minikube's."""

from __future__ import annotations

import logging
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from jumpstarter.common.ipaddr import get_ip_address, get_minikube_ip

pytestmark = pytest.mark.anyio


async def program(tmp_path: Path, script: str) -> str:
    """A program called minikube."""
    path = tmp_path / "minikube"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


def test_an_address_that_others_can_use() -> None:
    assert not IPv4Address(get_ip_address(logger=logging.getLogger("test"))).is_loopback


async def test_minikube_is_asked(tmp_path: Path) -> None:
    minikube = await program(tmp_path, '[ "$*" = "ip -p lab" ] && echo 192.168.49.2')
    assert await get_minikube_ip(profile="lab", minikube=minikube) == "192.168.49.2"


async def test_minikube_says_why_not(tmp_path: Path) -> None:
    minikube = await program(tmp_path, "echo 'no such profile' >&2; exit 85")
    with pytest.raises(RuntimeError, match="minikube ip` failed: no such profile"):
        await get_minikube_ip(minikube=minikube)
    with pytest.raises(FileNotFoundError, match=r"absent-minikube.*install minikube"):
        await get_minikube_ip(minikube="absent-minikube")
