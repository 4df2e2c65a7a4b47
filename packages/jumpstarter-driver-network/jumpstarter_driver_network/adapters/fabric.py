"""A driver stream as an SSH connection of fabric."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from jumpstarter.client import DriverClient

from ..extras import require
from .portforward import TcpPortforwardAdapter

if TYPE_CHECKING:
    from fabric import Config, Connection  # type: ignore[import-untyped]


@contextmanager
def FabricAdapter(  # noqa: N802
    *,
    client: DriverClient,
    method: str = "connect",
    user: str | None = None,
    config: Config | None = None,
    forward_agent: bool | None = None,
    connect_timeout: int | None = None,
    connect_kwargs: dict[str, Any] | None = None,
    inline_ssh_env: bool | None = None,
) -> Generator[Connection]:
    """A `fabric.Connection` to the SSH server behind a driver stream, closed at the end.

    The arguments from `user` on are those of `fabric.Connection`. Needs the extra `fabric`.
    """
    fabric = require("fabric", "fabric")
    with TcpPortforwardAdapter(client=client, method=method) as (host, port):
        with fabric.Connection(
            host,
            port=port,
            user=user,
            config=config,
            forward_agent=forward_agent,
            connect_timeout=connect_timeout,
            connect_kwargs=connect_kwargs,
            inline_ssh_env=inline_ssh_env,
        ) as connection:
            yield connection
