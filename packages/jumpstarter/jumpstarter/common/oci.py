"""Credentials for registries of container images, found where podman and docker keep them."""

from __future__ import annotations

import base64
import binascii
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, SecretStr, field_validator, model_validator

from jumpstarter.config.env import (
    DOCKER_CONFIG,
    OCI_PASSWORD,
    OCI_USERNAME,
    REGISTRY_AUTH_FILE,
    XDG_RUNTIME_DIR,
    Environment,
    environment,
)

logger = logging.getLogger(__name__)

_DOCKER_HUB = "docker.io"
_DOCKER_HUB_NAMES = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io"})


class OciCredentials(BaseModel):
    """A user name with its password, or neither."""

    username: str | None = None
    password: SecretStr | None = None

    @field_validator("username", mode="before")
    @classmethod
    def _no_blank_username(cls, value: Any) -> Any:
        return None if isinstance(value, str) and not value.strip() else value

    @field_validator("password", mode="after")
    @classmethod
    def _no_blank_password(cls, value: SecretStr | None) -> SecretStr | None:
        return value if value is not None and value.get_secret_value().strip() else None

    @model_validator(mode="after")
    def _both_or_neither(self) -> Self:
        if (self.username is None) != (self.password is None):
            raise ValueError("OCI authentication requires both username and password")
        return self

    @property
    def plain_password(self) -> str | None:
        """The password in clear text."""
        return self.password.get_secret_value() if self.password is not None else None

    @property
    def is_authenticated(self) -> bool:
        """Whether there is anything to log in with."""
        return self.username is not None


def resolve_oci_credentials(oci_url: str, username: str | None = None, password: str | None = None) -> OciCredentials:
    """The arguments, else OCI_USERNAME and OCI_PASSWORD, else what an auth file has for the image, else none.

    Raises ValueError where only one of `username` and `password` is given.
    """
    if username or password:
        if not (username and username.strip() and password and password.strip()):
            raise ValueError("OCI authentication requires both username and password")
        return OciCredentials(username=username, password=SecretStr(password))
    variables = environment()
    username, password = variables.get(OCI_USERNAME), variables.get(OCI_PASSWORD)
    if username and password:
        return OciCredentials(username=username, password=SecretStr(password))
    if username or password:
        logger.warning("only one of %s and %s is set: both are ignored", OCI_USERNAME, OCI_PASSWORD)
    return read_auth_file_credentials(oci_url)


def read_auth_file_credentials(oci_url: str) -> OciCredentials:
    """What the first auth file that knows the image's registry has for it, else none; a broken file is skipped."""
    for path in _auth_files(environment()):
        accounts = _accounts(path)
        for key in _keys(oci_url):
            if key in accounts and (credentials := _decode(accounts[key], path, key)):
                return credentials
    return OciCredentials()


def parse_oci_registry(oci_url: str) -> str:
    """The registry, with its port, of an image reference; `docker.io` where the reference names none."""
    return _split(oci_url)[0]


def _split(reference: str) -> tuple[str, list[str]]:
    """Registry, and the parts of the repository's path."""
    first, *rest = reference.partition("://")[2].split("/") if "://" in reference else reference.split("/")
    names_a_host = "." in first or ":" in first or first == "localhost"
    if not names_a_host or not (rest or "://" in reference):
        return _DOCKER_HUB, [first, *rest]
    return (_DOCKER_HUB if first in _DOCKER_HUB_NAMES else first), rest


def _keys(reference: str) -> Iterator[str]:
    """Keys of an auth file that cover an image, the narrowest first."""
    registry, parts = _split(reference)
    if parts:
        parts[-1] = parts[-1].partition("@")[0].partition(":")[0]
    for length in range(len(parts), 0, -1):
        yield "/".join([registry, *parts[:length]])
    yield registry


def _auth_files(variables: Environment) -> Iterator[Path]:
    if path := variables.get(REGISTRY_AUTH_FILE):
        yield Path(path)
    if directory := variables.get(XDG_RUNTIME_DIR):
        yield Path(directory) / "containers" / "auth.json"
    yield variables.user_configuration_directory / "containers" / "auth.json"
    yield Path(variables.get(DOCKER_CONFIG) or Path.home() / ".docker") / "config.json"


def _accounts(path: Path) -> dict[str, Any]:
    """The accounts of one auth file, by `registry` or `registry/path`."""
    try:
        accounts = json.loads(path.read_text()).get("auths", {})
        return {_normal(key): account for key, account in accounts.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, AttributeError) as error:
        logger.warning("cannot use the auth file %s: %s", path, error)
        return {}


def _normal(key: str) -> str:
    """A key as `_keys` writes it; docker writes URLs such as `https://index.docker.io/v1/`."""
    text = key.partition("://")[2] or key
    registry, *parts = text.rstrip("/").split("/")
    if parts in (["v1"], ["v2"]):
        parts = []
    return "/".join([_DOCKER_HUB if registry in _DOCKER_HUB_NAMES else registry, *parts])


def _decode(account: Any, path: Path, key: str) -> OciCredentials | None:
    """Both halves of an account, from its `auth` or its plain fields; None where it has neither."""
    try:
        if auth := account.get("auth"):
            username, _, password = base64.b64decode(auth, validate=True).decode().partition(":")
        else:
            username, password = account.get("username"), account.get("password")
        credentials = OciCredentials.model_validate({"username": username, "password": password})
    except (AttributeError, TypeError, binascii.Error, ValueError):
        logger.warning("the entry for %s in the auth file %s cannot be read", key, path)
        return None
    return credentials if credentials.is_authenticated else None
