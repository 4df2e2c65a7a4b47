"""`jmp driver schema` says of a file what the exporter says of it."""

from __future__ import annotations

import copy
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from jumpstarter.common.exceptions import ConfigurationError
from jumpstarter.config.exporter import ExporterConfigV1Alpha1
from jumpstarter_cli.driver.schema import config_schema, exporter_schema

Run = Callable[..., subprocess.CompletedProcess[str]]

# Refusals that no schema can tell: of values that the file only points at, and of texts that stand for numbers.
BEYOND = re.compile(
    "there is no entry|goes round in a circle|cannot be imported|is not installed. (Python finds|Its package|Module)|"
    "no program|exports no driver call|is a group, which has no methods|expected <path in the tree>|needs arguments|"
    "expected a PEM|not a driver class|expected some text|names of gRPC|at most 32 bits|only an interface"
)
RANGE = re.compile("expected (greater|less) than .*, got (str|bool)|finite number, got str")

SOUND: dict[str, Any] = {
    "apiVersion": "jumpstarter.dev/v1alpha1",
    "kind": "ExporterConfig",
    "metadata": {"namespace": "lab", "name": "bench"},
    "endpoint": "grpc.example.com:443",
    "tls": {"ca": "", "insecure": False},
    "token": "abc",
    "grpcOptions": {"grpc.keepalive_time_ms": 20000, "user": "me"},
    "description": "A bench",
    "motd": "Welcome",
    "export": {
        "power": {
            "type": "MockPower",
            "description": "The relay",
            "methods_description": {"on": "switch it on"},
            "config": {"log_level": "DEBUG", "labels": {"a": "b"}, "uuid": "12345678-1234-5678-1234-567812345678"},
        },
        "net": {"type": "TcpNetwork", "config": {"host": "h", "port": 80, "enable_address": True}},
        "relay": {
            "type": "jumpstarter_driver_power.relay.SerialRelay",
            "config": {"port": "loop://", "channel": 2, "normally_closed": False},
        },
        "command": {
            "type": "CommandPower",
            "config": {"power_on": ["a"], "power_off": "b", "timeout": 2.5, "env": {"A": "b"}, "power_read": None},
        },
        "board": {"description": "All", "children": {"same": {"ref": "power"}, "echo": {"type": "EchoNetwork"}}},
    },
    "hooks": {
        "beforeLease": {"script": "echo", "timeout": 5, "onFailure": "endLease", "exec": "/bin/sh"},
        "after_lease": {"script": "echo", "exec": None},
    },
    "failureDetection": {"maxRapidFailures": 2, "rapidFailureWindow": 60},
    "clientLost": {"run": ["power.off"], "grace": 2.5},
}


def without(*path: str) -> dict[str, Any]:
    return changed(*path, to=...)


def changed(*path: str, to: Any) -> dict[str, Any]:
    """SOUND with another value at a path, or none."""
    document = copy.deepcopy(SOUND)
    place: Any = document
    for key in path[:-1]:
        place = place[key]
    if to is ...:
        del place[path[-1]]
    else:
        place[path[-1]] = to
    return document


