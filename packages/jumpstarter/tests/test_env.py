"""Environment variables, typed."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from jumpstarter.common.exceptions import ConfigurationError, EnvironmentVariableNotSetError
from jumpstarter.config import env
from jumpstarter.config.env import Environment, environment


def test_names_are_their_own_values() -> None:
    assert env.JMP_LEASE == "JMP_LEASE"
    assert env.JMP_DRIVERS_ALLOW == "JMP_DRIVERS_ALLOW"
    assert env.JUMPSTARTER_HOST == "JUMPSTARTER_HOST"
    assert env.JMP_OIDC_CALLBACK_PORT == "JMP_OIDC_CALLBACK_PORT"


def test_reads_the_environment_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(env.JUMPSTARTER_HOST, "board.lab:8082")
    assert environment().host == "board.lab:8082"
    monkeypatch.delenv(env.JUMPSTARTER_HOST)
    with pytest.raises(EnvironmentVariableNotSetError, match=r"JUMPSTARTER_HOST.*jmp shell"):
        _ = environment().host


def test_empty_counts_as_unset() -> None:
    assert Environment({env.JMP_GRPC_PASSPHRASE: ""}).passphrase is None
    assert Environment({env.JMP_GRPC_PASSPHRASE: "pw"}).passphrase == "pw"


@pytest.mark.parametrize(
    ("allow", "flag", "patterns", "unsafe"),
    [
        ("", "", [], False),
        ("a.*, b.C", "", ["a.*", "b.C"], False),
        ("UNSAFE", "", ["UNSAFE"], True),
        ("a,UNSAFE", "", ["a", "UNSAFE"], True),
        ("", "1", [], True),
        ("", "true", [], True),
        ("a", "0", ["a"], False),
    ],
)
def test_allow_list(allow: str, flag: str, patterns: list[str], unsafe: bool) -> None:
    here = Environment({env.JMP_DRIVERS_ALLOW: allow, env.JMP_DRIVERS_UNSAFE: flag})
    assert here.allow == patterns
    assert here.unsafe is unsafe


def test_wrong_types_name_the_variable() -> None:
    with pytest.raises(ConfigurationError, match=r"JMP_DRIVERS_UNSAFE.*'perhaps'"):
        _ = Environment({env.JMP_DRIVERS_UNSAFE: "perhaps"}).unsafe
    with pytest.raises(ConfigurationError, match=r"JMP_RETRY_TIMEOUT.*'soon'"):
        _ = Environment({env.JMP_RETRY_TIMEOUT: "soon"}).retry_timeout
    assert Environment({env.JMP_RETRY_TIMEOUT: "12.5"}).retry_timeout == 12.5
    assert Environment({}).retry_timeout is None


@pytest.mark.parametrize("name", [env.JMP_GRPC_INSECURE, env.JUMPSTARTER_GRPC_INSECURE])
def test_insecure_is_1_only(name: str) -> None:
    assert Environment({name: "1"}).insecure
    assert not Environment({name: "true"}).insecure
    assert not Environment({}).insecure


def test_certificates_of_a_session() -> None:
    here = Environment({env.JMP_GRPC_CA: "/ca.pem", env.JMP_GRPC_CERT: "/c.pem", env.JMP_GRPC_KEY: "/c.key"})
    assert (here.ca, here.certificate, here.key) == (Path("/ca.pem"), Path("/c.pem"), Path("/c.key"))
    assert (Environment({}).ca, Environment({}).certificate, Environment({}).key) == (None, None, None)


def test_time_to_connect() -> None:
    assert Environment({env.JMP_CONNECT_TIMEOUT: "2.5"}).connect_timeout == 2.5
    assert Environment({}).connect_timeout is None


def test_session_facts() -> None:
    here = Environment({env.JMP_LEASE: "l", env.JMP_EXPORTER: "e", env.JMP_EXPORTER_LABELS: "a=1,b=x=y"})
    assert (here.lease, here.exporter, here.exporter_labels) == ("l", "e", {"a": "1", "b": "x=y"})


def test_switches() -> None:
    assert Environment({}).compression
    assert not Environment({env.JMP_DISABLE_COMPRESSION: "1"}).compression
    assert Environment({}).driver_warnings
    assert not Environment({env.JMP_SUPPRESS_DRIVER_WARNINGS: "yes"}).driver_warnings
    assert Environment({}).interactive
    assert not Environment({env.TERM: "dumb"}).interactive
    assert not Environment({env.NONINTERACTIVE: "1"}).interactive


def test_directories(tmp_path: Path) -> None:
    home = Path.home()
    assert Environment({}).configuration_directory == home / ".config" / "jumpstarter"
    assert Environment({env.XDG_CONFIG_HOME: "/c"}).configuration_directory == Path("/c/jumpstarter")
    both = {env.XDG_CONFIG_HOME: "/c", env.JMP_CLIENT_CONFIG_HOME: str(tmp_path)}
    assert Environment(both).configuration_directory == tmp_path
    assert Environment({env.XDG_CACHE_HOME: "/c"}).cache_directory == Path("/c/jumpstarter")
    assert Environment({}).runtime_directory == Path(tempfile.gettempdir())
    assert Environment({env.XDG_RUNTIME_DIR: "/run/user/1"}).runtime_directory == Path("/run/user/1")
