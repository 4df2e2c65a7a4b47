"""`jmp driver list` and `show`, over installed packages, broken ones among them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
import yaml
from jumpstarter.config.exporter import ExporterConfigV1Alpha1
from jumpstarter_cli.driver.annotations import type_text
from jumpstarter_cli.driver.describe import describe
from jumpstarter_cli.driver.docs import parse_docstring
from jumpstarter_cli.driver.example import entry_name, example

Run = Callable[..., subprocess.CompletedProcess[str]]

OURS = sorted(
    point.name
    for point in entry_points(group="jumpstarter.drivers")
    if point.dist is not None and point.dist.version == "0.9.0+1"
)

LAB = '''
"""Drivers as other people write them."""
from __future__ import annotations
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Annotated, Literal
import pydantic.dataclasses
from pydantic import Field
from jumpstarter.driver import Driver, export, exportstream

print("a library greets its users")

class Lab(Driver):
    @classmethod
    def client(cls):
        return "lab_client.LabClient"

@dataclass(kw_only=True)
class Supply(Lab):
    """A bench supply.

    Args:
        port (str): where it is plugged in,
            with its full path
        limits: volts and
            amperes

    Keep it cool.
    """

    port: str
    limits: dict[str, float] = field(default_factory=dict)
    mode: Literal["cc", "cv"] = "cv"
    """How it regulates."""
    channel: Annotated[int, Field(description="Which output.")] = 1
    slot: int = field(default=0, metadata={"description": "Where in the rack."})
    secret: object = field(default_factory=object)
    _open: bool = field(init=False, default=False)

    @export
    def set(self, volts: float, *, ramp: float = 0.5) -> bool:
        """Set the output.

        Slowly."""
        return True

    @export
    async def watch(self, every: float = 1.5) -> AsyncGenerator[dict[str, float], None]:
        yield {}

    @exportstream
    @asynccontextmanager
    async def connect(self) -> AsyncGenerator[None]:
        """Raw bytes."""
        yield

    def not_exported(self) -> None: ...

class Rack(Supply):
    def __init__(self, slots: int, **kwargs):
        super().__init__(**kwargs)

@pydantic.dataclasses.dataclass(kw_only=True)
class Probe(Lab):
    speed: int = Field(ge=3, description="In kHz.")
    chips: list[str] = Field(default_factory=list)

class Speechless(Driver):
    @classmethod
    def client(cls):
        raise LookupError("no idea")
'''


@pytest.fixture
def site(tmp_path: Path) -> str:
    """A directory for PYTHONPATH with packages as pip leaves them: one that works and some that do not."""

    def install(package: str, source: str, **entries: str) -> None:
        info = tmp_path / "site" / f"{package}-2.0.dist-info"
        info.mkdir(parents=True)
        info.joinpath("METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 2.0\n")
        lines = [f"{name} = {module}" for name, module in entries.items()]
        info.joinpath("entry_points.txt").write_text("\n".join(["[jumpstarter.drivers]", *lines]))
        (info.parent / f"{package}_driver.py").write_text(source)

    install(
        "lab",
        LAB,
        Supply="lab_driver:Supply",
        Rack="lab_driver:Rack",
        Probe="lab_driver:Probe",
        Mute="lab_driver:Speechless",
    )
    install("broken", "raise OSError('no such bus')", Broken="broken_driver:Driver")
    install("leaving", "import sys; sys.exit('not here')", Leaving="leaving_driver:Driver")
    install("empty", "", Missing="empty_driver:Driver", NoDriver="empty_driver:__name__")
    install("twin", LAB, Probe="twin_driver:Probe")
    return str(tmp_path / "site")


def test_what_is_installed(jmp: Run) -> None:
    done = jmp("driver", "list", "-o", "json")
    assert (done.returncode, done.stderr) == (0, "")
    rows = {row["name"]: row for row in json.loads(done.stdout)}
    assert rows["MockPower"] == {
        "name": "MockPower",
        "type": "jumpstarter_driver_power.driver.MockPower",
        "package": "jumpstarter-driver-power",
        "version": "0.9.0+1",
        "client": "jumpstarter_driver_power.client.PowerClient",
    }
    assert yaml.safe_load(jmp("driver", "list", "-o", "yaml").stdout) == list(rows.values())
    assert jmp("driver", "ls", "-o", "name").stdout.split() == list(rows)
    table = [line.split() for line in jmp("driver", "list").stdout.splitlines()]
    assert table[0] == ["NAME", "TYPE", "PACKAGE", "VERSION", "CLIENT"]
    assert table[1:] == [list(row.values()) for row in rows.values()]


def test_broken_drivers_are_listed_with_the_reason(jmp: Run, site: str) -> None:
    done = jmp("driver", "list", "-o", "json", PYTHONPATH=site)
    assert done.returncode == 0
    assert "a library greets its users" in done.stderr
    rows = {(row["name"], row["package"]): row for row in json.loads(done.stdout)}
    assert rows["Supply", "lab"]["client"] == "lab_client.LabClient"
    reasons = {
        ("Broken", "broken"): "OSError (Caused by: no such bus)",
        ("Leaving", "leaving"): "SystemExit (Caused by: not here)",
        ("Missing", "empty"): "has no attribute 'Driver'",
        ("NoDriver", "empty"): "not a driver class",
        ("Mute", "lab"): "Speechless.client() failed: LookupError (Caused by: no idea)",
        ("Probe", "lab"): "is offered by lab 2.0 (lab_driver:Probe) and twin 2.0 (twin_driver:Probe)",
        ("Probe", "twin"): "uninstall one",
    }
    for key, reason in reasons.items():
        assert reason in rows[key]["error"]
        assert "client" not in rows[key]
    table = jmp("driver", "list", PYTHONPATH=site).stdout.splitlines()
    [broken] = [line for line in table if line.startswith("Broken")]
    assert "broken: " in broken
    assert "no such bus" in broken


def test_a_driver_is_shown(jmp: Run, site: str) -> None:
    done = jmp("driver", "show", "Supply", PYTHONPATH=site)
    assert done.returncode == 0, done.stderr
    assert (
        done.stdout
        == """\
