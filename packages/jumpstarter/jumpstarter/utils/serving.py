"""Serve a driver to its own process, over real gRPC."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from functools import partial
from typing import Any

from anyio.from_thread import BlockingPortal

from jumpstarter.client.base import close_at_exit, refuse_running_loop
from jumpstarter.client.client import open_stub
from jumpstarter.client.tree import build_tree
from jumpstarter.common.enums import ExporterStatus
from jumpstarter.driver.base import Driver
from jumpstarter.driver.workers import Allowance
from jumpstarter.exporter.session import Session
from jumpstarter.rpc.limits import Limits, message_size_options
from jumpstarter.streams.background import background_portal
from jumpstarter.streams.portal import Entered, running_portal


@contextmanager
def serve(root_device: Driver, *, limits: Limits | None = None) -> Generator[Any]:
    """Serve a driver tree on a private socket, from an event loop in a thread of its own; gives its client.

    The drivers are reset at the start and closed at the end. Any client class may be imported, and errors of
    drivers come with their tracebacks. `limits` hold for both sides.
    """
    refuse_running_loop("serve")
    session = Session(root_device=root_device, limits=limits or Limits(), show_tracebacks=True)
    with background_portal() as portal, Entered(portal, "serve", _serving(session)) as (stub, report):
        with ExitStack() as stack:
            # In this thread: the caller's module may be in the middle of being imported.
            client = build_tree(report, stub, portal, stack, allow=[], unsafe=True)
            stack.push(close_at_exit(client))
            yield client


@asynccontextmanager
async def serve_async(
    root_device: Driver,
    portal: BlockingPortal | None = None,
    stack: ExitStack | None = None,
    *,
    limits: Limits | None = None,
) -> AsyncGenerator[Any]:
    """`serve` on the running event loop: use the client's `_async` methods there, its blocking ones from other
    threads.
    """
    session = Session(root_device=root_device, limits=limits or Limits(), show_tracebacks=True)
    async with AsyncExitStack() as own:
        way_in = portal if portal is not None else await own.enter_async_context(running_portal())
        stub, report = await own.enter_async_context(_serving(session))
        clients = stack if stack is not None else own.enter_context(ExitStack())
        client = build_tree(report, stub, way_in, clients, allow=[], unsafe=True)
        # In a worker: what a client does at its end may block.
        own.push_async_exit(partial(Allowance().run, close_at_exit(client)))
        yield client


@asynccontextmanager
async def _serving(session: Session) -> AsyncGenerator[tuple[Any, Any]]:
    sizes = dict(message_size_options(session.limits.message_bytes))
    async with session, session.serve_unix_async() as path, open_stub(path, grpc_options=sizes) as connection:
        session.update_status(ExporterStatus.LEASE_READY)
        yield connection
