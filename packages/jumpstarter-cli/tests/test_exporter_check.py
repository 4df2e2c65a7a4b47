"""`jmp exporter check`: mistakes in the file, and drivers that do not start, hang, crash or do not answer."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from jumpstarter_testing.eventually import eventually

Run = Callable[..., subprocess.CompletedProcess[str]]

LAB = """
import os, signal, subprocess, sys, time
from dataclasses import dataclass, field
from pathlib import Path
from jumpstarter.driver import Driver, export

BOOK = Path(__file__).with_name("book")

def note(what):
    with BOOK.open("a") as book:
        book.write(what + "\\n")

@dataclass(kw_only=True)
class Lab(Driver):
    tag: str = "x"

    @classmethod
    def client(cls):
        return "jumpstarter.client.DriverClient"

    def __post_init__(self):
        super().__post_init__()
        note(f"made {self.tag} in {os.getpid()}")

    def close(self):
        super().close()
        note(f"closed {self.tag}")

class Plain(Lab):
    @export
    def on(self) -> None:
        note("switched on")

class Answers(Plain):
    @export
    def probe(self) -> dict:
        print("thinking about it")
        return {"firmware": 2}

class Silent(Lab):
    @export
    def probe(self) -> None:
        raise ConnectionError("the board says nothing")

class NotExported(Lab):
    def probe(self):
        note("called what is not exported")

class Fails(Lab):
    def __post_init__(self):
        raise OSError("no such board")

class HangsMaking(Lab):
    def __post_init__(self):
        super().__post_init__()
        note(f"started {subprocess.Popen(['sleep', '600']).pid}")
        time.sleep(600)

class HangsInReset(Lab):
    def reset(self):
        time.sleep(600)

class HangsInProbe(Lab):
    @export
    def probe(self) -> None:
        time.sleep(600)

class HangsInClose(Lab):
    def close(self):
        time.sleep(600)

class IgnoresSignals(Lab):
    def __post_init__(self):
        super().__post_init__()
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        time.sleep(600)

class FailsInReset(Lab):
    def reset(self):
        raise ValueError("cannot be reset")

class FailsInClose(Lab):
    def close(self):
        raise OSError("still busy")

class Crashes(Lab):
    def __post_init__(self):
        os.kill(os.getpid(), signal.SIGSEGV)

class Exits(Lab):
    def __post_init__(self):
        os._exit(3)

class TellsNoClient(Lab):
    @classmethod
    def client(cls):
        raise LookupError("which one?")

class NeedsPower(Lab):
    def __post_init__(self):
        super().__post_init__()
        note(f"{self.tag} has {sorted(self.children)}")
        if "power" not in self.children:
            raise LookupError("needs a child named power")
