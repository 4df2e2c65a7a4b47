"""From the entries of an exporter's file to drivers: checked first, then made, and undone where one fails."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar

import pydantic.dataclasses
import pytest
from jumpstarter.common.exceptions import ConfigurationError
from jumpstarter.common.utils import serve
from jumpstarter.config.exporter import ExporterConfigV1Alpha1, ExporterConfigV1Alpha1DriverInstance
from jumpstarter.driver import Driver, export
from pydantic import Field

if TYPE_CHECKING:
    from absent_module import Absent  # type: ignore[import-not-found]

HEAD = "metadata: {name: bench}\nexport:\n"


class Mode(Enum):
    FAST = "fast"
    SLOW = "slow"


class Lab(Driver):
    """Every driver here writes down when it is made and closed."""

    made: ClassVar[list[str]] = []
    closed: ClassVar[list[str]] = []

    @classmethod
    def client(cls) -> str:
        return "jumpstarter.client.DriverClient"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.made.append(type(self).__name__)

    def close(self) -> None:
        super().close()
        self.closed.append(type(self).__name__)


@dataclass(kw_only=True)
class Relay(Lab):
    port: int
    mode: Mode = Mode.SLOW
    log: Path | None = None
    helper: Absent | None = None
    password: int = 0
    _state: bool = field(init=False, default=False)

    @export
    def where(self) -> int:
        return self.port


@pydantic.dataclasses.dataclass(kw_only=True)
class Probe(Lab):
    speed: int = Field(ge=1)
    chip: str = Field(default="none", alias="target")


class Undecorated(Relay):
    pass


class Free(Lab):
    """Takes what comes."""

    def __init__(self, size: int, **kwargs: Any) -> None:
        self.size = size
        self.rest = kwargs.pop("rest", None)
        super().__init__(**kwargs)


@dataclass(kw_only=True)
class Faulty(Lab):
    text: str = "no such board"

    def __post_init__(self) -> None:
        raise OSError(self.text)


@dataclass(kw_only=True)
class Choosy(Lab):
    def __post_init__(self) -> None:
        super().__post_init__()
        raise ConfigurationError("Choosy: needs a child named power")


@dataclass(kw_only=True)
class BadCloser(Lab):
    def close(self) -> None:
        raise OSError("stuck")


class Interface(Driver):
    """Has no client()."""


@pytest.fixture(autouse=True)
def lab() -> Iterator[None]:
    """This module under a name that files can give, and clean books."""
    module = ModuleType("lab_drivers")
    vars(module).update(globals())
    sys.modules["lab_drivers"] = module
    Lab.made.clear()
    Lab.closed.clear()
    yield
    del sys.modules["lab_drivers"]


def load(entries: str) -> ExporterConfigV1Alpha1:
    return ExporterConfigV1Alpha1.load_text(HEAD + entries, "e.yaml")


def refusals(entries: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        load(entries).build()
    assert Lab.made == []
    return str(caught.value).splitlines()


def test_a_tree_is_made_and_served() -> None:
    root = load("""\
  relay: {type: lab_drivers.Relay, config: {port: "8080", mode: fast, log: /x}, description: The relay}
  board:
    description: The board
    children:
      same: {ref: relay}
      probe: {type: lab_drivers.Probe, config: {speed: 5, target: stm32}}
""").build()
    relay = root.children["relay"]
    assert isinstance(relay, Relay)
    assert (relay.port, relay.mode, relay.log, relay.description) == (8080, Mode.FAST, Path("/x"), "The relay")
    probe = root.children["board"].children["probe"]
    assert isinstance(probe, Probe)
    assert (probe.speed, probe.chip) == (5, "stm32")
    with serve(root) as client:
        assert client.relay.call("where") == 8080
        assert client.board.same.call("where") == 8080
        assert client.board.description == "The board"
    assert sorted(Lab.closed) == ["Probe", "Relay"]


def test_the_files_description_is_the_roots() -> None:
    config = ExporterConfigV1Alpha1.load_text("metadata: {name: a}\ndescription: A bench\n")
    assert config.build().description == "A bench"


def test_settings_are_checked_before_any_driver_is_made() -> None:
    assert refusals("""\
  good: {type: lab_drivers.Relay, config: {port: 1}}
  relay:
    type: lab_drivers.Relay
    config:
      prot: 80
      mode: quick
      log: 5
      helper: anything goes
      children: {}
      password: secret
  probe: {type: lab_drivers.Probe, config: {speed: 0, chip: x}}
  plain: {type: lab_drivers.Undecorated, config: {port: zz, _state: true}}