ACCEPTED: dict[str, dict[str, Any]] = {
    "everything": SOUND,
    "as little as can be": {"metadata": {"name": "a"}},
    "null where it is as nothing": {"metadata": {"name": "a", "namespace": None}, "endpoint": None, "token": None},
    "text for a number": changed("export", "net", "config", "port", to="8080"),
    "a whole float for an int": changed("export", "net", "config", "port", to=80.0),
    "text for a boolean": changed("export", "net", "config", "enable_address", to="yes"),
    "a number for a boolean": changed("export", "net", "config", "enable_address", to=1),
    "an int for a float": changed("export", "command", "config", "timeout", to=3),
    "a boolean for a number": changed("export", "command", "config", "timeout", to=True),
    "a uuid without hyphens": changed("export", "power", "config", "uuid", to="12345678123456781234567812345678"),
    "one of several types": changed("export", "command", "config", "power_on", to="text"),
    "a driver without config": changed("export", "power", to={"type": "MockPower"}),
    "a driver with children": changed("export", "power", "children", to={"x": {"type": "EchoNetwork"}}),
    "an import path": changed("export", "power", "type", to="jumpstarter_driver_power.mock.SyncMockPower"),
    "an empty group": changed("export", "board", to={"children": {}}),
    "null beside ref": changed("export", "board", "children", "same", to={"ref": "power", "type": None}),
    "null beside children": changed("export", "board", "type", to=None),
    "second names of keys": changed("failureDetection", to={"max_rapid_failures": 1}),
}
REFUSED: dict[str, dict[str, Any]] = {
    "no metadata": without("metadata"),
    "no name": without("metadata", "name"),
    "an unknown key": SOUND | {"endpont": "x"},
    "a key of programs": SOUND | {"alias": "x"},
    "an unknown key below": changed("tls", to={"insecur": True}),
    "another kind": SOUND | {"kind": "ClientConfig"},
    "a number for text": SOUND | {"token": 12345},
    "null for a mapping": SOUND | {"export": None},
    "a list for a mapping": SOUND | {"export": []},
    "text for an entry": changed("export", "power", to="MockPower"),
    "no text for a boolean": changed("tls", "insecure", to="maybe"),
    "an empty entry": changed("export", "power", to={}),
    "null for a type": changed("export", "power", "type", to=None),
    "a misspelt type": changed("export", "power", "type", to="MockPowr"),
    "a misspelt key of an entry": changed("export", "power", to={"typ": "MockPower"}),
    "ref beside type": changed("export", "board", "children", "same", "type", to="MockPower"),
    "ref beside config": changed("export", "board", "children", "same", "config", to={}),
    "config beside children": changed("export", "board", "config", to={}),
    "texts of methods beside children": changed("export", "board", "methods_description", to={}),
    "no text of a method": changed("export", "power", "methods_description", to={"on": 1}),
    "a setting that is missing": without("export", "net", "config", "host"),
    "all settings missing": without("export", "net", "config"),
    "an unknown setting": changed("export", "net", "config", "hots", to="x"),
    "description in config": changed("export", "power", "config", "description", to="x"),
    "a setting of the wrong type": changed("export", "net", "config", "port", to="many"),
    "a fraction for an int": changed("export", "net", "config", "port", to=80.5),
    "null for an int": changed("export", "net", "config", "port", to=None),
    "a list for text": changed("export", "net", "config", "host", to=["h"]),
    "numbers in a list of texts": changed("export", "command", "config", "power_on", to=[1]),
    "no uuid": changed("export", "power", "config", "uuid", to="me"),
    "an unknown setting, by import path": changed("export", "relay", "config", "speed", to=1),
    "a hook without script": without("hooks", "beforeLease", "script"),
    "an unknown key of a hook": changed("hooks", "beforeLease", "tiemout", to=1),
    "no time-out": changed("hooks", "beforeLease", "timeout", to=0),
    "another choice": changed("hooks", "beforeLease", "onFailure", to="never"),
    "an unknown hook": changed("hooks", to={"beforLease": {"script": "x"}}),
    "negative failures": changed("failureDetection", "maxRapidFailures", to=-1),
    "text for a list": changed("clientLost", "run", to="power.off"),
    "negative grace": changed("clientLost", "grace", to=-0.5),
}


class Validator:
    """Holds documents against a schema."""

    def __init__(self, schema: Any) -> None:
        Draft202012Validator.check_schema(schema)
        self.schema = schema
        self._validator = Draft202012Validator(schema)

    def complaints(self, document: Any) -> list[str]:
        return [f"{error.json_path}: {error.message}" for error in self._validator.iter_errors(document)]


@pytest.fixture(scope="module")
def validator() -> Validator:
    return Validator(exporter_schema())


def refusals(document: Any) -> list[str]:
    """What the exporter finds wrong with a file."""
    try:
        ExporterConfigV1Alpha1.load_text(yaml.safe_dump(document)).check()
    except ConfigurationError as error:
        return str(error).splitlines()
    return []


@pytest.mark.parametrize("name", ACCEPTED)
def test_files_that_the_exporter_takes(validator: Validator, name: str) -> None:
    assert refusals(ACCEPTED[name]) == []
    assert validator.complaints(ACCEPTED[name]) == []


@pytest.mark.parametrize("name", REFUSED)
def test_files_that_the_exporter_refuses(validator: Validator, name: str) -> None:
    assert refusals(REFUSED[name])
    assert validator.complaints(REFUSED[name])