"""


class Lab:
    """A directory with drivers, an exporter's file, and the drivers' notes on what was done with them."""

    def __init__(self, directory: Path, jmp: Run) -> None:
        directory.joinpath("lab.py").write_text(LAB)
        self.directory = directory
        self._jmp = jmp

    def write(self, entries: str) -> Path:
        path = self.directory / "lab.yaml"
        path.write_text(f"metadata: {{name: lab}}\nexport:\n{entries}")
        return path

    def check(self, entries: str, *options: str) -> subprocess.CompletedProcess[str]:
        path = self.write(entries)
        return self._jmp("exporter", "check", path.name, *options, PYTHONPATH=str(self.directory))

    def probe(self, entries: str, *options: str) -> tuple[int, dict[str, dict[str, Any]]]:
        """The exit code, and what is told of each entry."""
        done = self.check(entries, "--probe", "-o", "json", *options)
        assert "Traceback" not in done.stderr
        return done.returncode, {row["path"]: row for row in json.loads(done.stdout)}

    @property
    def book(self) -> list[str]:
        path = self.directory / "book"
        return path.read_text().splitlines() if path.exists() else []

    def pids(self, what: str) -> list[int]:
        return [int(line.split()[-1]) for line in self.book if line.startswith(what)]


@pytest.fixture
def lab(tmp_path: Path, jmp: Run) -> Lab:
    return Lab(tmp_path, jmp)


def gone(pids: list[int]) -> None:
    alive = [pid for pid in pids if psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE]
    assert alive == []


def test_a_sound_file(lab: Lab) -> None:
    done = lab.check("  power: {type: MockPower}\n  board: {type: lab.Plain}\n")
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == "lab.yaml: no mistakes found\n"
    assert lab.book == []


def test_all_mistakes_at_once(lab: Lab) -> None:
    done = lab.check("  a: {type: MockPowr}\n  b: {type: TcpNetwork, config: {hots: x, port: many}}\n  c: {ref: d}\n")
    assert done.returncode == 1
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert len(lines) == 5
    assert "lab.yaml:3:7: export.a.type: Driver 'MockPowr' is not installed" in lines[0]
    assert [line.split(": ")[1] for line in lines[1:]] == [
        "export.b.config.host",
        "export.b.config.hots",
        "export.b.config.port",
        "export.c.ref",
    ]


def test_files_by_alias(lab: Lab, jmp: Run) -> None:
    home = lab.directory / ".config" / "jumpstarter" / "exporters"
    home.mkdir(parents=True)
    lab.write("  power: {type: MockPower}\n").rename(home / "bench.yaml")
    done = jmp("exporter", "check", "--exporter", "bench")
    assert (done.returncode, done.stderr) == (0, f"{home}/bench.yaml: no mistakes found\n")
    assert jmp("exporter", "check", "--exporter", "bnech").returncode == 1
    assert jmp("exporter", "check").returncode == 2
    assert jmp("exporter", "check", "x.yaml", "--exporter", "bench").returncode == 2


def test_a_file_that_is_not_there(jmp: Run) -> None:
    done = jmp("exporter", "check", "absent.yaml")
    assert done.returncode == 1
    assert "absent.yaml" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "inf", "1e300", "soon"])
def test_times_that_are_none(lab: Lab, seconds: str) -> None:
    done = lab.check("  power: {type: MockPower}\n", "--probe", "--timeout", seconds)
    assert (done.returncode, "Invalid value for '--timeout'" in done.stderr) == (2, True)


def test_no_file_at_all(jmp: Run) -> None:
    done = jmp("exporter", "check", "")
    assert (done.returncode, "expected a path, this is empty" in done.stderr) == (2, True)


def test_names_with_dots(lab: Lab) -> None:
    code, rows = lab.probe("""\
  v1.2: {type: lab.Answers}
  board.two: {children: {power.main: {type: lab.Plain}}}
  last: {type: lab.Plain}
  again.last: {ref: last}
