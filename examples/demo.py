"""The main job, on a virtual board: switch it on through a relay, stop its bootloader, boot it, log in, run a command,
read the power, switch it off.

Everything but the board is what a lab uses: put your relay's commands and your console's device into the exporter file
below, and `drive()` works a board on your desk.
"""

from __future__ import annotations

import argparse
import codecs
import json
import os
import shlex
import sys
from typing import Any, TextIO

import pexpect
from jumpstarter.common.exceptions import JumpstarterException
from jumpstarter.common.utils import serve
from jumpstarter.config.exporter import ExporterConfigV1Alpha1
from jumpstarter_testing.board import BoardError, Fault, VirtualBoard

EXPORTER_FILE = """\
apiVersion: jumpstarter.dev/v1alpha1
kind: ExporterConfig
metadata:
  name: demo
export:
  power:
    type: jumpstarter_driver_power.driver.CommandPower
    config:
      power_on: {power_on}
      power_off: {power_off}
      power_read: {power_read}
  serial:
    type: jumpstarter_driver_serial.driver.Serial
    config:
      url: {console}
      baudrate: 115200
"""


def drive(client: Any, screen: Screen, timeout: float) -> None:
    """What a script or a test does with a board; `client` mirrors the exporter file: `power` and `serial`."""
    with client.serial.pexpect() as console:
        console.timeout = timeout
        console.logfile_read = screen

        screen.step("Switch the power on")
        client.power.on()
        try:
            screen.step("Stop the bootloader and ask for its version")
            console.expect_exact("stop autoboot")
            console.send(" ")
            console.expect_exact("=> ")
            console.send("version\r")
            console.expect(rb"\r\n(U-Boot [^\r]+)\r\n")
            bootloader = console.match[1].decode()
            console.expect_exact("=> ")

            screen.step("Boot and log in")
            console.send("boot\r")
            console.expect_exact("login: ")
            console.send("root\r")
            console.expect_exact("Password: ")
            console.send("jumpstarter\r")
            console.expect_exact("# ")

            screen.step("Run a command and read the power")
            console.send("uname -a\r")
            console.expect(rb"\r\n(Linux [^\r]+)\r\n")
            system = console.match[1].decode()
            console.expect_exact("# ")
            [reading] = client.power.read()
        finally:
            screen.step("Switch the power off")
            client.power.off()

    screen.note(f"bootloader  {bootloader}")
    screen.note(f"system      {system}")
    screen.note(f"power       {reading.voltage:.2f} V, {reading.current:.2f} A")


def main() -> int:
    options = parse_arguments()
    screen = Screen(sys.stdout)
    try:
        with VirtualBoard(countdown=3, boot_delay=0.3, line_delay=0.03, faults=options.fault) as board:
            values = {name: shlex.join(command) for name, command in board.power_commands.items()}
            text = EXPORTER_FILE.format(**{k: json.dumps(v) for k, v in {**values, "console": board.console}.items()})
            screen.step("Serve the drivers of an exporter file")
            screen.note(text)
            with serve(ExporterConfigV1Alpha1.load_text(text).build()) as client:
                drive(client, screen, options.timeout)
    except pexpect.TIMEOUT:
        return screen.fail(f"the board did not answer within {options.timeout:g} s; its last words are above")
    except pexpect.EOF:
        return screen.fail("the console was closed; the board's last words are above")
    except (BoardError, JumpstarterException, OSError) as e:
        return screen.fail(str(e))
    except KeyboardInterrupt:
        return screen.fail("interrupted")
    return 0


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Drive a virtual board from relay to login shell.")
    parser.add_argument(
        "--fault", action="append", default=[], choices=[str(fault) for fault in Fault], help="give the board a fault"
    )
    parser.add_argument("--timeout", type=float, default=10, help="seconds to wait for each answer (default: 10)")
    return parser.parse_args()


class Screen:
    """Shows headings, notes, and between them the bytes of the console as they come."""

    def __init__(self, out: TextIO) -> None:
        plain = not out.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
        self._bold, self._dim, self._end = ("", "", "") if plain else ("\033[1;36m", "\033[2m", "\033[0m")
        self._out = out
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._at_line_start = True

    def step(self, text: str) -> None:
        self._end_line()
        self._put(f"\n{self._bold}== {text}{self._end}\n")

    def note(self, text: str) -> None:
        self._end_line()
        self._put("".join(f"   {line}\n" for line in text.splitlines()))

    def fail(self, text: str) -> int:
        self._end_line()
        print(f"demo: {text}", file=sys.stderr)
        return 1

    def write(self, data: bytes) -> None:
        """Takes console output; pexpect calls it."""
        for piece in self._decoder.decode(data).replace("\r", "").splitlines(keepends=True):
            gutter = f"{self._dim} | {self._end}" if self._at_line_start else ""
            self._put(gutter + piece)
            self._at_line_start = piece.endswith("\n")

    def flush(self) -> None:
        self._out.flush()

    def _end_line(self) -> None:
        if not self._at_line_start:
            self._put("\n")
        self._at_line_start = True

    def _put(self, text: str) -> None:
        self._out.write(text)
        self._out.flush()


if __name__ == "__main__":
    sys.exit(main())
