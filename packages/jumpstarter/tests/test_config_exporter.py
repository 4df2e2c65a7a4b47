"""The exporter's file beyond its tree: aliases, what it does around a lease, and references."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import ClassVar

import pytest
import yaml
from jumpstarter.common.exceptions import ConfigurationError, FileNotFoundError
from jumpstarter.config.common import ObjectMeta
from jumpstarter.config.exporter import (
    ClientLostConfigV1Alpha1,
    ExporterConfigV1Alpha1,
    ExporterConfigV1Alpha1DriverInstance,
    HookConfigV1Alpha1,
    HookInstanceConfigV1Alpha1,
)

HEAD = "metadata: {namespace: lab, name: bench}\n"
GOOD = Path(__file__).with_name("sound_exporter.yaml").read_text()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty configuration directory."""
    monkeypatch.setenv("JMP_CLIENT_CONFIG_HOME", str(tmp_path / "jumpstarter"))
    return tmp_path / "jumpstarter"


def made(alias: str = "bench") -> ExporterConfigV1Alpha1:
    return ExporterConfigV1Alpha1(alias=alias, metadata=ObjectMeta(namespace=None, name="bench"))


def mistakes(text: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        ExporterConfigV1Alpha1.load_text(text, "x.yaml").check()
    return str(caught.value).splitlines()


class TestAliases:
    def test_written_read_listed_and_removed(self, home: Path) -> None:
        path = ExporterConfigV1Alpha1.save(made())
        assert path == ExporterConfigV1Alpha1.BASE_PATH / "bench.yaml" == home / "exporters" / "bench.yaml"
        assert ExporterConfigV1Alpha1.resolve_path("bench") == path
        assert ExporterConfigV1Alpha1.load("bench").metadata == made().metadata
        assert [one.alias for one in ExporterConfigV1Alpha1.list().items] == ["bench"]
        assert json.loads(ExporterConfigV1Alpha1.list().dump_json())["items"][0]["path"] == str(path)
        assert ExporterConfigV1Alpha1.exists("bench")
        assert ExporterConfigV1Alpha1.user_config_exists("bench")
        assert ExporterConfigV1Alpha1.delete("bench") == path
        assert not ExporterConfigV1Alpha1.exists("bench")
        with pytest.raises(FileNotFoundError, match="no exporter configuration 'bench'"):
            ExporterConfigV1Alpha1.load("bench")

    def test_the_users_files_hide_the_systems(self, tmp_path: Path, home: Path) -> None:
        class Here(ExporterConfigV1Alpha1):
            SYSTEM_CONFIG_PATH: ClassVar[Path] = tmp_path / "system"

        Here.save(made("both"))
        for alias in ("both", "system"):
            ExporterConfigV1Alpha1.save(made(alias), tmp_path / "system" / f"{alias}.yaml")
        assert {one.alias: one.path for one in Here.list().items} == {
            "both": home / "exporters" / "both.yaml",
            "system": tmp_path / "system" / "system.yaml",
        }
        assert Here.resolve_path("system") == tmp_path / "system" / "system.yaml"
        assert Here.resolve_path("neither") == home / "exporters" / "neither.yaml"
        assert (Here.exists("system"), Here.user_config_exists("system")) == (True, False)
        with pytest.raises(ConfigurationError, match=r"system\.yaml belongs to the system, not to you"):
            Here.delete("system")

    def test_what_is_no_alias(self) -> None:
        with pytest.raises(ConfigurationError, match=r"Invalid exporter alias '\.\./a'"):
            ExporterConfigV1Alpha1.validate_alias("../a")
        ExporterConfigV1Alpha1.validate_alias("my bench-1_ü")

    def test_what_is_read_is_written_again(self, tmp_path: Path) -> None:
        read = ExporterConfigV1Alpha1.load_text(GOOD)
        again = ExporterConfigV1Alpha1.load_path(ExporterConfigV1Alpha1.save(read, tmp_path / "x.yaml"))
        assert again.to_file() == read.to_file()
        assert again.export == read.export
        assert again.client_lost == ClientLostConfigV1Alpha1(run=["power.off", "board.same.off"], grace=2.5)
        assert again.motd == "Mind the gap.\n"

    def test_what_says_nothing_is_not_written(self) -> None:
        assert yaml.safe_load(ExporterConfigV1Alpha1.dump_yaml(made())) == {
            "apiVersion": "jumpstarter.dev/v1alpha1",
            "kind": "ExporterConfig",
            "metadata": {"namespace": None, "name": "bench"},
            "tls": {"ca": "", "insecure": False},
            "grpcOptions": {},
            "export": {},
        }

    def test_entries_are_written_as_their_form_has_it(self) -> None:
        entry = ExporterConfigV1Alpha1DriverInstance
        config = made()
        config.export = {"a": entry(type="MockPower"), "b": entry(ref="a"), "c": entry(children={})}
        assert config.to_file()["export"] == {"a": {"type": "MockPower"}, "b": {"ref": "a"}, "c": {"children": {}}}


class TestWhere:
    def test_lines(self) -> None:
        config = ExporterConfigV1Alpha1.load_text(GOOD, "x.yaml")
        assert config.where("hooks", "beforeLease") == "x.yaml:20"
        assert config.where("hooks", "beforeLease", "script") == "x.yaml:21"
        assert config.where("hooks", "afterLease") == "x.yaml:25"
        assert config.where("clientLost", "run") == "x.yaml:28"
        assert config.where("hooks", "nothing") == "x.yaml:19"

    def test_a_configuration_made_by_a_program(self) -> None:
        assert made().where("hooks", "beforeLease") == "exporter configuration"


class TestAroundALease:
    def test_sound(self) -> None:
        ExporterConfigV1Alpha1.load_text(GOOD).check()

    def test_hooks(self) -> None:
        text = """\
hooks:
  beforeLease: {script: "", exec: ""}
  afterLease: {script: echo, exec: bahs}
"""
        assert mistakes(HEAD + text) == [
            "x.yaml:3:17: hooks.beforeLease.script: expected some text, this is empty",
            "x.yaml:3:29: hooks.beforeLease.exec: expected some text, this is empty",
            "x.yaml:4:30: hooks.afterLease.exec: there is no program 'bahs' on this machine; did you mean bash?",
        ]

    def test_an_interpreter_elsewhere(self) -> None:
        [mistake] = mistakes(HEAD + "hooks: {before_lease: {script: echo, exec: /no/sh}}\n")
        assert mistake.startswith("x.yaml:2:38: hooks.beforeLease.exec: there is no program '/no/sh' on this machine;")
        assert mistake.endswith("/sh?")

    def test_an_interpreter_beside_our_own(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", "/nowhere")
        name = Path(sys.executable).name
        ExporterConfigV1Alpha1.load_text(f"{HEAD}hooks: {{beforeLease: {{script: pass, exec: {name}}}}}\n").check()

    def test_calls_for_a_lost_client(self) -> None:
        text = """\
export:
  power: {type: MockPower}
  group: {children: {again: {ref: power}}}
  serial: {type: PySerial, config: {url: "loop://"}}
clientLost:
  run: [power.of, powr.off, power.read, group.off, group.again.off, group.x.off, serial.inner.off]
"""
        assert mistakes(HEAD + text) == [
            "x.yaml:7:9: clientLost.run.0: 'power' (MockPower) exports no driver call 'of'; did you mean off?",
            "x.yaml:7:19: clientLost.run.1: there is no entry 'powr' on the way to 'powr'; did you mean power?",
            "x.yaml:7:29: clientLost.run.2: 'power' (MockPower) exports no driver call 'read'; there are: off, on",
            "x.yaml:7:41: clientLost.run.3: 'group' is a group, which has no methods: name one of its drivers",
            "x.yaml:7:69: clientLost.run.5: there is no entry 'x' on the way to 'group.x'",
        ]

    def test_a_method_with_arguments(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        source = """
from jumpstarter.driver import Driver, export

class Dimmer(Driver):
    @classmethod
    def client(cls) -> str:
        return "jumpstarter.client.DriverClient"

    @export
    def dim(self, percent: int, *, slowly: bool = False) -> None: ...

    @export
    async def off(self, seconds: int = 0) -> None: ...
"""
        (tmp_path / "dimmers.py").write_text(source)
        monkeypatch.syspath_prepend(tmp_path)
        text = "export: {lamp: {type: dimmers.Dimmer}}\nclientLost: {run: [lamp.off, lamp.dim]}\n"
        assert mistakes(HEAD + text) == [
            "x.yaml:3:30: clientLost.run.1: lamp.dim needs arguments (percent), none can be given here"
        ]

    @pytest.mark.parametrize(
        ("value", "mistake"),
        [
            (
                "{run: [stop]}",
                "20: clientLost.run.0: expected <path in the tree>.<method>, such as power.off, got 'stop'",
            ),
            (
                "{run: [a..f]}",
                "20: clientLost.run.0: expected <path in the tree>.<method>, such as power.off, got 'a..f'",
            ),
            ("{run: a.off}", "14: clientLost.run: expected a list, got str 'a.off'"),
            ("{grace: -1}", "14: clientLost.grace: expected a number greater than or equal to 0, got int -1"),
            ("{grace: .inf}", "14: clientLost.grace: expected a finite number, got float inf"),
        ],
    )
    def test_forms(self, value: str, mistake: str) -> None:
        assert mistakes(f"{HEAD}clientLost: {value}\n") == [f"x.yaml:2:{mistake}"]

    def test_made_by_a_program(self) -> None:
        hook = HookInstanceConfigV1Alpha1(script="x", exec="no-such-shell")
        config = made()
        config.hooks = HookConfigV1Alpha1(before_lease=hook)
        with pytest.raises(ConfigurationError, match=r"^exporter configuration:.*no program 'no-such-shell'"):
            config.check()


class TestReferences:
    def test_circles(self) -> None:
        text = """\
export:
  itself: {ref: itself}
  one: {ref: two}
  two: {ref: three}
  three: {ref: one}
  group: {children: {inner: {ref: group}}}
  left: {children: {a: {ref: right}}}
  right: {children: {b: {ref: left}}}
  way: {ref: door.x}
  door: {ref: way}
"""
        assert mistakes(HEAD + text) == [
            "x.yaml:3:12: export.itself.ref: goes round in a circle: itself -> itself",
            "x.yaml:6:11: export.three.ref: goes round in a circle: one -> two -> three -> one",
            "x.yaml:7:30: export.group.children.inner.ref: goes round in a circle: group -> group.inner -> group",
            "x.yaml:9:26: export.right.children.b.ref: goes round in a circle: "
            "left -> left.a -> right -> right.b -> left",
            "x.yaml:10:9: export.way.ref: the references from 'door' have no end",
        ]

    def test_through_others(self) -> None:
        text = """\
export:
  power: {type: MockPower}
  board: {children: {relay: {ref: power}}}
  desk: {ref: board}
  mine: {ref: desk.relay}
  open: {ref: power.made.by.the.driver}
  lost: {ref: desk.raley}
"""
        assert mistakes(HEAD + text) == [
            "x.yaml:8:10: export.lost.ref: there is no entry 'raley' on the way to 'desk.raley'; did you mean relay?"
        ]

    def test_they_are_checked_beside_faulty_entries(self) -> None:
        text = """\
export:
  faulty: {typ: MockPower, children: {a: {ref: nowhere}, b: {type: MockPowr}, c: 5}}
  fine: {ref: faulty.whatever}
  wrong: {ref: fautly}
"""
        found = mistakes(HEAD + text)
        assert [line.split(": ")[1] for line in found] == [
            "export.faulty.typ",
            "export.faulty.children.c",
            "export.wrong.ref",
        ]

    def test_more_drivers_than_a_tree_can_have(self) -> None:
        levels = "".join(
            f"  g{n}: {{children: {{a: {{ref: g{n - 1}}}, b: {{ref: g{n - 1}}}}}}}\n" for n in range(1, 40)
        )
        text = f"{HEAD}export:\n  g0: {{type: MockPower}}\n{levels}"
        assert mistakes(text) == ["x.yaml:2:1: export: its references make more than 100000 drivers of it"]

    def test_a_long_way(self) -> None:
        links = "".join(f"  r{n}: {{ref: r{n + 1}}}\n" for n in range(2000))
        ExporterConfigV1Alpha1.load_text(f"{HEAD}export:\n{links}  r2000: {{type: MockPower}}\n").check()
