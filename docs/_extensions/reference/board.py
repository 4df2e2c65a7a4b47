"""The commands of `j` for a tree that has one driver of each kind."""

from __future__ import annotations

import click
from jumpstarter.common.utils import serve
from jumpstarter_driver_composite.driver import Composite
from jumpstarter_driver_network.driver import EchoNetwork
from jumpstarter_driver_power.driver import MockPower
from jumpstarter_driver_serial.driver import Serial

TREE = Composite(
    children={
        "power": MockPower(),
        "console": Serial(url="loop://"),
        "network": EchoNetwork(),
        "group": Composite(children={}, description="Drivers that belong together"),
    }
)

with serve(TREE) as client:
    j: click.Group = client.cli()
