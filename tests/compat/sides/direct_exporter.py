"""Serve the driver on TCP until standard input ends; prints the port. Runs on 0.9.0 and on ours.

Arguments: a passphrase or "-"; optionally the files of a certificate and its key.
"""

import asyncio
import sys
from pathlib import Path

import grpc
from jumpstarter.common import ExporterStatus
from jumpstarter.exporter import Session
from jumpstarter.exporter.auth import PassphraseInterceptor
from jumpstarter_driver_composite.driver import Composite
from under_test import UnderTest


async def main():
    passphrase, *files = sys.argv[1:]
    guards = [] if passphrase == "-" else [PassphraseInterceptor(passphrase)]
    credentials = None
    if files:
        certificate, key = (Path(name).read_bytes() for name in files)
        credentials = grpc.ssl_server_credentials([(key, certificate)])
    with Session(root_device=Composite(children={"board": UnderTest()})) as session:
        async with session.serve_tcp_async("127.0.0.1", 0, tls_credentials=credentials, interceptors=guards) as port:
            session.update_status(ExporterStatus.LEASE_READY)
            print(port, flush=True)
            await asyncio.to_thread(sys.stdin.read)


asyncio.run(main())
