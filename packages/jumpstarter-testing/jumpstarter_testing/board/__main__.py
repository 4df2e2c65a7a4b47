"""`python -m jumpstarter_testing.board`: run a virtual board, or work the power input of a running one."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from .control import REQUESTS, BoardError, request

_DESCRIPTION = """\
Without a command: runs a board (Linux only) until it is interrupted, and prints where its console and its control
socket are. It starts powered off; its power input is worked through the control socket with the command `power`."""


def main(arguments: Sequence[str] | None = None) -> int:
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        return _power(arguments[1:]) if arguments[:1] == ["power"] else _board(arguments)
    except (BoardError, OSError, ValueError) as e:
        print(f"error: {e}", file=sys.stderr)  # noqa: T201
        return 1


def _power(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m jumpstarter_testing.board power", allow_abbrev=False)
    parser.add_argument("request", choices=REQUESTS, help="`read` prints volts and amps, `state` where the board is")
    parser.add_argument("--socket", type=Path, required=True, help="control socket of the running board")
    options = parser.parse_args(arguments)
    answer = request(options.socket, options.request)
    if answer != "ok":
        print(answer)  # noqa: T201
    return 0


def _board(arguments: Sequence[str]) -> int:
    import asyncio
    import tempfile

    from .config import BoardConfig
    from .process import serve

    parser = argparse.ArgumentParser(
        prog="python -m jumpstarter_testing.board",
        description=_DESCRIPTION,
        epilog="Power: python -m jumpstarter_testing.board power {on,off,read,state} --socket PATH",
        allow_abbrev=False,
    )
    parser.add_argument("--console", type=Path, help="where to put the console device, a symbolic link")
    parser.add_argument("--socket", type=Path, help="where to put the control socket")
    parser.add_argument("--until-eof", action="store_true", help="also end at the end of standard input")
    BoardConfig.add_arguments(parser)
    options = parser.parse_args(arguments)
    config = BoardConfig.from_namespace(options)
    with tempfile.TemporaryDirectory(prefix="virtual-board-") as directory:
        console = options.console or Path(directory, "console")
        control = options.socket or Path(directory, "control")
        asyncio.run(serve(config, console=console, control=control, until_eof=options.until_eof))
    return 0


if __name__ == "__main__":
    sys.exit(main())