Supply
  A bench supply.

  Keep it cool.

type:    lab_driver.Supply
package: lab 2.0
client:  lab_client.LabClient

Calls:
  set(volts: float, *, ramp: float = 0.5) -> bool
      Set the output.

      Slowly.

Streaming calls:
  watch(every: float = 1.5) -> AsyncGenerator[dict[str, float], None]

Streams:
  connect
      Raw bytes.

Configuration:
  port: str (required)
      where it is plugged in, with its full path
  limits: dict[str, float] (default {})
      volts and amperes
  mode: 'cc' | 'cv' (default cv)
      How it regulates.
  channel: int (default 1)
      Which output.
  slot: int (default 0)
      Where in the rack.
  secret: any

Configuration of every driver:
  uuid: UUID
      Identifies the driver; a new one by default.
  labels: dict[str, str] (default {})
      Labels that clients see.
  log_level: str (default INFO)
      Of the driver's log records: DEBUG, INFO, WARNING, ERROR or CRITICAL.

In an exporter's file:
  export:
    supply:
      type: Supply
      config:
        port: '...'  # required: str
        # limits: {}
        # mode: cv
        # channel: 1
        # slot: 0
        # secret: ...
"""
    )


def test_the_same_for_programs(jmp: Run, site: str) -> None:
    shown = json.loads(jmp("driver", "show", "lab_driver.Rack", "-o", "json", PYTHONPATH=site).stdout)
    assert (shown["name"], shown["package"], shown["version"]) == ("lab_driver.Rack", "lab", "2.0")
    assert shown["takes_other_keys"] is True
    assert [one["name"] for one in shown["configuration"]] == ["slots"]
    assert [(one["name"], one["kind"]) for one in shown["exports"]] == [
        ("set", "call"),
        ("watch", "streaming call"),
        ("connect", "stream"),
    ]
    probe = yaml.safe_load(jmp("driver", "show", "lab_driver.Probe", "-o", "yaml", PYTHONPATH=site).stdout)
    assert probe["configuration"][:2] == [
        {"name": "speed", "type": "int", "required": True, "description": "In kHz."},
        {"name": "chips", "type": "list[str]", "required": False, "default": [], "description": ""},
    ]
    assert yaml.safe_load(probe["example"])["export"]["probe"]["config"] == {"speed": 3}


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("Mockpwer", "did you mean MockPower"),
        ("SDWire", "pip install jumpstarter-driver-sdwire"),
        ("jumpstarter_driver_power.driver.MockPowr", "did you mean MockPower"),
        ("jumpstarter_driver_zigbee.driver.Hub", "pip install jumpstarter-driver-zigbee"),
        ("os.path", "not a driver class"),
        ("", "expected an installed driver"),
        (".", "expected an installed driver"),
    ],
)
def test_unknown_names(jmp: Run, name: str, hint: str) -> None:
    done = jmp("driver", "show", name)
    assert (done.returncode, done.stdout) == (1, "")
    assert hint in done.stderr
    assert "Traceback" not in done.stderr


def test_log_records_as_told(jmp: Run) -> None:
    assert jmp("driver", "--log-level", "error", "list").returncode == 0
    assert jmp("driver", "--log-level", "loud", "list").returncode == 2


def test_the_version(jmp: Run) -> None:
    assert jmp("driver", "version").stdout == jmp("version").stdout
    assert "0.9.0+1" in jmp("driver", "v", "-o", "json").stdout


@pytest.mark.parametrize("name", OURS)
def test_our_drivers_are_documented_and_their_examples_are_sound(name: str) -> None:
    driver = describe(name)
    assert driver.description
    assert [setting.name for setting in driver.settings if not setting.description] == []
    assert [setting.name for setting in driver.settings if setting.type == "any"] == []
    assert [one.name for one in driver.exports if not one.description] == []
    ExporterConfigV1Alpha1.load_text(f"metadata: {{name: a}}\n{example(driver)}\n").check()


def test_our_drivers_are_there() -> None:
    assert {"MockPower", "Serial", "TcpNetwork", "Composite"} <= set(OURS)


@pytest.mark.parametrize(
    ("doc", "text", "settings"),
    [
        ("Text.", "Text.", {}),
        (
            "Text.\n\n`a`: one\n`b`, `c`: two\nmore\n\nEnd.",
            "Text.\n\nEnd.",
            {"a": "one", "b": "two more", "c": "two more"},
        ),
        ("Text. `a`: one. `b`: two.", "Text.", {"a": "one.", "b": "two."}),
        (":param a: one\n:param b: two", "", {"a": "one", "b": "two"}),
        ("Note: not a setting\na: one", "Note: not a setting", {"a": "one"}),
        ("It reads `a`: this is prose about it", "It reads `a`: this is prose about it", {}),
        ("a and b: both", "", {"a": "both", "b": "both"}),
    ],
)
def test_docstrings(doc: str, text: str, settings: dict[str, str]) -> None:
    assert parse_docstring(doc, ["a", "b", "c"]) == (text, settings)


@pytest.mark.parametrize(
    ("annotation", "text"),
    [
        (int, "int"),
        (int | None, "int | None"),
        (dict[str, list[int]], "dict[str, list[int]]"),
        (Any, "any"),
        ("collections.abc.Generator[a.b.C, None, None]", "Generator[C, None, None]"),
        ("Literal['a.b']", "Literal['a.b']"),
        (Path, "Path"),
        (Callable[..., None], "Callable[..., None]"),
    ],
)
def test_annotations(annotation: Any, text: str) -> None:
    assert type_text(annotation) == text


@pytest.mark.parametrize(
    ("name", "entry"), [("SerialRelay", "serial_relay"), ("TcpNetwork", "tcp_network"), ("USBHub2", "usb_hub2")]
)
def test_entry_names(name: str, entry: str) -> None:
    assert entry_name(name) == entry
