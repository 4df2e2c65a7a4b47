"""A driver stream to a message bus as the bus that this process uses."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ..bus import VARIABLES
from .portforward import TcpPortforwardAdapter

if TYPE_CHECKING:
    from ..client import DbusNetworkClient


@contextmanager
def DbusAdapter(*, client: DbusNetworkClient) -> Generator[None]:  # noqa: N802
    """Make the exporter's bus that of this process and its children, by setting DBUS_SYSTEM_BUS_ADDRESS or its like.

    The bus sees the exporter's user behind every connection; file descriptors cannot be passed.
    """
    variable = VARIABLES[client.kind]
    before = os.environ.get(variable)
    with TcpPortforwardAdapter(client=client) as (host, port):
        os.environ[variable] = f"tcp:host={host},port={port}"
        try:
            yield
        finally:
            if before is None:
                del os.environ[variable]
            else:
                os.environ[variable] = before
