"""Addresses under which others reach this host."""

from __future__ import annotations

import logging
import socket
import subprocess
from ipaddress import ip_address

_ROUTED = ("192.0.2.1", 9)  # a documentation address: connecting a UDP socket to it looks up a route, nothing is sent
_ANY = "0.0.0.0"


def get_ip_address(logger: logging.Logger | None = None) -> str:
    """This host's IPv4 address: that of its name, else that of the default route, else 0.0.0.0.

    Asks the resolver, so it may block for as long as that takes.
    """
    try:
        address = socket.gethostbyname(socket.gethostname())
        if not ip_address(address).is_loopback:
            return address
    except OSError:
        pass
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect(_ROUTED)
            return str(probe.getsockname()[0])
    except OSError as error:
        (logger or logging.getLogger(__name__)).warning("no address of this host found, using %s: %s", _ANY, error)
        return _ANY


async def get_minikube_ip(profile: str | None = None, minikube: str = "minikube") -> str:
    """The address of a minikube cluster, asked of the `minikube` program; RuntimeError where it has none."""
    from anyio import run_process

    command = [minikube, "ip", *(["-p", profile] if profile else [])]
    try:
        result = await run_process(command, check=False, stdin=subprocess.DEVNULL)
    except FileNotFoundError:
        raise FileNotFoundError(f"{minikube!r} was not found: install minikube, or give its path") from None
    if result.returncode != 0:
        reason = result.stderr.decode(errors="replace").strip() or f"exit code {result.returncode}"
        raise RuntimeError(f"`{' '.join(command)}` failed: {reason}")
    return result.stdout.decode().strip()