""")
    assert code == 0
    assert {path: row["status"] for path, row in rows.items()} == {
        "v1.2": "ok",
        "board.two": "group",
        "board.two.power.main": "ok",
        "last": "ok",
        "again.last": "ok",
    }


@pytest.mark.parametrize("options", [[], ["--probe"]])
def test_a_driver_that_cannot_tell_its_client(lab: Lab, options: list[str]) -> None:
    done = lab.check("  silent: {type: lab.TellsNoClient}\n  power: {type: MockPower}\n", *options)
    assert done.returncode == 1
    assert "TellsNoClient.client() failed: LookupError" in done.stdout
    assert done.stderr.endswith("lab.yaml: 1 of 2 failed\n")


def test_closed_standard_streams(lab: Lab) -> None:
    lab.write("  power: {type: MockPower}\n")
    script = '"$0" exporter check --probe lab.yaml <&- >&- 2>&-; echo $?'
    command = ["sh", "-c", script, str(Path(sys.executable).with_name("jmp"))]
    done = subprocess.run(command, cwd=lab.directory, capture_output=True, text=True, timeout=60, check=True)
    assert (done.stdout, done.stderr) == ("0\n", "")


def test_quiet(lab: Lab, jmp: Run) -> None:
    lab.write("  power: {type: MockPower}\n")
    done = jmp("--quiet", "exporter", "check", "lab.yaml")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_listing_without_probes(lab: Lab) -> None:
    done = lab.check("  board: {children: {power: {type: MockPower}}}\n", "-o", "json")
    [board, power] = json.loads(done.stdout)
    assert board == {"path": "board", "type": "(group)", "client": None, "status": "group"}
    assert (power["path"], power["status"]) == ("board.power", "not probed")


def test_what_modules_print_is_no_result(lab: Lab) -> None:
    (lab.directory / "chatty.py").write_text("print('hello')\nfrom lab import Plain\n")
    done = lab.check("  power: {type: chatty.Plain}\n", "--probe", "-o", "json")
    assert [row["status"] for row in json.loads(done.stdout)] == ["ok"]
    assert "hello" in done.stderr


def test_every_driver_answers(lab: Lab) -> None:
    done = lab.check(
        "  first: {type: lab.Answers, config: {tag: first}}\n"
        "  group:\n    children:\n      second: {type: lab.Plain, config: {tag: second}}\n"
        "  same: {ref: group.second}\n",
        "--probe",
    )
    assert done.returncode == 0
    assert [line.split() for line in done.stdout.splitlines()] == [
        ["NAME", "TYPE", "CLIENT", "STATUS", "DETAIL"],
        ["first", "lab.Answers", "jumpstarter.client.DriverClient", "ok", "{'firmware':", "2}"],
        ["group", "(group)", "group"],
        ["second", "lab.Plain", "jumpstarter.client.DriverClient", "ok"],
        ["same", "->", "group.second", "jumpstarter.client.DriverClient", "ok"],
    ]
    assert "every driver answers" in done.stderr
    assert sorted(line for line in lab.book if line.startswith("closed")) == ["closed first", "closed second"]
    assert "switched on" not in lab.book


def test_each_failure_is_told_and_keeps_no_other_driver_from_its_turn(lab: Lab) -> None:
    failures = {
        "Fails": "making the driver: OSError: no such board",
        "FailsInReset": "reset(): ValueError: cannot be reset",
        "Silent": "probe(): ConnectionError: the board says nothing",
        "FailsInClose": "close(): OSError: still busy",
        "Crashes": "making the driver: its process ended by SIGSEGV",
        "Exits": "making the driver: its process ended with exit code 3",
    }
    entries = "".join(f"  {name}: {{type: lab.{name}, config: {{tag: {name}}}}}\n" for name in failures)
    code, rows = lab.probe(f"{entries}  NotExported: {{type: lab.NotExported, config: {{tag: last}}}}\n")
    assert code == 1
    assert {name: row.get("detail") for name, row in rows.items()} == failures | {"NotExported": None}
    assert rows["NotExported"]["status"] == "ok"
    assert {row["status"] for name, row in rows.items() if name != "NotExported"} == {"error"}
    closed = [line for line in lab.book if line.startswith("closed")]
    assert sorted(closed) == ["closed FailsInReset", "closed Silent", "closed last"]
    assert "called what is not exported" not in lab.book


def test_what_hangs_is_told_and_ended_with_all_it_has_started(lab: Lab) -> None:
    hanging = {
        "HangsMaking": "making the driver: no end within 0.5 s",
        "HangsInReset": "reset(): no end within 0.5 s",
        "HangsInProbe": "probe(): no end within 0.5 s",
    }
    entries = "".join(f"  {name}: {{type: lab.{name}, config: {{tag: {name}}}}}\n" for name in hanging)
    code, rows = lab.probe(f"{entries}  good: {{type: lab.Plain}}\n", "--timeout", "0.5")
    assert code == 1
    assert {name: row.get("detail") for name, row in rows.items()} == hanging | {"good": None}
    assert {"closed HangsInReset", "closed HangsInProbe", "closed x"} <= set(lab.book)
    pids = [int(line.split()[-1]) for line in lab.book if line.startswith(("made", "started"))]
    assert len(pids) == 5
    eventually(lambda: gone(pids))


def test_what_does_not_even_end_on_a_signal_is_killed(lab: Lab) -> None:
    entries = "".join(f"  {name}: {{type: lab.{name}}}\n" for name in ("HangsInClose", "IgnoresSignals"))
    code, rows = lab.probe(entries, "--timeout", "0.5")
    assert code == 1
    assert rows["HangsInClose"]["detail"] == "close(): no end within 0.5 s"
    assert rows["IgnoresSignals"]["detail"] == "making the driver: no end within 0.5 s"
    eventually(lambda: gone(lab.pids("made")))


def test_drivers_with_drivers_below_them(lab: Lab) -> None:
    code, rows = lab.probe("""\
  board:
    children:
      bad: {type: lab.Fails}
      power: {type: lab.Answers}
      whole: {type: lab.NeedsPower, config: {tag: whole}, children: {power: {ref: board.power}}}
      half: {type: lab.NeedsPower, config: {tag: half}, children: {power: {type: lab.Fails}}}
  again: {ref: board.bad}
