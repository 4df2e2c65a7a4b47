"""The shipped fakes, and what the client makes of any power driver."""

import time
from collections.abc import AsyncGenerator, Generator
from dataclasses import dataclass, field
from threading import Event

import anyio
import pytest
from jumpstarter.common.utils import serve, serve_async
from jumpstarter.driver import Driver, export
from jumpstarter_driver_power.client import PowerClient, VirtualPowerClient
from jumpstarter_driver_power.driver import (
    MockPower,
    PowerInterface,
    PowerReading,
    SyncMockPower,
    VirtualPowerInterface,
)

OFF = PowerReading(voltage=0.0, current=0.0)
ON = PowerReading(voltage=5.0, current=2.0)

mocks = pytest.mark.parametrize("mock", [MockPower, SyncMockPower])


@dataclass(kw_only=True)
class Recorder(PowerInterface, Driver):
    """Records what it is told, and when; measures without an end."""

    told: list[tuple[str, float]] = field(init=False, default_factory=list)
    measured: int = field(init=False, default=0)
    ended: Event = field(init=False, default_factory=Event)

    @export
    def on(self) -> None:
        self.told.append(("on", time.monotonic()))

    @export
    def off(self) -> None:
        self.told.append(("off", time.monotonic()))

    @export
    def rescue(self) -> None:
        self.told.append(("rescue", time.monotonic()))

    @export
    def read(self) -> Generator[PowerReading, None, None]:
        try:
            while True:
                self.measured += 1
                yield PowerReading(voltage=float(self.measured), current=1.0)
        finally:
            self.ended.set()


@dataclass(kw_only=True)
class PlainRead(Driver):
    """Measures with a plain call, and does nothing else."""

    @classmethod
    def client(cls) -> str:
        return "jumpstarter_driver_power.client.PowerClient"

    @export
    def read(self) -> PowerReading:
        return PowerReading(voltage=3.3, current=0.1)


@dataclass(kw_only=True)
class Machine(VirtualPowerInterface, Driver):
    destroyed: bool | None = field(init=False, default=None)

    @export
    async def on(self) -> None:
        self.destroyed = None

    @export
    async def off(self, destroy: bool = False) -> None:
        self.destroyed = destroy

    @export
    async def read(self) -> AsyncGenerator[PowerReading, None]:
        raise NotImplementedError("machines do not measure")
        yield


@mocks
def test_readings_follow_the_state(mock: type[MockPower] | type[SyncMockPower]) -> None:
    driver = mock()
    with serve(driver) as client:
        assert isinstance(client, PowerClient)
        assert list(client.read()) == [OFF, OFF]
        client.on()
        assert driver.powered
        assert list(client.read()) == [OFF, ON]
        client.off()
        assert not driver.powered
        assert list(client.read()) == [OFF, OFF]


@mocks
def test_reset_puts_the_fake_back(mock: type[MockPower] | type[SyncMockPower]) -> None:
    driver = mock()
    with serve(driver) as client:
        client.on()
        driver.reset()
        assert list(client.read()) == [OFF, OFF]


@mocks
def test_on_the_event_loop(mock: type[MockPower] | type[SyncMockPower]) -> None:
    async def main() -> list[PowerReading]:
        async with serve_async(mock()) as client:
            await client.call_async("on")
            return [PowerReading.model_validate(value) async for value in client.streamingcall_async("read")]

    assert anyio.run(main) == [OFF, ON]


def test_apparent_power() -> None:
    assert ON.apparent_power == 10.0


def test_cycle_waits_between_off_and_on() -> None:
    recorder = Recorder()
    with serve(recorder) as client:
        client.cycle(wait=0.2)
    (first, off_at), (second, on_at) = recorder.told
    assert (first, second) == ("off", "on")
    assert on_at - off_at >= 0.2


def test_cycle_refuses_a_negative_wait_before_switching() -> None:
    recorder = Recorder()
    with serve(recorder) as client, pytest.raises(ValueError, match="not -1"):
        client.cycle(wait=-1)
    assert recorder.told == []


def test_rescue() -> None:
    recorder = Recorder()
    with serve(recorder) as client:
        client.rescue()
    assert [what for what, _ in recorder.told] == ["rescue"]


def test_no_rescue_mode() -> None:
    with serve(MockPower()) as client, pytest.raises(NotImplementedError, match="rescue"):
        client.rescue()


def test_leaving_an_endless_measurement_ends_it() -> None:
    recorder = Recorder()
    with serve(recorder) as client:
        readings = client.read()
        assert [next(readings).voltage for _ in range(3)] == [1.0, 2.0, 3.0]
        readings.close()
        assert recorder.ended.wait(5)


def test_read_as_a_plain_call_is_one_reading() -> None:
    with serve(PlainRead()) as client:
        assert list(client.read()) == [PowerReading(voltage=3.3, current=0.1)]
        with pytest.raises(NotImplementedError, match="on"):
            client.on()


@pytest.mark.parametrize("destroy", [True, False])
def test_virtual_off(destroy: bool) -> None:
    machine = Machine()
    with serve(machine) as client:
        assert isinstance(client, VirtualPowerClient)
        client.off(destroy=destroy)
        assert machine.destroyed is destroy
        client.cycle(wait=0)
        assert machine.destroyed is None
        with pytest.raises(NotImplementedError, match="machines do not measure"):
            list(client.read())
