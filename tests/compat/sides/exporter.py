"""Serve the driver on a Unix socket until standard input ends; prints the socket's path. Runs on 0.9.0 and on ours."""

import asyncio
import sys

from jumpstarter.common import ExporterStatus
from jumpstarter.exporter import Session
from jumpstarter_driver_composite.driver import Composite, Proxy
from under_test import UnderTest


async def main():
    children = {"board": UnderTest(), "again": Proxy(ref="board")}
    with Session(root_device=Composite(children=children, description="a bench")) as session:
        async with session.serve_unix_async() as path:
            session.update_status(ExporterStatus.LEASE_READY)
            print(path, flush=True)
            await asyncio.to_thread(sys.stdin.read)


asyncio.run(main())
