"""Do to the exporter at JUMPSTARTER_HOST what a client can do; prints {what: outcome}. Runs on 0.9.0 and on ours."""

import gzip
import json
import logging

import anyio
from jumpstarter.common.utils import env
from jumpstarter.streams.common import create_memory_stream
from under_test import ERRORS, VALUES

outcomes = {}


def note(what, action):
    try:
        outcomes[what] = ["ok", describe(action())]
    except anyio.EndOfStream:
        outcomes[what] = ["end"]
    except Exception as error:
        bases = [cls.__name__ for cls in type(error).__mro__]
        outcomes[what] = ["error", bases, str(error)]


def describe(value):
    if isinstance(value, (list, tuple)):
        return [type(value).__name__, [describe(item) for item in value]]
    if isinstance(value, dict):
        return ["dict", {key: describe(item) for key, item in value.items()}]
    return [type(value).__name__, value.hex() if isinstance(value, bytes) else repr(value)]


class Records(logging.Handler):
    def __init__(self):
        super().__init__()
        self.seen = anyio.Event()
        self.lines = []

    def emit(self, record):
        if record.name == "exporter:driver":
            self.lines.append(record.getMessage())


async def upload(client, data, encoding):
    near, far = create_memory_stream()

    async def feed():
        for start in range(0, len(data), 50_000):
            await far.send(data[start : start + 50_000])
        await far.send_eof()

    async with anyio.create_task_group() as group:
        group.start_soon(feed)
        async with client.resource_async(near, encoding) as handle:
            result = await client.call_async("swallow", handle)
    return result


def talk(client):
    with client.stream("connect") as stream:
        stream.send(b"hello")
        heard = stream.receive()
    return heard


async def half_close(client):
    async with client.stream_async("connect") as stream:
        await stream.send(b"last words")
        heard = await stream.receive()
        await stream.send_eof()
        while True:
            try:
                heard += await stream.receive()
            except anyio.EndOfStream:
                return heard


def broken_out(client):
    for number in client.streamingcall("count", 10**9):
        if number >= 3:
            break
    return client.call("echo", "alive")


def main():
    logging.getLogger("exporter:driver").setLevel(logging.INFO)
    records = Records()
    logging.getLogger().addHandler(records)
    with env() as root:
        board = root.children["board"]
        note("children", lambda: sorted(root.children))
        for name, value in VALUES.items():
            note(f"argument {name}", lambda value=value: board.call("echo", value))
            note(f"result {name}", lambda name=name: board.call("give", name))
        for error in ERRORS:
            note(f"error {error.__name__}", lambda error=error: board.call("fail", error.__name__))
        note("async", lambda: board.call("echo_async", "x"))
        note("absent", lambda: board.call("absent"))
        note("items", lambda: list(board.streamingcall("count", 5)))
        note("failing items", lambda: list(board.streamingcall("count_then_fail", 3)))
        note("broken out", lambda: broken_out(board))
        note("stream", lambda: talk(board))
        note("stream again", lambda: talk(board))
        note("half close", lambda: board.portal.call(half_close, board))
        note("proxy", lambda: root.children["again"].call("echo", "through"))
        for encoding in (None, "gzip"):
            data = bytes(range(256)) * 4000
            packed = gzip.compress(data) if encoding else data
            note(
                f"upload {encoding}",
                lambda packed=packed, encoding=encoding: board.portal.call(upload, board, packed, encoding),
            )
        note("status", lambda: str(board.portal.call(board.get_status_async)))
        note("end session", lambda: board.portal.call(board.end_session_async))
        with board.log_stream():
            board.call("say", "a line of log")
            board.portal.call(_wait_for, records)
        note("log", lambda: records.lines)
    print(json.dumps(outcomes))


async def _wait_for(records):
    with anyio.move_on_after(5):
        while not records.lines:
            await anyio.sleep(0.02)


main()
