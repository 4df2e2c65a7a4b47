"""From an exporter's report to a tree of clients."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any
from uuid import UUID

from jumpstarter.common.exceptions import ConnectionError
from jumpstarter.common.metadata import CLIENT_LABEL, NAME_LABEL
from jumpstarter.config.env import environment

from .base import DriverClient, StubDriverClient
from .resolve import ClientUnavailable, resolve_client

if TYPE_CHECKING:
    from anyio.from_thread import BlockingPortal

logger = logging.getLogger(__name__)


def build_tree(
    report: Any, stub: Any, portal: BlockingPortal, stack: ExitStack, allow: Sequence[str], unsafe: bool
) -> DriverClient:
    """The root client of `report` (GetReportResponse), its children below it by name.

    Where a client class cannot be had, a stub stands in its place: the rest of the tree works. Call it in the
    thread that
    may import client modules.
    """
    warn = environment().driver_warnings
    children: dict[str, dict[str, DriverClient]] = {}
    root: DriverClient | None = None
    # Parents come first in the report, so in reverse every client's children are there before it.
    for one in reversed(report.reports):
        client = _make(one, stub, portal, stack, children.pop(one.uuid, {}), allow, unsafe, warn)
        if one.HasField("parent_uuid"):
            siblings = children.setdefault(one.parent_uuid, {})
            siblings[one.labels.get(NAME_LABEL, one.uuid)] = client
        else:
            root = client
    if root is None:
        raise ConnectionError("the exporter reports no root driver")
    _restore_order(root)
    return root


def _make(
    one: Any,
    stub: Any,
    portal: BlockingPortal,
    stack: ExitStack,
    children: dict[str, DriverClient],
    allow: Sequence[str],
    unsafe: bool,
    warn: bool,
) -> DriverClient:
    cls: type[DriverClient]
    missing = None
    try:
        path = one.labels.get(CLIENT_LABEL, "")
        found = resolve_client(path, allow, unsafe)
        if not issubclass(found, DriverClient):
            raise ClientUnavailable(
                f"client class {path}: {found.__module__}.{found.__qualname__} is no subclass of DriverClient"
            )
        cls = found
    except ClientUnavailable as error:
        cls, missing = StubDriverClient, str(error)
        if warn:
            logger.warning("%s: %s", one.labels.get(NAME_LABEL, "root driver"), error)
    client = cls(
        uuid=UUID(one.uuid),
        labels=dict(one.labels),
        stub=stub,
        portal=portal,
        stack=stack,
        children=children,
        description=one.description or None,
        methods_description=dict(one.methods_description),
    )
    if isinstance(client, StubDriverClient) and missing is not None:
        client.missing = missing
    return client


def _restore_order(client: DriverClient) -> None:
    ordered = dict(reversed(client.children.items()))
    client.children.clear()
    client.children.update(ordered)
    for child in ordered.values():
        _restore_order(child)