""")
    assert code == 1
    assert {path: row["status"] for path, row in rows.items()} == {
        "board": "group",
        "board.bad": "error",
        "board.power": "ok",
        "board.whole": "ok",
        "board.whole.power": "ok",
        "board.half": "skipped",
        "board.half.power": "error",
        "again": "error",
    }
    assert rows["board.half"]["detail"] == "not tried: board.half.power below it failed"
    assert rows["again"]["detail"] == "board.bad failed"
    assert "whole has ['power']" in lab.book
    assert not any(line.startswith("half") for line in lab.book)


def test_an_interrupt_ends_the_probe_and_closes_the_driver(lab: Lab) -> None:
    path = lab.write("  slow: {type: lab.HangsInProbe, config: {tag: slow}}\n")
    environment = {**os.environ, "PYTHONPATH": str(lab.directory)}
    command = [str(Path(sys.executable).with_name("jmp")), "exporter", "check", str(path), "--probe"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        eventually(lambda: lab.pids("made")[0], timeout=30)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=30)
    assert process.returncode == 2
    assert b"Traceback" not in told
    assert "closed slow" in lab.book
    eventually(lambda: gone(lab.pids("made")))


@pytest.fixture
def listening(tmp_path: Path) -> Iterator[dict[str, Any]]:
    """A TCP port and a Unix socket that take connections."""
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(tmp_path / "socket"))
        unix.listen()
        yield {"port": tcp.getsockname()[1], "path": str(tmp_path / "socket")}


def test_our_drivers_that_can_be_probed(lab: Lab, listening: dict[str, Any]) -> None:
    code, rows = lab.probe(f"""\
  tcp: {{type: TcpNetwork, config: {{host: 127.0.0.1, port: {listening["port"]}}}}}
  unix: {{type: UnixNetwork, config: {{path: {listening["path"]}}}}}
  relay: {{type: SerialRelay, config: {{port: "loop://"}}}}
  no-tcp: {{type: TcpNetwork, config: {{host: 127.0.0.1, port: 1}}}}
  no-unix: {{type: UnixNetwork, config: {{path: /nonexistent}}}}
  no-relay: {{type: SerialRelay, config: {{port: /dev/nonexistent}}}}
""")
    assert code == 1
    assert {name: row["status"] for name, row in rows.items()} == {
        "tcp": "ok",
        "unix": "ok",
        "relay": "ok",
        "no-tcp": "error",
        "no-unix": "error",
        "no-relay": "error",
    }
    assert "Connection refused" in rows["no-tcp"]["detail"]
    assert "/nonexistent" in rows["no-unix"]["detail"]
    assert "/dev/nonexistent cannot be opened" in rows["no-relay"]["detail"]
