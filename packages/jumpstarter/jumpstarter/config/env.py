"""The environment variables, by name and by type. Nothing else in the core reads `os.environ`."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from jumpstarter.common.exceptions import ConfigurationError, EnvironmentVariableNotSetError

# The session that a shell is connected to.
JUMPSTARTER_HOST = "JUMPSTARTER_HOST"
JMP_GRPC_PASSPHRASE = "JMP_GRPC_PASSPHRASE"
JMP_GRPC_INSECURE = "JMP_GRPC_INSECURE"
JUMPSTARTER_GRPC_INSECURE = "JUMPSTARTER_GRPC_INSECURE"
JMP_DRIVERS_ALLOW = "JMP_DRIVERS_ALLOW"
JMP_DRIVERS_UNSAFE = "JMP_DRIVERS_UNSAFE"
JMP_LEASE = "JMP_LEASE"
JMP_EXPORTER = "JMP_EXPORTER"
JMP_EXPORTER_LABELS = "JMP_EXPORTER_LABELS"
JMP_SUPPRESS_DRIVER_WARNINGS = "_JMP_SUPPRESS_DRIVER_WARNINGS"

# Settings of a client that no file gives.
JMP_CLIENT_CONFIG_HOME = "JMP_CLIENT_CONFIG_HOME"
JMP_CLIENT_CONFIG = "JMP_CLIENT_CONFIG"
JMP_NAMESPACE = "JMP_NAMESPACE"
JMP_NAME = "JMP_NAME"
JMP_ENDPOINT = "JMP_ENDPOINT"
JMP_TOKEN = "JMP_TOKEN"
JMP_RETRY_TIMEOUT = "JMP_RETRY_TIMEOUT"
JMP_OIDC_CALLBACK_PORT = "JMP_OIDC_CALLBACK_PORT"

# Settings of an exporter.
JMP_DISABLE_COMPRESSION = "JMP_DISABLE_COMPRESSION"

# Credentials for image registries.
OCI_USERNAME = "OCI_USERNAME"
OCI_PASSWORD = "OCI_PASSWORD"
REGISTRY_AUTH_FILE = "REGISTRY_AUTH_FILE"
DOCKER_CONFIG = "DOCKER_CONFIG"

# Of the system.
XDG_RUNTIME_DIR = "XDG_RUNTIME_DIR"
XDG_CONFIG_HOME = "XDG_CONFIG_HOME"
XDG_CACHE_HOME = "XDG_CACHE_HOME"
NONINTERACTIVE = "NONINTERACTIVE"
TERM = "TERM"
SHELL = "SHELL"
HISTFILE = "HISTFILE"

UNSAFE = "UNSAFE"
_TRUE = frozenset({"1", "true", "t", "yes", "y", "on"})
_FALSE = frozenset({"0", "false", "f", "no", "n", "off"})


@dataclass(frozen=True)
class Environment:
    """Typed access to one set of variables; an empty one counts as unset.

    Raises ConfigurationError, naming the variable, for a value that is not of its type.
    """

    variables: Mapping[str, str]

    def get(self, name: str) -> str | None:
        """The text of a variable, None where it is unset."""
        return self.variables.get(name) or None

    @property
    def host(self) -> str:
        """Unix socket path or `host:port` of the session; EnvironmentVariableNotSetError outside a shell."""
        host = self.get(JUMPSTARTER_HOST)
        if host is None:
            raise EnvironmentVariableNotSetError(
                f"{JUMPSTARTER_HOST} is not set: run this inside `jmp shell`, which connects to an exporter and sets it"
            )
        return host

    @property
    def passphrase(self) -> str | None:
        """What the exporter at `host` wants to hear, if anything."""
        return self.get(JMP_GRPC_PASSPHRASE)

    @property
    def insecure(self) -> bool:
        """Whether the server's certificate goes unverified; on a direct TCP connection, whether TLS is left out."""
        return "1" in (self.get(JMP_GRPC_INSECURE), self.get(JUMPSTARTER_GRPC_INSECURE))

    @property
    def allow(self) -> list[str]:
        """Patterns of the client classes that may be imported."""
        return _words(self.get(JMP_DRIVERS_ALLOW))

    @property
    def unsafe(self) -> bool:
        """Whether any client class may be imported."""
        return UNSAFE in self.allow or self._flag(JMP_DRIVERS_UNSAFE)

    @property
    def lease(self) -> str | None:
        """Name of the lease to use, which whoever set it releases."""
        return self.get(JMP_LEASE)

    @property
    def exporter(self) -> str | None:
        """Name of the exporter behind `host`."""
        return self.get(JMP_EXPORTER)

    @property
    def exporter_labels(self) -> dict[str, str]:
        """Labels of the exporter behind `host`."""
        pairs = (word.partition("=") for word in _words(self.get(JMP_EXPORTER_LABELS)))
        return {key: value for key, _, value in pairs}

    @property
    def compression(self) -> bool:
        """Whether this exporter tells clients that it decompresses resources; what a handle names, it does anyway."""
        return self.get(JMP_DISABLE_COMPRESSION) != "1"

    @property
    def driver_warnings(self) -> bool:
        """Whether to warn about client classes that are not installed or not allowed."""
        return self.get(JMP_SUPPRESS_DRIVER_WARNINGS) is None

    @property
    def retry_timeout(self) -> float | None:
        """Seconds to go on trying to reach a leased exporter, None for the configuration's."""
        return self._number(JMP_RETRY_TIMEOUT)

    @property
    def interactive(self) -> bool:
        """Whether spinners and progress bars are welcome."""
        return self.get(NONINTERACTIVE) is None and self.get(TERM) != "dumb"

    @property
    def runtime_directory(self) -> Path:
        """Where sockets go: XDG_RUNTIME_DIR, else the system's directory for temporary files."""
        return Path(self.get(XDG_RUNTIME_DIR) or tempfile.gettempdir())

    @property
    def user_configuration_directory(self) -> Path:
        """Where programs keep a user's configuration."""
        return Path(self.get(XDG_CONFIG_HOME) or Path.home() / ".config")

    @property
    def configuration_directory(self) -> Path:
        """Where this program's client, exporter and user files are."""
        return Path(self.get(JMP_CLIENT_CONFIG_HOME) or self.user_configuration_directory / "jumpstarter")

    @property
    def cache_directory(self) -> Path:
        """Where this program keeps what it can fetch again."""
        return Path(self.get(XDG_CACHE_HOME) or Path.home() / ".cache") / "jumpstarter"

    def _flag(self, name: str) -> bool:
        text = (self.get(name) or "0").lower()
        if text not in _TRUE | _FALSE:
            raise ConfigurationError(f"environment variable {name}: expected 1 or 0, got {text!r}")
        return text in _TRUE

    def _number(self, name: str) -> float | None:
        text = self.get(name)
        try:
            return None if text is None else float(text)
        except ValueError:
            raise ConfigurationError(f"environment variable {name}: expected a number, got {text!r}") from None


def environment() -> Environment:
    """The environment of this process as it is now."""
    return Environment(dict(os.environ))


def _words(text: str | None) -> list[str]:
    return [word.strip() for word in (text or "").split(",") if word.strip()]
