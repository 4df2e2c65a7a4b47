"""Credentials for image registries, from real auth files."""

from __future__ import annotations

import base64
import json
import logging
from pathlib import Path
from typing import Any

import pytest
from jumpstarter.common.oci import (
    OciCredentials,
    parse_oci_registry,
    read_auth_file_credentials,
    resolve_oci_credentials,
)
from pydantic import SecretStr, ValidationError


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in (
        "OCI_USERNAME",
        "OCI_PASSWORD",
        "REGISTRY_AUTH_FILE",
        "DOCKER_CONFIG",
        "XDG_RUNTIME_DIR",
        "XDG_CONFIG_HOME",
    ):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def auth(user: str, password: str = "pw") -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


def write(path: Path, **accounts: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"auths": accounts}))
    return path


def user_for(url: str) -> str | None:
    return read_auth_file_credentials(url).username


@pytest.mark.parametrize(
    ("url", "registry"),
    [
        ("oci://quay.io/org/image:1", "quay.io"),
        ("quay.io/org/image@sha256:ab", "quay.io"),
        ("https://quay.io/org/image", "quay.io"),
        ("localhost:5000/image", "localhost:5000"),
        ("localhost/image", "localhost"),
        ("oci://quay.io", "quay.io"),
        ("ubuntu:latest", "docker.io"),
        ("library/ubuntu", "docker.io"),
        ("index.docker.io/library/ubuntu", "docker.io"),
    ],
)
def test_registry_of_a_reference(url: str, registry: str) -> None:
    assert parse_oci_registry(url) == registry


def test_arguments_come_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OCI_USERNAME", "env")
    monkeypatch.setenv("OCI_PASSWORD", "env-pw")
    found = resolve_oci_credentials("quay.io/image", "me", "secret")
    assert (found.username, found.plain_password, found.is_authenticated) == ("me", "secret", True)
    assert "secret" not in repr(found)
    assert resolve_oci_credentials("quay.io/image").username == "env"


@pytest.mark.parametrize(("username", "password"), [("me", None), (None, "pw"), (" ", "pw"), ("me", " ")])
def test_half_a_pair_is_refused(username: str | None, password: str | None) -> None:
    with pytest.raises(ValueError, match="both username and password"):
        resolve_oci_credentials("quay.io/image", username, password)


def test_the_model_holds_both_or_neither() -> None:
    with pytest.raises(ValidationError, match="both username and password"):
        OciCredentials(username="me")
    assert not OciCredentials(username="", password=SecretStr("")).is_authenticated


def test_half_an_environment_is_told_and_ignored(
    home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write(home / ".docker" / "config.json", **{"quay.io": auth("docker")})
    monkeypatch.setenv("OCI_USERNAME", "env")
    with caplog.at_level(logging.WARNING):
        assert resolve_oci_credentials("quay.io/image").username == "docker"
    assert "only one of OCI_USERNAME and OCI_PASSWORD" in caplog.text


def test_files_are_searched_in_order(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_auth_file_credentials("quay.io/image") == OciCredentials()
    write(home / ".docker" / "config.json", **{"quay.io": auth("docker")})
    assert user_for("quay.io/image") == "docker"
    monkeypatch.setenv("DOCKER_CONFIG", str(write(home / "d" / "config.json", **{"quay.io": auth("moved")}).parent))
    assert user_for("quay.io/image") == "moved"
    write(home / ".config" / "containers" / "auth.json", **{"quay.io": auth("config")})
    assert user_for("quay.io/image") == "config"
    write(home / "run" / "containers" / "auth.json", **{"quay.io": auth("runtime")})
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(home / "run"))
    assert user_for("quay.io/image") == "runtime"
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(write(home / "own.json", **{"quay.io": auth("own")})))
    assert user_for("quay.io/image") == "own"


def test_the_narrowest_key_wins(home: Path) -> None:
    write(
        home / ".docker" / "config.json",
        **{"quay.io": auth("host"), "quay.io/org": auth("org"), "quay.io/org/image": auth("image")},
    )
    assert user_for("quay.io/other/x") == "host"
    assert user_for("oci://quay.io/org/x:1") == "org"
    assert user_for("quay.io/org/image@sha256:ab") == "image"
    assert user_for("quay.io.evil.example/org/image") is None


def test_dockers_spelling_of_its_hub(home: Path) -> None:
    write(home / ".docker" / "config.json", **{"https://index.docker.io/v1/": auth("hub", "p:w")})
    found = read_auth_file_credentials("ubuntu:latest")
    assert (found.username, found.plain_password) == ("hub", "p:w")


def test_plain_fields(home: Path) -> None:
    write(home / ".docker" / "config.json", **{"quay.io": {"username": "me", "password": "pw"}})
    assert user_for("quay.io/image") == "me"


@pytest.mark.parametrize("account", [{"auth": "no base64!"}, {"auth": "bm9jb2xvbg=="}, "text", {"username": "me"}])
def test_broken_entries_are_told_and_skipped(home: Path, account: Any, caplog: pytest.LogCaptureFixture) -> None:
    path = write(home / ".docker" / "config.json", **{"quay.io": account})
    with caplog.at_level(logging.WARNING):
        assert read_auth_file_credentials("quay.io/image") == OciCredentials()
    assert str(path) in caplog.text


@pytest.mark.parametrize("text", ["{", "[]", '{"auths": 1}'])
def test_broken_files_are_told_and_skipped(home: Path, text: str, caplog: pytest.LogCaptureFixture) -> None:
    broken = write(home / ".config" / "containers" / "auth.json")
    broken.write_text(text)
    write(home / ".docker" / "config.json", **{"quay.io": auth("docker")})
    with caplog.at_level(logging.WARNING):
        assert user_for("quay.io/image") == "docker"
    assert str(broken) in caplog.text
