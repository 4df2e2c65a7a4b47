"""The exporter that the surrounding shell is connected to."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from typing import Any

from anyio.from_thread import BlockingPortal

from jumpstarter.client.base import close_at_exit, refuse_running_loop
from jumpstarter.client.client import open_stub
from jumpstarter.client.tree import build_tree
from jumpstarter.config.env import environment
from jumpstarter.streams.portal import Entered, background_portal


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


def _open() -> Any:
    here = environment()
    return open_stub(here.host, insecure=here.insecure, passphrase=here.passphrase)
