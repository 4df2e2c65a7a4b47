"""The client's file and the user's: what is read from them, from the environment, and what is written."""

from __future__ import annotations

import json
import stat
import subprocess
from base64 import b64encode
from pathlib import Path

import pytest
import yaml
from jumpstarter.common.exceptions import ConfigurationError, FileNotFoundError
from jumpstarter.config.client import (
    ClientConfigListV1Alpha1,
    ClientConfigV1Alpha1,
    ClientConfigV1Alpha1Drivers,
    ClientConfigV1Alpha1Lease,
)
from jumpstarter.config.common import ObjectMeta
from jumpstarter.config.tls import TLSConfigV1Alpha1
from jumpstarter.config.user import UserConfigV1Alpha1, UserConfigV1Alpha1Config
from pydantic import ValidationError

HEAD = "metadata: {namespace: lab, name: me}\n"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty configuration directory, and no settings from outside."""
    variables = ("NAMESPACE", "NAME", "ENDPOINT", "TOKEN", "REFRESH_TOKEN", "TLS", "DRIVERS_ALLOW", "DRIVERS_UNSAFE")
    for name in variables:
        monkeypatch.delenv(f"JMP_{name}", raising=False)
    monkeypatch.setenv("JMP_CLIENT_CONFIG_HOME", str(tmp_path / "jumpstarter"))
    return tmp_path / "jumpstarter"


def made(alias: str = "lab") -> ClientConfigV1Alpha1:
    return ClientConfigV1Alpha1(alias=alias, metadata=ObjectMeta(namespace="ns", name="me"), endpoint="e:1", token="t")


def load(text: str) -> ClientConfigV1Alpha1:
    return ClientConfigV1Alpha1.load_text(text, "c.yaml")


class TestAliases:
    def test_written_read_listed_and_removed(self, home: Path) -> None:
        path = ClientConfigV1Alpha1.save(made())
        assert path == ClientConfigV1Alpha1.CLIENT_CONFIGS_PATH / "lab.yaml" == home / "clients" / "lab.yaml"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        read = ClientConfigV1Alpha1.load("lab")
        assert (read.alias, read.path, read.endpoint, read.token) == ("lab", path, "e:1", "t")
        assert read.to_file() == made().to_file()
        assert ClientConfigV1Alpha1.exists("lab")
        assert [one.alias for one in ClientConfigV1Alpha1.list().items] == ["lab"]
        assert ClientConfigV1Alpha1.delete("lab") == path
        assert not ClientConfigV1Alpha1.exists("lab")
        assert ClientConfigV1Alpha1.list().items == []

    def test_a_file_anywhere(self, tmp_path: Path) -> None:
        path = tmp_path / "mine.yml"
        assert ClientConfigV1Alpha1.save(made(), path) == path
        read = ClientConfigV1Alpha1.from_file(path)
        assert (read.alias, read.path) == ("mine", path)

    def test_what_the_file_says(self) -> None:
        config = made()
        assert yaml.safe_load(ClientConfigV1Alpha1.dump_yaml(config)) == {
            "apiVersion": "jumpstarter.dev/v1alpha1",
            "kind": "ClientConfig",
            "metadata": {"namespace": "ns", "name": "me"},
            "endpoint": "e:1",
            "tls": {"ca": "", "insecure": False},
            "token": "t",
            "grpcOptions": {},
            "drivers": {"allow": [], "unsafe": False},
            "shell": {"use_profiles": False},
        }
        config.leases = ClientConfigV1Alpha1Lease(dial_timeout=3)
        assert config.to_file()["leases"] == {"acquisition_timeout": 7200, "dial_timeout": 3.0, "retry_timeout": 300.0}

    def test_one_that_is_not_there(self) -> None:
        ClientConfigV1Alpha1.save(made("lab"))
        for use in (ClientConfigV1Alpha1.load, ClientConfigV1Alpha1.delete):
            with pytest.raises(FileNotFoundError, match=r"no client configuration 'lba': .*; did you mean lab\?"):
                use("lba")

    @pytest.mark.parametrize("alias", ["", ".", "..", "../x", "a/b", "a\\b", "a\nb", ".hidden", "x" * 300])
    def test_what_is_no_alias(self, alias: str) -> None:
        for use in (ClientConfigV1Alpha1.load, ClientConfigV1Alpha1.delete, ClientConfigV1Alpha1.exists):
            with pytest.raises(ConfigurationError, match="Invalid client alias"):
                use(alias)
        with pytest.raises(ConfigurationError, match="Invalid client alias"):
            ClientConfigV1Alpha1.save(made(alias))

    def test_a_list_as_text(self, home: Path) -> None:
        ClientConfigV1Alpha1.save(made())
        UserConfigV1Alpha1.load_or_create().use_client("lab")
        listed = ClientConfigV1Alpha1.list()
        assert isinstance(listed, ClientConfigListV1Alpha1)
        plain = json.loads(listed.dump_json())
        assert plain == yaml.safe_load(listed.dump_yaml())
        assert (plain["kind"], plain["currentConfig"]) == ("ClientConfigList", "lab")
        assert (plain["items"][0]["alias"], plain["items"][0]["path"]) == ("lab", str(home / "clients" / "lab.yaml"))

    def test_a_list_tells_the_mistakes_of_all_files(self, home: Path) -> None:
        ClientConfigV1Alpha1.save(made())
        for alias in ("one", "two"):
            (home / "clients" / f"{alias}.yaml").write_text("nmae: x\n")
        with pytest.raises(ConfigurationError) as caught:
            ClientConfigV1Alpha1.list()
        assert [line.split(":")[0].rpartition("/")[2] for line in str(caught.value).splitlines()] == [
            "one.yaml",
            "one.yaml",
            "two.yaml",
            "two.yaml",
        ]


class TestSettings:
    def test_the_file_wins_over_the_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("ENDPOINT", "TOKEN", "REFRESH_TOKEN", "NAMESPACE", "NAME"):
            monkeypatch.setenv(f"JMP_{name}", "outside")
        config = load("metadata: {namespace: lab}\ntoken: inside\n")
        assert (config.token, config.endpoint, config.refresh_token) == ("inside", "outside", "outside")
        assert config.metadata == ObjectMeta(namespace="lab", name="outside")
        assert made().token == "t"

    def test_the_environment_alone(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with pytest.raises(
            ConfigurationError, match=r"environment variables JMP_\*:.*metadata\.name: this key is miss"
        ):
            ClientConfigV1Alpha1.from_env()
        monkeypatch.setenv("JMP_NAME", "me")
        monkeypatch.setenv("JMP_TLS", '{"insecure": true}')
        config = ClientConfigV1Alpha1.from_env()
        assert (config.metadata.name, config.metadata.namespace, config.tls.insecure) == ("me", None, True)

    def test_mistakes_in_the_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("JMP_TLS", "insecrue: true")
        with pytest.raises(ConfigurationError, match=r"^environment variable JMP_TLS:1:1: insecrue: unknown key"):
            load(HEAD)
        monkeypatch.delenv("JMP_TLS")
        monkeypatch.setenv("JMP_DRIVERS_UNSAFE", "maybe")
        with pytest.raises(ConfigurationError, match="JMP_DRIVERS_UNSAFE: expected 1 or 0, got 'maybe'"):
            load(HEAD)

    @pytest.mark.parametrize(
        ("text", "allow", "unsafe"),
        [
            ("", [], False),
            ("drivers: {allow: [a.*, b]}\n", ["a.*", "b"], False),
            ("drivers: {allow: 'a, b,'}\n", ["a", "b"], False),
            ("drivers: {allow: 'a,UNSAFE'}\n", ["a", "UNSAFE"], True),
            ("drivers: {allow: [UNSAFE]}\n", ["UNSAFE"], True),
            ("drivers: {unsafe: true}\n", [], True),
        ],
    )
    def test_client_classes(self, text: str, allow: list[str], unsafe: bool) -> None:
        drivers = load(HEAD + text).drivers
        assert (drivers.allow, drivers.unsafe) == (allow, unsafe)

    def test_client_classes_from_the_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("JMP_DRIVERS_ALLOW", "q,r")
        monkeypatch.setenv("JMP_DRIVERS_UNSAFE", "1")
        assert load(HEAD).drivers == ClientConfigV1Alpha1Drivers(allow=["q", "r"], unsafe=True)
        assert load(f"{HEAD}drivers: {{allow: [a], unsafe: false}}\n").drivers.model_dump() == {
            "allow": ["a"],
            "unsafe": False,
        }

    def test_mistakes_at_every_level(self) -> None:
        text = """\
