"""Laws for every driver that our packages register."""

from __future__ import annotations

import inspect
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import Field, fields
from importlib import import_module
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import jumpstarter.drivers
import pytest
from jumpstarter.client import DriverClient
from jumpstarter.driver import Driver
from jumpstarter.driver.decorators import (
    MARKER_DRIVERCALL,
    MARKER_STREAMCALL,
    MARKER_STREAMING_DRIVERCALL,
    is_marked,
)
from jumpstarter_testing.checks import check_driver

ROOT = Path(__file__).parents[2]
GROUP = "jumpstarter.drivers"
MARKERS = (MARKER_DRIVERCALL, MARKER_STREAMCALL, MARKER_STREAMING_DRIVERCALL)
COMMON_FIELDS = {field.name for field in fields(Driver)}

# A configuration with which a driver can be built and served on any machine; nothing is connected to.
SAMPLES: dict[str, dict[str, Any]] = {
    "CommandPower": {"power_on": ["true"], "power_off": ["true"]},
    "Composite": {},
    "EchoNetwork": {},
    "MockPower": {},
    "PySerial": {"url": "loop://"},
    "Serial": {"url": "loop://"},
    "SerialRelay": {"port": "loop://"},
    "SyncMockPower": {},
    "TcpNetwork": {"host": "127.0.0.1", "port": 9},
    "UdpNetwork": {"host": "127.0.0.1", "port": 9},
    "UnixNetwork": {"path": "/nonexistent"},
}
# Drivers that cannot be served by themselves, each with its reason. This list only shrinks.
NOT_ALONE = {"Proxy": "it is a second name for a driver elsewhere in its tree"}


def registered() -> Iterator[EntryPoint]:
    """Entry points as the packages declare them, installed or not."""
    for path in sorted(ROOT.glob("packages/*/pyproject.toml")):
        project = tomllib.loads(path.read_text())["project"]
        for name, value in project.get("entry-points", {}).get(GROUP, {}).items():
            yield EntryPoint(name, value, GROUP)


ENTRY_POINTS = {point.name: point for point in registered()}
every_driver = pytest.mark.parametrize("name", ENTRY_POINTS)


def load(name: str) -> type[Driver]:
    cls = ENTRY_POINTS[name].load()
    assert inspect.isclass(cls)
    assert issubclass(cls, Driver)
    return cls


def configuration(cls: type[Driver]) -> list[Field[Any]]:
    """The fields that users set, beyond those that every driver has."""
    return [field for field in fields(cls) if field.init and field.name not in COMMON_FIELDS]


def exported(cls: type[Driver]) -> dict[str, Callable[..., Any]]:
    members = inspect.getmembers(cls, callable)
    return {name: member for name, member in members if any(is_marked(member, marker) for marker in MARKERS)}


def test_drivers_are_registered() -> None:
    assert ENTRY_POINTS


def test_every_driver_has_a_sample() -> None:
    assert SAMPLES.keys() | NOT_ALONE.keys() == ENTRY_POINTS.keys()


@pytest.mark.parametrize("name", SAMPLES)
def test_keeps_the_contract_of_every_driver(name: str) -> None:
    check_driver(load(name)(**SAMPLES[name]))


@every_driver
def test_found_by_name(name: str) -> None:
    cls = load(name)
    assert getattr(jumpstarter.drivers, name) is cls, "installed metadata is stale: run `make setup`"
    assert not inspect.isabstract(cls)


@every_driver
def test_its_client_is_a_driver_client(name: str) -> None:
    module, _, attribute = load(name).client().rpartition(".")
    client = getattr(import_module(module), attribute)
    assert issubclass(client, DriverClient)
    assert client.__doc__


@every_driver
def test_its_configuration_is_keyword_only_and_documented(name: str) -> None:
    cls = load(name)
    assert cls.__doc__
    assert [field.name for field in configuration(cls) if not field.kw_only] == []
    text = "".join(base.__doc__ or "" for base in cls.__mro__).lower()
    assert [field.name for field in configuration(cls) if field.name.lower() not in text] == []


@every_driver
def test_what_it_exports_is_annotated_and_documented(name: str) -> None:
    for method_name, method in exported(load(name)).items():
        assert inspect.getdoc(method), f"{method_name} has no docstring"
        signature = inspect.signature(method)
        assert signature.return_annotation is not signature.empty, f"{method_name} does not say what it returns"
        bare = [p.name for p in list(signature.parameters.values())[1:] if p.annotation is p.empty]
        assert bare == [], f"{method_name}: parameters without annotation"