texts = st.sampled_from(
    [
        *(
            "",
            " 8 ",
            "a",
            "8080",
            "1_000",
            "1.0",
            "1.5",
            "1e3",
            ".5",
            "5.",
            "-1",
            "+7",
            "0x10",
            "inf",
            "nan",
            "Infinity",
        ),
        *("yes", "ON", "oFF", "t", "F", "true", "no", "0", "1", "2", "null", "system", "warn", "MockPower", "power"),
        *("a.b", "12345678-1234-5678-1234-567812345678", "{12345678123456781234567812345678}", "WARN"),
    ]
)
keys = st.sampled_from(
    [
        *("type", "ref", "config", "children", "description", "methods_description", "name", "port", "host", "power"),
        *("x", "script", "timeout", "run", "grace", "insecure", "labels", "log_level", "resources", "before_lease"),
    ]
)
scalars = st.none() | st.booleans() | st.integers(-3, 70000) | st.floats(-2, 3, width=16) | texts
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(keys, inner, max_size=2))


@st.composite
def documents(draw: st.DrawFn) -> Any:
    """SOUND with one to three changes, anywhere: another value, a key more, a key less."""
    document: Any = copy.deepcopy(SOUND)
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.sampled_from([place for place in mappings(document) if place]))
        key = draw(st.sampled_from(sorted(place)))
        match draw(st.sampled_from(["change", "add", "remove"])):
            case "change":
                place[key] = draw(values)
            case "add":
                place[draw(keys)] = draw(values)
            case _:
                del place[key]
    return document


def mappings(value: Any) -> Iterator[dict[str, Any]]:
    """All mappings in a document."""
    if isinstance(value, dict):
        yield value
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from mappings(inner)


@given(document=documents())
def test_any_file(validator: Validator, document: Any) -> None:
    found = refusals(document)
    complaints = validator.complaints(document)
    if not found:
        assert complaints == []
    elif not all(BEYOND.search(line) or RANGE.search(line) for line in found):
        assert complaints, found


ODD_DRIVERS = """
from __future__ import annotations
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from enum import Enum, IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal
from pydantic import BaseModel, BeforeValidator, Field
import pydantic.dataclasses
from jumpstarter.driver import Driver
if TYPE_CHECKING:
    from absent import Absent

class Mode(Enum):
    FAST = "fast"
    SLOW = "slow"

class Level(IntEnum):
    LOW = 1

class Pin(BaseModel):
    number: int = Field(ge=0)
    alias: str = Field(default="x", validation_alias="as")

class Handle:
    pass

class Lab(Driver):
    @classmethod
    def client(cls):
        return "jumpstarter.client.DriverClient"

@dataclass(kw_only=True)
class Odd(Lab):
    mode: Mode = Mode.SLOW
    level: Level = Level.LOW
    path: Path = Path("/x")
    pins: list[Pin] = ()
    table: dict[int, Pin] = None
    pair: tuple[int, str] = (1, "a")
    names: set[str] = ()
    wait: timedelta = timedelta(seconds=1)
    day: date | None = None
    price: Decimal = Decimal(1)
    handle: Handle | None = None
    callback: Callable[[], None] | None = None
    absent: Absent | None = None
    loose: Any = None
    size: Annotated[int, BeforeValidator(lambda value: len(value) if isinstance(value, list) else value)] = 1
    choice: Literal[1, "a"] = 1

@pydantic.dataclasses.dataclass(kw_only=True)
class Bounded(Lab):
    speed: int = Field(ge=1, le=5, description="how fast")
    chip: str = Field(default="none", alias="target", pattern="^[a-z]+$")

class Free(Lab):
    def __init__(self, size: int, **kwargs):
        super().__init__(**kwargs)
"""


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Validator]]:
    """Drivers with settings of all kinds, and the schemas of their `config`."""
    module = ModuleType("odd_drivers")
    module.__file__ = str(tmp_path_factory.mktemp("odd") / "odd_drivers.py")
    sys.modules["odd_drivers"] = module
    exec(compile(ODD_DRIVERS, "odd_drivers", "exec"), vars(module))
    yield {name: Validator(config_schema(f"odd_drivers.{name}")) for name in ("Odd", "Bounded", "Free")}
    del sys.modules["odd_drivers"]


