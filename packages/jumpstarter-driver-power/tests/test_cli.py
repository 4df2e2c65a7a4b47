"""The commands of power clients."""

from collections.abc import Generator
from dataclasses import dataclass, field

import pytest
from click.testing import CliRunner
from jumpstarter.common.utils import serve
from jumpstarter.driver import Driver, export
from jumpstarter_driver_power.driver import MockPower, PowerInterface, PowerReading, VirtualPowerInterface

OFF_LINE = "voltage=0.0 V  current=0.0 A  apparent_power=0.0 VA"
ON_LINE = "voltage=5.0 V  current=2.0 A  apparent_power=10.0 VA"


@dataclass(kw_only=True)
class Endless(PowerInterface, Driver):
    told: list[str] = field(init=False, default_factory=list)

    @export
    def on(self) -> None:
        self.told.append("on")

    @export
    def off(self) -> None:
        self.told.append("off")

    @export
    def rescue(self) -> None:
        self.told.append("rescue")

    @export
    def read(self) -> Generator[PowerReading, None, None]:
        while True:
            yield PowerReading(voltage=5.0, current=2.0)


@dataclass(kw_only=True)
class Machine(VirtualPowerInterface, Driver):
    told: list[str] = field(init=False, default_factory=list)

    @export
    def on(self) -> None:
        self.told.append("on")

    @export
    def off(self, destroy: bool = False) -> None:
        self.told.append("destroy" if destroy else "off")

    @export
    def read(self) -> Generator[PowerReading, None, None]:
        yield PowerReading(voltage=5.0, current=2.0)


def test_on_and_off() -> None:
    driver = MockPower()
    with serve(driver) as client:
        assert CliRunner().invoke(client.cli(), ["on"]).exit_code == 0
        assert driver.powered
        assert CliRunner().invoke(client.cli(), ["off"]).exit_code == 0
        assert not driver.powered


def test_cycle() -> None:
    driver = Endless()
    with serve(driver) as client:
        assert CliRunner().invoke(client.cli(), ["cycle", "--wait", "0"]).exit_code == 0
        assert CliRunner().invoke(client.cli(), ["cycle", "-w", "-1"]).exit_code == 2
    assert driver.told == ["off", "on"]


@pytest.mark.parametrize(
    ("options", "lines"),
    [
        ([], [OFF_LINE, ON_LINE]),
        (["-n", "1"], [OFF_LINE]),
        (["--count", "3", "--interval", "0"], [OFF_LINE, ON_LINE, OFF_LINE]),
    ],
)
def test_read(options: list[str], lines: list[str]) -> None:
    with serve(MockPower()) as client:
        client.on()
        assert CliRunner().invoke(client.cli(), ["read", *options]).output.splitlines() == lines


def test_read_stops_an_endless_measurement() -> None:
    with serve(Endless()) as client:
        assert CliRunner().invoke(client.cli(), ["read", "-n", "2"]).output.splitlines() == [ON_LINE, ON_LINE]


def test_rescue_is_there_when_the_exporter_describes_it() -> None:
    driver = Endless(methods_description={"rescue": "Boot from the SD card"})
    with serve(driver) as client:
        assert "Boot from the SD card" in CliRunner().invoke(client.cli(), ["--help"]).output
        assert CliRunner().invoke(client.cli(), ["rescue"]).exit_code == 0
    assert driver.told == ["rescue"]
    with serve(Endless()) as client:
        assert sorted(client.cli().commands) == ["cycle", "off", "on", "read"]


def test_virtual_off() -> None:
    driver = Machine()
    with serve(driver) as client:
        for arguments in (["off"], ["off", "--destroy"], ["cycle", "-w", "0"]):
            assert CliRunner().invoke(client.cli(), arguments).exit_code == 0
    assert driver.told == ["off", "destroy", "off", "on"]
