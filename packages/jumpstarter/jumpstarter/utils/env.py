"""The exporter that the surrounding shell is connected to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Generator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

from jumpstarter.client.base import close_at_exit, refuse_running_loop
from jumpstarter.client.client import open_stub
from jumpstarter.client.tree import build_tree
from jumpstarter.config.env import Environment, environment
from jumpstarter.streams.background import background_portal
from jumpstarter.streams.portal import Entered

if TYPE_CHECKING:
    from anyio.from_thread import BlockingPortal


@contextmanager
def env() -> Generator[Any]:
    """The client of the exporter at JUMPSTARTER_HOST; EnvironmentVariableNotSetError outside a shell."""
    refuse_running_loop("env")
    with background_portal() as portal, Entered(portal, "env", _open()) as (stub, report):
        with ExitStack() as stack:
            client = build_tree(report, stub, portal, stack, environment().allow, environment().unsafe)
            stack.push(close_at_exit(client))
            yield client


@asynccontextmanager
async def env_async(portal: BlockingPortal, stack: ExitStack) -> AsyncGenerator[Any]:
    """`env` on the running event loop, which `portal` leads to."""
    async with _open() as (stub, report):
        yield build_tree(report, stub, portal, stack, environment().allow, environment().unsafe)


@asynccontextmanager
async def _open() -> AsyncGenerator[tuple[Any, Any]]:
    here = environment()
    connection = open_stub(
        here.host,
        insecure=here.insecure,
        tls=await _tls(here),
        passphrase=here.passphrase,
        connect_timeout=here.connect_timeout,
    )
    async with connection as opened:
        yield opened


async def _tls(here: Environment) -> Any:
    """The certificates that the shell was given, None where it was given none."""
    if not (here.ca or here.certificate or here.key):
        return None
    from jumpstarter.rpc.tls import ClientTls

    return await asyncio.to_thread(ClientTls.from_files, here.ca, here.certificate, here.key)
