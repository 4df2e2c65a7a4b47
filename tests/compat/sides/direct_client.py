"""A short session with the exporter at JUMPSTARTER_HOST, ended as a shell does; prints {what: outcome}. Runs on 0.9.0
and on ours.
"""

import json
import logging

import anyio
from jumpstarter.common.utils import env


class Records(logging.Handler):
    def __init__(self):
        super().__init__()
        self.lines = []

    def emit(self, record):
        if record.name == "exporter:driver":
            self.lines.append(record.getMessage())


async def wait_for(records):
    with anyio.move_on_after(5):
        while not records.lines:
            await anyio.sleep(0.02)


def session(records):
    with env() as root:
        board = root.children["board"]
        with board.log_stream():
            outcomes = {
                "call": board.call("echo", "hello"),
                "items": list(board.streamingcall("count", 3)),
                "status": str(board.portal.call(board.get_status_async)),
            }
            with board.stream("connect") as stream:
                stream.send(b"bytes")
                outcomes["stream"] = stream.receive().decode()
            board.call("say", "a line of log")
            board.portal.call(wait_for, records)
            outcomes["end"] = board.portal.call(board.end_session_async)
        return outcomes | {"log": records.lines}


def main():
    logging.getLogger("exporter:driver").setLevel(logging.INFO)
    records = Records()
    logging.getLogger().addHandler(records)
    try:
        outcomes = session(records)
    except Exception as error:
        outcomes = {"error": str(error)}
    print(json.dumps(outcomes))


main()