@pytest.mark.parametrize(
    ("driver", "config"),
    [
        ("Odd", {"mode": "fast"}),
        ("Odd", {"mode": "quick"}),
        ("Odd", {"level": 1}),
        ("Odd", {"level": 2}),
        ("Odd", {"path": "/a"}),
        ("Odd", {"path": 5}),
        ("Odd", {"pins": [{"number": 1, "as": "a"}]}),
        ("Odd", {"pins": [{"number": "x"}]}),
        ("Odd", {"pins": [{"number": -1}]}),
        ("Odd", {"pins": {"number": 1}}),
        ("Odd", {"table": {"1": {"number": 1}}}),
        ("Odd", {"table": {"1": 5}}),
        ("Odd", {"pair": [1, "a"]}),
        ("Odd", {"pair": [1]}),
        ("Odd", {"pair": ["x", "a"]}),
        ("Odd", {"names": ["a", "a"]}),
        ("Odd", {"names": [1]}),
        ("Odd", {"wait": 5}),
        ("Odd", {"wait": "PT5S"}),
        ("Odd", {"wait": []}),
        ("Odd", {"day": "2020-02-03"}),
        ("Odd", {"day": {}}),
        ("Odd", {"price": "1.5"}),
        ("Odd", {"price": []}),
        ("Odd", {"handle": None}),
        ("Odd", {"handle": "x"}),
        ("Odd", {"absent": "anything"}),
        ("Odd", {"loose": [{}]}),
        ("Odd", {"size": [1, 2]}),
        ("Odd", {"choice": "a"}),
        ("Odd", {"choice": "b"}),
        ("Odd", {"unknown": 1}),
        ("Odd", {"children": {}}),
        ("Bounded", {"speed": 1, "target": "stm"}),
        ("Bounded", {"speed": 0}),
        ("Bounded", {"speed": 6}),
        ("Bounded", {"speed": 1, "chip": "stm"}),
        ("Bounded", {"speed": 1, "target": "STM"}),
        ("Bounded", {}),
        ("Free", {"size": 1, "whatever": [1]}),
        ("Free", {"size": "x"}),
        ("Free", {"size": 1, "children": {}}),
        ("Free", {"whatever": 1}),
    ],
    ids=str,
)
def test_settings_of_all_kinds(odd: dict[str, Validator], driver: str, config: dict[str, Any]) -> None:
    document = {
        "metadata": {"name": "a"},
        "export": {"x": {"type": f"odd_drivers.{driver}", "config": config}},
    }
    assert (odd[driver].complaints(config) == []) is (refusals(document) == [])


def test_what_an_editor_shows(validator: Validator) -> None:
    schema = validator.schema
    config = schema["$defs"]["SerialRelay.config"]
    assert config["properties"]["channel"]["default"] == 1
    assert config["properties"]["channel"]["description"] == "1 to 255."
    assert config["required"] == ["port"]
    entry = schema["$defs"]["ExporterConfigV1Alpha1DriverInstance"]["properties"]
    names = entry["type"]["anyOf"][0]
    assert "SerialRelay" in names["enum"]
    assert len(names["enum"]) == len(names["enumDescriptions"])


def test_every_key_is_explained(validator: Validator) -> None:
    definitions = {"the file": validator.schema} | validator.schema["$defs"]
    silent = [
        f"{name}: {key}"
        for name, definition in definitions.items()
        for key, about in definition["properties"].items()
        if not about.get("description")
    ]
    assert silent == []


def test_the_command(jmp: Run, tmp_path: Path) -> None:
    whole = jmp("driver", "schema")
    assert (whole.returncode, whole.stderr) == (0, "")
    schema = json.loads(whole.stdout)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert "TcpNetwork.config" in schema["$defs"]
    one = json.loads(jmp("driver", "schema", "TcpNetwork").stdout)
    assert one["required"] == ["host", "port"]
    unknown = jmp("driver", "schema", "TcpNetwrk")
    assert (unknown.returncode, unknown.stdout) == (1, "")
    assert "did you mean TcpNetwork" in unknown.stderr
    assert "# yaml-language-server: $schema=" in jmp("driver", "schema", "--help").stdout