""") == [
        "e.yaml:6:5: export.relay.config.port: Relay needs this key (int)",
        "e.yaml:7:7: export.relay.config.prot: Relay: unknown key; did you mean port?",
        "e.yaml:8:7: export.relay.config.mode: expected 'fast' or 'slow', got str 'quick'",
        "e.yaml:9:7: export.relay.config.log: expected a path, got int 5",
        "e.yaml:11:7: export.relay.config.children: belongs beside config, not into it",
        "e.yaml:12:7: export.relay.config.password: expected a whole number, got str",
        "e.yaml:13:45: export.probe.config.speed: expected a number greater than or equal to 1, got int 0",
        "e.yaml:13:55: export.probe.config.chip: Probe: unknown key; "
        "known here: uuid, labels, log_level, speed, target",
        "e.yaml:14:51: export.plain.config.port: expected a whole number, got str 'zz'",
        "e.yaml:14:61: export.plain.config._state: Undecorated: unknown key; "
        "known here: uuid, labels, log_level, port, mode, log, helper, password",
    ]


def test_a_constructor_that_takes_anything() -> None:
    driver = load("  free: {type: lab_drivers.Free, config: {size: '3', rest: [1]}}\n").build().children["free"]
    assert isinstance(driver, Free)
    assert (driver.size, driver.rest) == (3, [1])


def test_types_that_are_no_drivers() -> None:
    [missing, nothing, interface, composite] = refusals("""\
  a: {type: jumpstarter_driver_absent.driver.X}
  b: {type: lab_drivers.Relya, config: {port: 1}}
  c: {type: lab_drivers.Interface}
  d: {type: lab_drivers.Mode}
""")
    assert missing.startswith("e.yaml:3:7: export.a.type: Driver 'jumpstarter_driver_absent.driver.X' is not installed")
    assert missing.endswith("pip install jumpstarter-driver-absent")
    assert nothing.endswith("did you mean Relay?")
    assert interface.endswith("lab_drivers.Interface is only an interface: it does not implement client")
    assert composite.endswith("not a driver class")


def test_references_that_lead_nowhere() -> None:
    [first, second] = refusals("""\
  relay: {type: lab_drivers.Relay, config: {port: 1}}
  board: {children: {probe: {type: lab_drivers.Probe, config: {speed: 1}}}}
  a: {ref: realy}
  b: {ref: board.prob}
  c: {ref: relay.made.by.the.driver}
""")
    assert first == "e.yaml:5:7: export.a.ref: there is no entry 'realy' on the way to 'realy'; did you mean relay?"
    assert second.endswith("there is no entry 'prob' on the way to 'board.prob'; did you mean probe?")


def test_what_was_made_is_closed_when_a_driver_fails(caplog: pytest.LogCaptureFixture) -> None:
    config = load("""\
  relay: {type: lab_drivers.Relay, config: {port: 1}}
  stuck: {type: lab_drivers.BadCloser}
  board:
    type: lab_drivers.Free
    config: {size: 1}
    children:
      probe: {type: lab_drivers.Probe, config: {speed: 1}}
  faulty: {type: lab_drivers.Faulty}
  never: {type: lab_drivers.Relay, config: {port: 2}}
""")
    with pytest.raises(ConfigurationError) as caught:
        config.build()
    assert str(caught.value) == (
        "e.yaml:10:3: export.faulty: Faulty did not start (OSError) (Caused by: no such board)"
    )
    assert Lab.made == ["Relay", "BadCloser", "Probe", "Free"]
    assert sorted(Lab.closed) == ["Free", "Probe", "Relay"]
    assert "closing export.stuck (BadCloser) failed" in caplog.text


def test_a_parent_that_fails_has_its_children_closed() -> None:
    config = load("""\
  choosy:
    type: lab_drivers.Choosy
    children: {probe: {type: lab_drivers.Probe, config: {speed: 1}}}
""")
    with pytest.raises(ConfigurationError, match=r"e\.yaml:3:3: export\.choosy: .*needs a child named power"):
        config.build()
    assert Lab.closed == ["Probe"]


def test_one_entry_by_itself(tmp_path: Path) -> None:
    text = "type: lab_drivers.Relay\nconfig: {port: 5}\n"
    relay = ExporterConfigV1Alpha1DriverInstance.from_str(text).instantiate()
    assert isinstance(relay, Relay)
    path = tmp_path / "relay.yaml"
    path.write_text(text.replace("port", "prot"))
    entry = ExporterConfigV1Alpha1DriverInstance.from_path(path)
    with pytest.raises(ConfigurationError, match=r"relay\.yaml:2:10: config\.prot: .*did you mean port\?"):
        entry.instantiate()


def test_a_configuration_made_by_a_program() -> None:
    entry = ExporterConfigV1Alpha1DriverInstance(type="lab_drivers.Relay", config={"prot": 1})
    with pytest.raises(ConfigurationError, match=r"driver configuration:1:1: config\.prot: "):
        entry.instantiate()
