"""The exporter's file: what is read from it, and how mistakes in it are told."""

from __future__ import annotations

from pathlib import Path

import pytest
from jumpstarter.common.exceptions import ConfigurationError
from jumpstarter.config.common import ObjectMeta
from jumpstarter.config.exporter import ExporterConfigV1Alpha1, ExporterConfigV1Alpha1DriverInstance
from pydantic import ValidationError

HEAD = "metadata: {namespace: lab, name: bench}\n"

FULL = """\
apiVersion: jumpstarter.dev/v1alpha1
kind: ExporterConfig
metadata:
  namespace: lab
  name: bench
endpoint: grpc.example.com:443
tls: {ca: "", insecure: false}
token: abc
grpcOptions: {grpc.keepalive_time_ms: 20000, user: me}
description: A bench
export:
  power: &power
    type: MockPower
    description: The relay
    methods_description: {"on": switch it on}
    config: {log_level: DEBUG}
  board:
    description: The board
    children:
      same: {ref: power}
      other: {<<: *power, description: Another}
hooks:
  beforeLease: {script: echo, timeout: 5, onFailure: endLease}
  after_lease: {script: echo, exec: /bin/bash}
failureDetection: {maxRapidFailures: 2}
"""


def mistakes(text: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        ExporterConfigV1Alpha1.load_text(text, "e.yaml")
    return str(caught.value).splitlines()


def test_everything_a_file_may_say(tmp_path: Path) -> None:
    path = tmp_path / "bench.yaml"
    path.write_text(FULL)
    config = ExporterConfigV1Alpha1.load_path(path)
    assert (config.alias, config.path) == ("bench", path)
    assert (config.metadata.namespace, config.metadata.name) == ("lab", "bench")
    assert config.tls.insecure is False
    assert config.grpcOptions == {"grpc.keepalive_time_ms": 20000, "user": "me"}
    assert config.hooks.before_lease is not None
    assert (config.hooks.before_lease.timeout, config.hooks.before_lease.on_failure) == (5, "endLease")
    assert config.hooks.after_lease is not None
    assert config.hooks.after_lease.exec == "/bin/bash"
    assert (config.failure_detection.max_rapid_failures, config.failure_detection.rapid_failure_window) == (2, 60)
    assert config.export["power"].methods_description == {"on": "switch it on"}
    board = config.export["board"]
    assert board.children["same"].ref == "power"
    assert (board.children["other"].type, board.children["other"].description) == ("MockPower", "Another")


def test_what_may_be_left_out() -> None:
    config = ExporterConfigV1Alpha1.load_text("metadata: {name: bench}")
    assert (config.metadata.namespace, config.endpoint, config.export) == (None, None, {})
    assert config.hooks.before_lease is None


def test_metadata_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JMP_NAMESPACE", "elsewhere")
    monkeypatch.setenv("JMP_NAME", "other")
    assert ObjectMeta() == ObjectMeta(namespace="elsewhere", name="other")  # type: ignore[call-arg]
    assert ExporterConfigV1Alpha1.load_text(HEAD).metadata == ObjectMeta(namespace="lab", name="bench")


def test_all_mistakes_at_once_each_with_its_place() -> None:
    assert mistakes(
        """\
metadata: {namespace: lab, nmae: bench}
endpont: x
token: 12345
tls: {insecure: maybe}
export:
  power:
    typ: MockPower
  serial:
    type: PySerial
    config:
  relay: {}
  second: {ref: power, type: MockPower}
  third: {config: {a: 1}, children: {}}
  fourth: null
  5: {type: MockPower}
hooks:
  beforLease: {script: echo}
  afterLease: {script: [echo], onFailure: never, timeout: 0, tiemout: 3}
"""
    ) == [
        "e.yaml:1:1: metadata.name: this key is missing",
        "e.yaml:1:28: metadata.nmae: unknown key; did you mean name?",
        "e.yaml:2:1: endpont: unknown key; did you mean endpoint?",
        "e.yaml:3:1: token: expected text, got int: write it in quotes",
        "e.yaml:4:7: tls.insecure: expected true or false, got str 'maybe'",
        "e.yaml:7:5: export.power.typ: unknown key; did you mean type?",
        "e.yaml:10:5: export.serial.config: expected a mapping, got nothing",
        "e.yaml:11:3: export.relay: expected one of the keys type, children or ref",
        "e.yaml:12:3: export.second: type cannot stand beside ref",
        "e.yaml:13:3: export.third: config needs the key type beside it",
        "e.yaml:14:3: export.fourth: expected a mapping, got nothing",
        "e.yaml:15:3: export.5: expected text as the key, got int 5: write it in quotes",
        "e.yaml:17:3: hooks.beforLease: unknown key; did you mean beforeLease?",
        "e.yaml:18:16: hooks.afterLease.script: expected text, got list",
        "e.yaml:18:32: hooks.afterLease.onFailure: expected 'warn', 'endLease' or 'exit', got str 'never'",
        "e.yaml:18:50: hooks.afterLease.timeout: expected a number greater than 0, got int 0",
        "e.yaml:18:62: hooks.afterLease.tiemout: unknown key; did you mean timeout?",
    ]


def test_mistakes_of_drivers_come_along_with_those_of_the_file() -> None:
    entries = "endpont: x\nexport:\n  power:\n    type: MockPowr\n  group:\n    chidlren: {}\n"
    [endpoint, power, group] = mistakes(HEAD + entries)
    assert endpoint.startswith("e.yaml:2:1: endpont")
    assert power.startswith("e.yaml:5:5: export.power.type: Driver 'MockPowr' is not installed")
    assert group.startswith("e.yaml:7:5: export.group.chidlren")


@pytest.mark.parametrize("key", ["on", "off", "yes", "No"])
def test_keys_that_yaml_takes_for_booleans(key: str) -> None:
    text = f"{HEAD}export:\n  power:\n    type: MockPower\n    methods_description:\n      {key}: switch it\n"
    assert mistakes(text) == [
        f"e.yaml:6:7: export.power.methods_description.{key}: "
        f'YAML takes this key for a boolean: write it in quotes, "{key}"'
    ]


def test_keys_given_twice() -> None:
    text = "export:\n  a: {type: MockPower}\n  a: {type: MockPower}\n"
    assert mistakes(HEAD + text) == ["e.yaml:4:3: export.a: the key is given twice"]


def test_keys_that_only_programs_set() -> None:
    [alias, path] = mistakes(HEAD + "alias: x\npath: /x\n")
    assert alias.startswith("e.yaml:2:1: alias: unknown key")
    assert path.startswith("e.yaml:3:1: path: unknown key")


def test_values_that_are_no_plain_yaml() -> None:
    text = "description: !python/name:os.system\ntoken: 2020-13-01\nexport: &loop {a: *loop}\n"
    [description, token, loop] = mistakes(HEAD + text)
    assert description == "e.yaml:2:1: description: the tag '!python/name:os.system' is not supported"
    assert token == "e.yaml:3:1: token: YAML takes this for timestamp, but cannot read it: write it in quotes"
    assert loop.startswith("e.yaml:4:16: export.a: refers to itself")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "e.yaml:1:5: not valid YAML: "),
        ("a: b\n c: d", "e.yaml:2:3: not valid YAML: "),
        ("a: *b", "e.yaml:1:4: not valid YAML: found undefined alias"),
        ("a: b\nc: \x01", r"e.yaml:2: not valid YAML: the character '\x01'"),
        ("a: 1\n---\na: 2", "e.yaml:2:1: not valid YAML: "),
        ("", "e.yaml:1:1: expected a mapping, got nothing"),
        ("- 1", "e.yaml:1:1: expected a mapping, got list"),
        ("text", "e.yaml:1:1: expected a mapping, got str 'text'"),
    ],
)
def test_texts_that_are_no_exporter_file(text: str, message: str) -> None:
    [line] = mistakes(text)
    assert line.startswith(message)


def test_secrets_stay_out_of_messages() -> None:
    assert mistakes("metadata: {name: a}\ntoken: [hunter2]\n") == ["e.yaml:2:1: token: expected text, got list"]


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"absent\.yaml"):
        ExporterConfigV1Alpha1.load_path(tmp_path / "absent.yaml")
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"a: 1\nb: \xff\n")
    with pytest.raises(ConfigurationError, match=r"binary\.yaml:2: not a text file in UTF-8: the byte 0xff"):
        ExporterConfigV1Alpha1.load_path(binary)


def test_python_code_is_checked_too() -> None:
    with pytest.raises(ValidationError, match="endpont"):
        ExporterConfigV1Alpha1(metadata=ObjectMeta(name="a"), endpont="x")  # type: ignore[call-arg]
    with pytest.raises(ValidationError, match="expected one of the keys"):
        ExporterConfigV1Alpha1DriverInstance()
