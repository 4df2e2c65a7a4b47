"""The environment variables, by name and by type. Nothing else in the core reads `os.environ`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jumpstarter.common.exceptions import ConfigurationError, EnvironmentVariableNotSetError

if TYPE_CHECKING:
    from pathlib import Path

# The session that a shell is connected to.
#: Unix socket path or `host:port` of the session that `j` and `env()` drive.
JUMPSTARTER_HOST = "JUMPSTARTER_HOST"
#: Passphrase for the exporter, of `jmp shell --tls-grpc` and of what runs in its shell.
JMP_GRPC_PASSPHRASE = "JMP_GRPC_PASSPHRASE"
#: `1`: a direct connection without TLS; one to a service without a look at its certificate.
JMP_GRPC_INSECURE = "JMP_GRPC_INSECURE"
#: Means the same as JMP_GRPC_INSECURE.
JUMPSTARTER_GRPC_INSECURE = "JUMPSTARTER_GRPC_INSECURE"
#: File of the authorities to trust on a TLS connection to the session.
JMP_GRPC_CA = "JMP_GRPC_CA"
#: File of the certificate to show to the exporter.
JMP_GRPC_CERT = "JMP_GRPC_CERT"
#: File of the private key of that certificate; not needed where the certificate's file holds it too.
JMP_GRPC_KEY = "JMP_GRPC_KEY"
#: Seconds that connecting may take.
JMP_CONNECT_TIMEOUT = "JMP_CONNECT_TIMEOUT"
#: File of the authorities to trust in place of the system's; any gRPC program reads it.
GRPC_DEFAULT_SSL_ROOTS_FILE_PATH = "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH"
#: Patterns of client classes that may be imported, with commas between them; `UNSAFE` for any.
JMP_DRIVERS_ALLOW = "JMP_DRIVERS_ALLOW"
#: `1`: any client class may be imported.
JMP_DRIVERS_UNSAFE = "JMP_DRIVERS_UNSAFE"
#: Name of the lease of the session.
JMP_LEASE = "JMP_LEASE"
#: Name of the exporter of the session.
JMP_EXPORTER = "JMP_EXPORTER"
#: Its labels: `key=value`, with commas between them.
JMP_EXPORTER_LABELS = "JMP_EXPORTER_LABELS"
#: Any text: no warnings about client classes that are not installed or not allowed.
JMP_SUPPRESS_DRIVER_WARNINGS = "_JMP_SUPPRESS_DRIVER_WARNINGS"

# Settings of a client that no file gives.
#: Directory of client, exporter and user files, in place of `~/.config/jumpstarter`.
JMP_CLIENT_CONFIG_HOME = "JMP_CLIENT_CONFIG_HOME"
#: A name for other programs to use; nothing here reads it.
JMP_CLIENT_CONFIG = "JMP_CLIENT_CONFIG"
#: Namespace of a client or exporter whose file gives none.
JMP_NAMESPACE = "JMP_NAMESPACE"
#: Name of a client or exporter whose file gives none.
JMP_NAME = "JMP_NAME"
#: Address of the service for a client whose file gives none, and for a client without a file.
JMP_ENDPOINT = "JMP_ENDPOINT"
#: Token for the service, for a client whose file gives none.
JMP_TOKEN = "JMP_TOKEN"
#: Token that gets new tokens, for a client whose file gives none.
JMP_REFRESH_TOKEN = "JMP_REFRESH_TOKEN"
#: TLS settings as in the client's file, as JSON, for a client whose file gives none.
JMP_TLS = "JMP_TLS"
#: Seconds to go on trying to reach a leased exporter; wins over the client's file.
JMP_RETRY_TIMEOUT = "JMP_RETRY_TIMEOUT"
#: A name for other programs to use; nothing here reads it.
JMP_OIDC_CALLBACK_PORT = "JMP_OIDC_CALLBACK_PORT"

# Settings of an exporter.
#: Passphrase that `jmp run` asks of its clients.
JMP_EXPORTER_PASSPHRASE = "JMP_EXPORTER_PASSPHRASE"
#: `1`: the exporter does not offer to decompress what clients send.
JMP_DISABLE_COMPRESSION = "JMP_DISABLE_COMPRESSION"

# The lease that a hook runs for.
#: In hooks: the name of the lease, where it has one.
LEASE_NAME = "LEASE_NAME"
#: In hooks: the name of the client, where it is known.
CLIENT_NAME = "CLIENT_NAME"

# Credentials for image registries.
#: User name at an image registry.
OCI_USERNAME = "OCI_USERNAME"
#: Password at an image registry.
OCI_PASSWORD = "OCI_PASSWORD"
#: File with registry credentials, as podman has it.
REGISTRY_AUTH_FILE = "REGISTRY_AUTH_FILE"
#: Directory of the file with registry credentials, as docker has it.
DOCKER_CONFIG = "DOCKER_CONFIG"

# What a person at a terminal sees.
#: `1`: no progress, no notices and no warnings, as with `--quiet`.
JMP_QUIET = "JMP_QUIET"
#: Any text: no colours.
NO_COLOR = "NO_COLOR"

# Of the service manager.
#: Where the service manager listens: a path, or `@` and an abstract name.
NOTIFY_SOCKET = "NOTIFY_SOCKET"
#: Microseconds after which the service manager gives up on a process that shows no sign of life.
WATCHDOG_USEC = "WATCHDOG_USEC"
#: The process that WATCHDOG_USEC is for.
WATCHDOG_PID = "WATCHDOG_PID"

# Of the system.
#: Directory for sockets; without it, the system's one for temporary files.
XDG_RUNTIME_DIR = "XDG_RUNTIME_DIR"
#: Directory of a user's configuration, in place of `~/.config`.
XDG_CONFIG_HOME = "XDG_CONFIG_HOME"
#: Directory for what can be fetched again, in place of `~/.cache`.
XDG_CACHE_HOME = "XDG_CACHE_HOME"
#: Any text: no spinners and no progress bars.
NONINTERACTIVE = "NONINTERACTIVE"
#: `dumb`: no colours and no progress bars. Hooks get this.
TERM = "TERM"
#: Where programs are found; hooks also find those beside the exporter's Python.
PATH = "PATH"
#: The shell that `jmp shell` starts.
SHELL = "SHELL"
#: Where zsh keeps its history.
HISTFILE = "HISTFILE"
#: The prompt of the shell that `jmp shell` starts.
PS1 = "PS1"
#: What a plain sh reads at its start.
ENV = "ENV"
#: Where zsh reads its start-up files.
ZDOTDIR = "ZDOTDIR"
#: `noninteractive` in hooks: nobody is there to answer questions.
DEBIAN_FRONTEND = "DEBIAN_FRONTEND"
#: `0` in hooks, for the same reason.
GIT_TERMINAL_PROMPT = "GIT_TERMINAL_PROMPT"

# What tells a program of one session; a shell or hook of another one must not inherit it.
OF_ONE_SESSION = frozenset(
    {
        JMP_EXPORTER,
        JMP_EXPORTER_LABELS,
        JMP_GRPC_CA,
        JMP_GRPC_CERT,
        JMP_GRPC_INSECURE,
        JMP_GRPC_KEY,
        JMP_GRPC_PASSPHRASE,
        JMP_LEASE,
        JUMPSTARTER_GRPC_INSECURE,
    }
)

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
    def ca(self) -> Path | None:
        """File of the authorities to trust on a TLS connection to `host`."""
        return self._path(JMP_GRPC_CA)

    @property
    def certificate(self) -> Path | None:
        """File of the certificate to show to the exporter at `host`."""
        return self._path(JMP_GRPC_CERT)

    @property
    def key(self) -> Path | None:
        """File of the private key of `certificate`, None where that holds it too."""
        return self._path(JMP_GRPC_KEY)

    @property
    def grpc_roots(self) -> str | None:
        """File of the authorities that gRPC programs trust in place of the system's."""
        return self.get(GRPC_DEFAULT_SSL_ROOTS_FILE_PATH)

    @property
    def connect_timeout(self) -> float | None:
        """Seconds for a connection to come about, None for the default."""
        return self._number(JMP_CONNECT_TIMEOUT)

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
    def notify_socket(self) -> str | None:
        """Where the service manager listens: a path, or `@` and an abstract name."""
        return self.get(NOTIFY_SOCKET)

    @property
    def watchdog_seconds(self) -> float | None:
        """How often, at least, the service manager wants a sign of life from this process; None for never."""
        microseconds = self._number(WATCHDOG_USEC)
        meant = self.get(WATCHDOG_PID) in (None, str(os.getpid()))
        return microseconds / 1_000_000 if microseconds and microseconds > 0 and meant else None

    @property
    def retry_timeout(self) -> float | None:
        """Seconds to go on trying to reach a leased exporter, None for the configuration's."""
        return self._number(JMP_RETRY_TIMEOUT)

    @property
    def interactive(self) -> bool:
        """Whether spinners and progress bars are welcome."""
        return not self.quiet and self.get(NONINTERACTIVE) is None and self.get(TERM) != "dumb"

    @property
    def quiet(self) -> bool:
        """Whether progress, notices and warnings stay away; commands started from a quiet one are quiet too."""
        return self._flag(JMP_QUIET)

    @property
    def colour(self) -> bool:
        """Whether a terminal may be given colours."""
        return self.get(NO_COLOR) is None and self.get(TERM) != "dumb"

    @property
    def runtime_directory(self) -> Path:
        """Where sockets go: XDG_RUNTIME_DIR, else the system's directory for temporary files."""
        from pathlib import Path
        from tempfile import gettempdir

        return self._path(XDG_RUNTIME_DIR) or Path(gettempdir())

    @property
    def user_configuration_directory(self) -> Path:
        """Where programs keep a user's configuration."""
        return self._path(XDG_CONFIG_HOME) or _home() / ".config"

    @property
    def configuration_directory(self) -> Path:
        """Where this program's client, exporter and user files are."""
        return self._path(JMP_CLIENT_CONFIG_HOME) or self.user_configuration_directory / "jumpstarter"

    @property
    def cache_directory(self) -> Path:
        """Where this program keeps what it can fetch again."""
        return (self._path(XDG_CACHE_HOME) or _home() / ".cache") / "jumpstarter"

    def _path(self, name: str) -> Path | None:
        text = self.get(name)
        if text is None:
            return None
        from pathlib import Path

        return Path(text)

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


def _home() -> Path:
    from pathlib import Path

    return Path.home()


def forget(*names: str) -> None:
    """Take variables from the environment of this process, and so of the programs that it starts."""
    for name in names:
        os.environ.pop(name, None)


def take_over(variables: Mapping[str, str]) -> None:
    """Make `variables` the environment of this process."""
    os.environ.clear()
    os.environ.update(variables)


def _words(text: str | None) -> list[str]:
    return [word.strip() for word in (text or "").split(",") if word.strip()]