endpont: x
metadata: {nmae: me, name: me, namespace: 5}
drivers: {allow: [5], unsfae: true}
shell: {use_profiles: maybe}
leases: {acquisition_timeout: 4, dial_timeout: 0, retry_timeout: -1, tiemout: 1}
tls: {ca: "!"}
grpcOptions: {a: [1]}
"""
        with pytest.raises(ConfigurationError) as caught:
            load(text)
        assert str(caught.value).splitlines() == [
            "c.yaml:1:1: endpont: unknown key; did you mean endpoint?",
            "c.yaml:2:12: metadata.nmae: unknown key; did you mean name?",
            "c.yaml:2:32: metadata.namespace: expected text, got int 5: write it in quotes",
            "c.yaml:3:19: drivers.allow.0: expected text, got int 5: write it in quotes",
            "c.yaml:3:23: drivers.unsfae: unknown key; did you mean unsafe?",
            "c.yaml:4:9: shell.use_profiles: expected true or false, got str 'maybe'",
            "c.yaml:5:10: leases.acquisition_timeout: expected a number greater than or equal to 5, got int 4",
            "c.yaml:5:34: leases.dial_timeout: expected a number greater than 0, got int 0",
            "c.yaml:5:51: leases.retry_timeout: expected a number greater than or equal to 0, got int -1",
            "c.yaml:5:70: leases.tiemout: unknown key; did you mean dial_timeout?",
            "c.yaml:6:7: tls.ca: expected a PEM file in base64, as `base64 -w0 ca.pem` prints it",
            "c.yaml:7:15: grpcOptions.a: expected text or a whole number, got list",
        ]


class TestCertificates:
    @pytest.mark.peer("openssl")
    def test_one_that_can_be_read(self, tmp_path: Path) -> None:
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        command += ["-keyout", "key.pem", "-out", "ca.pem", "-days", "2", "-subj", "/CN=lab"]
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
        certificate = b64encode((tmp_path / "ca.pem").read_bytes()).decode()
        assert load(f"{HEAD}tls: {{ca: {certificate}}}\n").tls.ca == certificate
        truncated = b64encode((tmp_path / "ca.pem").read_bytes()[:200]).decode()
        with pytest.raises(ValidationError, match="no certificate in it can be read"):
            TLSConfigV1Alpha1(ca=truncated)

    def test_the_pem_itself(self) -> None:
        with pytest.raises(ConfigurationError, match="this is the PEM itself: encode it"):
            load(f"{HEAD}tls:\n  ca: |\n    -----BEGIN CERTIFICATE-----\n    abc\n")


class TestUser:
    def test_nothing_chosen_yet(self) -> None:
        assert not UserConfigV1Alpha1.exists()
        with pytest.raises(FileNotFoundError, match=r"config\.yaml: there is no such file"):
            UserConfigV1Alpha1.load()
        assert UserConfigV1Alpha1.load_or_create().config.current_client is None
        assert UserConfigV1Alpha1.exists()

    def test_a_client_is_chosen(self, home: Path) -> None:
        path = ClientConfigV1Alpha1.save(made())
        assert UserConfigV1Alpha1.load_or_create().use_client("lab") == path
        text = (home / "config.yaml").read_text()
        assert yaml.safe_load(text)["config"] == {"current-client": "lab"}
        current = UserConfigV1Alpha1.load().config.current_client
        assert current is not None
        assert (current.alias, current.endpoint) == ("lab", "e:1")
        assert UserConfigV1Alpha1.load().use_client(None) is None
        assert UserConfigV1Alpha1.load().config.current_client is None

    def test_one_that_is_not_there_leaves_the_choice(self) -> None:
        ClientConfigV1Alpha1.save(made())
        user = UserConfigV1Alpha1.load_or_create()
        user.use_client("lab")
        with pytest.raises(FileNotFoundError):
            user.use_client("other")
        assert UserConfigV1Alpha1.current_alias() == "lab"
        ClientConfigV1Alpha1.delete("lab")
        assert UserConfigV1Alpha1.load().config.current_client is None
        assert UserConfigV1Alpha1.current_alias() is None

    def test_made_by_a_program(self, tmp_path: Path) -> None:
        config = UserConfigV1Alpha1(config=UserConfigV1Alpha1Config(current_client=made()))
        assert config.config.current_client == made()
        path = UserConfigV1Alpha1.save(config, tmp_path / "u.yaml")
        assert yaml.safe_load(path.read_text())["config"] == {"current-client": "lab"}
        config.config.current_client = None
        assert config.config.current_client is None

    @pytest.mark.parametrize(
        ("text", "mistake"),
        [
            ("config: {curent-client: a}\n", "1:10: config.curent-client: unknown key; did you mean current-client?"),
            ("config: {current_client: a}\n", "1:10: config.current_client: unknown key; did you mean current-client?"),
            ("config: {current-client: [a]}\n", "1:10: config.current-client: expected text, got list"),
            ("config: a\n", "1:1: config: expected a mapping, got str 'a'"),
            ("kind: ClientConfig\nconfig: {}\n", "1:1: kind: expected 'UserConfig', got str 'ClientConfig'"),
        ],
    )
    def test_mistakes(self, home: Path, text: str, mistake: str) -> None:
        home.mkdir()
        path = home / "config.yaml"
        path.write_text(text)
        with pytest.raises(ConfigurationError) as caught:
            UserConfigV1Alpha1.load()
        assert str(caught.value) == f"{path}:{mistake}"

    def test_a_broken_current_client_does_not_keep_others_from_being_chosen(self, home: Path) -> None:
        ClientConfigV1Alpha1.save(made("good"))
        broken = ClientConfigV1Alpha1.save(made("bad"))
        UserConfigV1Alpha1.load_or_create().use_client("bad")
        broken.write_text("nonsense")
        with pytest.raises(ConfigurationError, match=r"bad\.yaml:1:1: expected a mapping"):
            _ = UserConfigV1Alpha1.load().config.current_client
        UserConfigV1Alpha1.load().use_client("good")
        assert UserConfigV1Alpha1.current_alias() == "good"
