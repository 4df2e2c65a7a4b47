"""Serve a group with a group in it on a Unix socket until standard input ends; prints the socket's path."""

import asyncio
import sys

from jumpstarter.common import ExporterStatus
from jumpstarter.exporter import Session
from jumpstarter_driver_composite.driver import Composite
from jumpstarter_driver_network.driver import TcpNetwork


def board():
    return TcpNetwork(host="board.example", port=22, enable_address=True)


async def main():
    tree = Composite(children={"ssh": board(), "rack": Composite(children={"ssh": board()})}, description="a bench")
    with Session(root_device=tree) as session:
        async with session.serve_unix_async() as path:
            session.update_status(ExporterStatus.LEASE_READY)
            print(path, flush=True)
            await asyncio.to_thread(sys.stdin.read)


asyncio.run(main())
