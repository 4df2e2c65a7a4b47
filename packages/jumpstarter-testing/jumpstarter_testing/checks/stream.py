"""The contract of a driver with a raw byte stream."""

from __future__ import annotations

import random
import threading
from typing import Any

import anyio
from jumpstarter.client import DriverClient
from jumpstarter.driver import Driver

from .common import TIMEOUT, CheckFailed, served, within

_SIZES = (1, 256, 65536)


def check_stream(
    subject: Driver | DriverClient,
    method: str = "connect",
    *,
    echo: bool = False,
    half_close: bool = False,
    timeout: float = TIMEOUT,
) -> None:
    """Opens the stream, closes it, and opens it again; closing also ends a reader that waits.

    `echo`: the device gives back what it is sent, so bytes of all values and in large pieces are sent and compared;
    without it nothing is sent. `half_close`: it ends its side after ours was ended, and all of the echo came before.
    Raises CheckFailed. `timeout`: seconds for each step.
    """
    with served(subject) as client:
        for attempt in ("the first", "the second"):
            stream = within(timeout, f"opening {method!r} for {attempt} time", lambda: client.open_stream(method))
            try:
                if echo:
                    within(timeout, f"the echo of {method!r}", lambda s=stream: _check_echo(s))  # type: ignore[misc]
                if half_close:
                    within(timeout, f"the end of {method!r}", lambda s=stream: _check_end(s))  # type: ignore[misc]
                else:
                    _check_close_ends_reader(stream, method, timeout)
            finally:
                within(timeout, f"closing {method!r}", stream.close)


def _check_echo(stream: Any) -> None:
    for size in _SIZES:
        sent = bytes(range(256)) if size == 256 else random.Random(size).randbytes(size)
        sender = threading.Thread(target=stream.send, args=(sent,), daemon=True)
        sender.start()
        received = bytearray()
        while len(received) < len(sent):
            received += stream.receive()
        sender.join()
        if received != sent:
            at = next((i for i, (a, b) in enumerate(zip(sent, received, strict=False)) if a != b), len(sent))
            raise CheckFailed(
                f"of {size} bytes sent, byte {at} came back changed: sent {sent[at : at + 8]!r}, "
                f"received {bytes(received[at : at + 8])!r}"
            )


def _check_end(stream: Any) -> None:
    stream.send(b"last words")
    stream.send_eof()
    received = b"".join(stream)
    if received != b"last words":
        raise CheckFailed(f"after 'last words' and the end of our side came {received!r} before the end of the other")


def _check_close_ends_reader(stream: Any, method: str, timeout: float) -> None:
    reading = threading.Event()
    ended: list[BaseException | None] = []

    def read() -> None:
        reading.set()
        try:
            while True:
                stream.receive()
        except (anyio.EndOfStream, anyio.ClosedResourceError, anyio.BrokenResourceError):
            ended.append(None)
        except BaseException as e:
            ended.append(e)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    reading.wait(timeout)
    within(timeout, f"closing {method!r} under a reader", stream.close)
    reader.join(timeout)
    if not ended:
        raise CheckFailed(f"a reader of {method!r} still waits {timeout:g} s after the stream was closed")
    if ended[0] is not None:
        raise CheckFailed(f"a reader of {method!r} that the close ends gets {ended[0]!r}") from ended[0]
