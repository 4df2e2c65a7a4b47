"""SerialRelay: byte transcripts over real terminals and sockets."""

import os
import socket
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from threading import Barrier
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jumpstarter.common.exceptions import ConfigurationError
from jumpstarter.common.utils import serve
from jumpstarter.driver import Driver
from jumpstarter_driver_power.driver import SerialRelay
from jumpstarter_driver_power.relay import frame


@dataclass(kw_only=True)
class Group(Driver):
    @classmethod
    def client(cls) -> str:
        return "jumpstarter.client.DriverClient"


@given(st.integers(1, 255), st.booleans())
def test_frame(channel: int, closed: bool) -> None:
    start, number, state, checksum = frame(channel, closed)
    assert (start, number, state) == (0xA0, channel, closed)
    assert checksum == (start + number + state) % 256


def test_transcript(board: Any) -> None:
    with serve(SerialRelay(port=board.port)) as client:
        client.on()
        assert board.received(4) == bytes.fromhex("A0 01 01 A2")
        client.off()
        assert board.received(4) == bytes.fromhex("A0 01 00 A1")
        client.cycle(wait=0)
        assert board.received(8) == bytes.fromhex("A0 01 00 A1 A0 01 01 A2")


def test_normally_closed_wiring(board: Any) -> None:
    with serve(SerialRelay(port=board.port, channel=200, normally_closed=True)) as client:
        client.on()
        assert board.received(4) == bytes.fromhex("A0 C8 00 68")
        client.off()
        assert board.received(4) == bytes.fromhex("A0 C8 01 69")


def test_serving_does_not_switch(board: Any) -> None:
    with serve(SerialRelay(port=board.port)):
        pass
    assert not board.pending
    assert board.open_handles() == 0


def test_it_cannot_measure(board: Any) -> None:
    with serve(SerialRelay(port=board.port)) as client, pytest.raises(NotImplementedError, match="cannot measure"):
        list(client.read())


def test_channels_share_one_port(board: Any) -> None:
    one = SerialRelay(port=board.port, channel=1)
    two = SerialRelay(port=board.device, channel=2)
    with ExitStack() as rest:
        with serve(one) as first:
            second = rest.enter_context(serve(two))
            first.on()
            second.on()
            assert board.received(8) == frame(1, True) + frame(2, True)
            assert board.open_handles() == 1
        assert board.open_handles() == 1
        second.off()
        assert board.received(4) == frame(2, False)
    assert board.open_handles() == 0


def test_frames_of_concurrent_writers_do_not_mix(board: Any) -> None:
    channels, rounds = range(1, 9), 25
    barrier = Barrier(len(channels))

    def toggle(relay: Any) -> None:
        barrier.wait(10)
        for _ in range(rounds):
            relay.on()
            relay.off()

    relays = {f"ch{channel}": SerialRelay(port=board.port, channel=channel) for channel in channels}
    with serve(Group(children=relays)) as client, ThreadPoolExecutor(len(channels)) as pool:
        calls = [pool.submit(toggle, client.children[name]) for name in relays]
        for call in calls:
            call.result(timeout=30)
        data = board.received(4 * 2 * rounds * len(channels))
        assert board.open_handles() == 1
    states = defaultdict(list)
    for start in range(0, len(data), 4):
        _, channel, state, _ = data[start : start + 4]
        assert data[start : start + 4] == frame(channel, bool(state))
        states[channel].append(state)
    assert states == {channel: [1, 0] * rounds for channel in channels}


def test_unplugged_port_is_named_and_the_next_call_after_replug_works(board: Any) -> None:
    with serve(SerialRelay(port=board.port)) as client:
        client.on()
        board.received(4)
        board.unplug()
        try:
            for _ in range(2):
                with pytest.raises(ConnectionError, match=f"serial port {board.port} cannot be opened"):
                    client.off()
        finally:
            board.plug()
        client.off()
        assert board.received(4) == frame(1, False)


def test_replugged_between_two_calls(board: Any) -> None:
    with serve(SerialRelay(port=board.port)) as client:
        client.on()
        board.received(4)
        board.replug()
        client.off()
        assert board.received(4) == frame(1, False)
        assert board.open_handles() == 1


def test_port_that_is_not_there(tmp_path: Any) -> None:
    with serve(SerialRelay(port=f"{tmp_path}/ttyNONE")) as client:
        with pytest.raises(ConnectionError, match=f"serial port {tmp_path}/ttyNONE cannot be opened: .*No such file"):
            client.on()


def test_port_that_takes_nothing(board: Any) -> None:
    with serve(SerialRelay(port=board.port)) as client:
        client.on()
        board.fill()
        with pytest.raises(TimeoutError, match=f"serial port {board.port}: not writable for 1 s"):
            client.off()
        while board.pending:
            os.read(board.master, 65536)
        client.off()
        assert board.received(4) == frame(1, False)


def test_answers_of_the_board_are_discarded(board: Any) -> None:
    with serve(SerialRelay(port=board.port)) as client:
        client.on()
        os.write(board.master, b"CH1: ON\r\n" * 100)
        client.off()
        assert board.received(8) == frame(1, True) + frame(1, False)


def test_relay_behind_a_socket() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)
        host, port = server.getsockname()
        url = f"socket://{host}:{port}"
        with serve(SerialRelay(port=url, channel=3)) as client:
            client.on()
            peer, _ = server.accept()
            with peer:
                assert peer.recv(4, socket.MSG_WAITALL) == frame(3, True)
            client.off()
            peer, _ = server.accept()
            with peer:
                assert peer.recv(4, socket.MSG_WAITALL) == frame(3, False)
                server.close()
            with pytest.raises(ConnectionError, match=f"serial port {url} cannot be opened"):
                client.off()


def test_unknown_url() -> None:
    with serve(SerialRelay(port="carrier-pigeon://coop")) as client:
        with pytest.raises(ConnectionError, match="carrier-pigeon://coop cannot be opened"):
            client.on()


def test_one_port_has_one_speed(board: Any) -> None:
    slow = SerialRelay(port=board.port, channel=1)
    fast = SerialRelay(port=board.port, channel=2, baudrate=115200)
    with serve(Group(children={"slow": slow, "fast": fast})) as client:
        client.children["slow"].on()
        with pytest.raises(Exception, match="another driver uses it at 9600 baud, this one asks for 115200"):
            client.children["fast"].on()


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"channel": 0}, "channel: must be a whole number from 1 to 255, not 0"),
        ({"channel": 256}, "channel: must"),
        ({"channel": True}, "channel: must"),
        ({"channel": "1"}, "channel: must"),
        ({"port": ""}, "port: must name a serial port"),
        ({"port": None}, "port: must"),
        ({"baudrate": 0}, "baudrate: must"),
        ({"baudrate": 9600.5}, "baudrate: must"),
    ],
)
def test_bad_configuration(config: dict[str, Any], expected: str) -> None:
    with pytest.raises(ConfigurationError, match=expected):
        SerialRelay(**{"port": "/dev/ttyUSB0", **config})
