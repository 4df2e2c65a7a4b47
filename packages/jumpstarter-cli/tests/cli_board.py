"""Serve a tree of drivers until standard input ends; prints the socket's path. Their clients are in cli_clients.py."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
from jumpstarter.driver import Driver, FlasherInterface, export

FAILURES: dict[str, Exception] = {
    type(error).__name__: error
    for error in (
        ValueError("the probe is loose"),
        TimeoutError("the probe is loose"),
        OSError("the probe is loose"),
        BrokenPipeError(32, "Broken pipe"),
        RuntimeError("the probe is loose"),
        NotImplementedError("the probe is loose"),
    )
}


class Sensor(Driver):
    @classmethod
    def client(cls) -> str:
        return "cli_clients.SensorClient"

    @export
    def fail(self, kind: str) -> None:
        raise FAILURES[kind]

    @export
    async def wait(self, path: str) -> None:
        """Creates `path` and waits; appends to it when cancelled."""
        Path(path).write_text("waiting\n")
        try:
            await anyio.sleep_forever()
        finally:
            with Path(path).open("a") as file:
                file.write("cancelled\n")


class Mute(Driver):
    """Its client has methods and no commands."""

    @classmethod
    def client(cls) -> str:
        return "cli_clients.MuteClient"


class Foreign(Driver):
    """Its client is not installed here."""

    @classmethod
    def client(cls) -> str:
        return "jumpstarter_driver_elsewhere.client.ForeignClient"


class Broken(Driver):
    """Its client cannot make its commands."""

    @classmethod
    def client(cls) -> str:
        return "cli_clients.BrokenClient"


class Group(Driver):
    """Its client is the core's own, which has children and no commands."""

    @classmethod
    def client(cls) -> str:
        return "jumpstarter.client.DriverClient"


@dataclass(kw_only=True)
class Disk(FlasherInterface, Driver):
    @classmethod
    def client(cls) -> str:
        return "cli_clients.DiskClient"

    @export
    async def flash(self, source: Any, target: str | None = None) -> None:
        async with self.resource(source) as stream:
            async for _ in stream:
                pass

    @export
    async def dump(self, target: Any, partition: str | None = None) -> None:
        async with self.resource(target) as stream:
            await stream.send(bytes(3_000_000))


def trees() -> dict[str, Driver]:
    from jumpstarter_driver_composite.driver import Composite
    from jumpstarter_driver_network.driver import EchoNetwork
    from jumpstarter_driver_power.driver import MockPower

    children: dict[str, Driver] = {
        "power": MockPower(description="The relay", methods_description={"on": "Close the relay"}),
        "echo": EchoNetwork(),
        "sensor": Sensor(),
        "disk": Disk(),
        "mute": Mute(),
        "foreign": Foreign(),
        "broken": Broken(),
        "rack": Group(children={"slot": Composite(children={"power": MockPower()})}, description="The rack"),
    }
    return {
        "composite": Composite(children=children, description="The board on the desk"),
        "plain": Group(children={"power": MockPower(), "mute": Mute()}),
        "single": Sensor(description="The only one"),
        "foreign": Foreign(children={"power": MockPower()}),
        "mute": Mute(),
    }


def main() -> None:
    from jumpstarter.common.enums import ExporterStatus
    from jumpstarter.exporter import Session

    with Session(root_device=trees()[sys.argv[1]]) as session, session.serve_unix() as path:
        session.update_status(ExporterStatus.LEASE_READY)
        sys.stdout.write(f"{path}\n")
        sys.stdout.flush()
        sys.stdin.read()


if __name__ == "__main__":
    main()
