"""Clients of power drivers."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from contextlib import closing
from itertools import count as counter
from itertools import islice
from typing import TYPE_CHECKING

from jumpstarter.client import DriverClient

if TYPE_CHECKING:
    import click

    from .common import PowerReading


class PowerClient(DriverClient):
    """Switches and measures a board's power."""

    def on(self) -> None:
        """Switch the board on."""
        self.call("on")

    def off(self) -> None:
        """Switch the board off."""
        self.call("off")

    def rescue(self) -> None:
        """Switch the board on in its rescue mode. NotImplementedError where the driver has none."""
        self.call("rescue")

    def cycle(self, wait: float = 2) -> None:
        """Switch the board off, wait `wait` seconds, and switch it on."""
        if wait < 0:
            raise ValueError(f"wait must be 0 seconds or more, not {wait}")
        self.off()
        time.sleep(wait)
        self.on()

    def read(self) -> Generator[PowerReading, None, None]:
        """Measure: the readings, as the driver gives them. NotImplementedError where the driver cannot."""
        from .common import PowerReading

        with closing(self.streamingcall("read")) as values:
            for value in values:
                yield PowerReading.model_validate(value)

    def cli(self) -> click.Group:
        """The commands on, off, cycle and read; and rescue, where the driver describes it."""
        import click
        from jumpstarter.client.decorators import driver_click_group

        @driver_click_group(self)
        def base() -> None:
            """Generic power"""

        @base.command()
        def on() -> None:
            """Power on"""
            self.on()

        @base.command()
        def off() -> None:
            """Power off"""
            self.off()

        @base.command()
        @click.option(
            "--wait",
            "-w",
            type=click.FloatRange(min=0),
            default=2,
            show_default=True,
            help="Seconds between off and on.",
        )
        def cycle(wait: float) -> None:
            """Power cycle"""
            self.cycle(wait)

        @base.command(text=_as_text)
        @click.option(
            "--count",
            "-n",
            type=click.IntRange(min=0),
            help="Stop after this many readings; 0: never. Default: after what one measurement gives.",
        )
        @click.option(
            "--interval",
            "-i",
            type=click.FloatRange(min=0),
            default=1.0,
            show_default=True,
            help="Seconds between measurements.",
        )
        def read(count: int | None, interval: float) -> Iterator[PowerReading]:
            """Read power measurements"""
            return self.read() if count is None else islice(self._measure_on(interval), count or None)

        if "rescue" in self.methods_description:

            @base.command()
            def rescue() -> None:
                """Power on in rescue mode"""
                self.rescue()

        return base

    def _measure_on(self, interval: float) -> Generator[PowerReading, None, None]:
        """Readings of one measurement after the other, `interval` seconds apart."""
        for measurement in counter():
            if measurement:
                time.sleep(interval)
            yield from self.read()


def _as_text(reading: PowerReading) -> str:
    return f"voltage={reading.voltage} V  current={reading.current} A  apparent_power={reading.apparent_power} VA"


class VirtualPowerClient(PowerClient):
    """Starts and stops a machine that exists in software only."""

    def off(self, destroy: bool = False) -> None:
        """Stop the machine; `destroy` also gives up its state, such as its disk."""
        self.call("off", destroy)

    def cli(self) -> click.Group:
        """The commands of any power client, and `off --destroy`."""
        import click

        base = super().cli()

        @base.command()
        @click.option("--destroy", is_flag=True, help="Also give up the machine's state.")
        def off(destroy: bool) -> None:
            """Power off"""
            self.off(destroy)

        return base
