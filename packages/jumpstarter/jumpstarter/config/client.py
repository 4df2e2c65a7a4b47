"""The file of a client: who it is, where its exporters are, and which client classes it may import."""

from __future__ import annotations

import builtins
import os
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, cast

from pydantic import BaseModel, Field, field_validator, model_validator

from .aliases import Store
from .common import CONFIG_API_VERSION, GrpcOptions, ObjectMeta, Strict, UserDirectory
from .document import Document
from .env import JMP_ENDPOINT, JMP_REFRESH_TOKEN, JMP_TLS, JMP_TOKEN, UNSAFE, environment
from .shell import ShellConfigV1Alpha1
from .stored import ListConfig, StoredConfig
from .tls import TLSConfigV1Alpha1
from .validation import validate
from .yaml_reader import parse

__all__ = [
    "CONFIG_API_VERSION",
    "ClientConfigListV1Alpha1",
    "ClientConfigV1Alpha1",
    "ClientConfigV1Alpha1Drivers",
    "ClientConfigV1Alpha1Lease",
    "ObjectMeta",
    "ShellConfigV1Alpha1",
    "TLSConfigV1Alpha1",
]


class ClientConfigV1Alpha1Drivers(Strict):
    """Which client classes may be imported; JMP_DRIVERS_ALLOW and JMP_DRIVERS_UNSAFE give what is left out.

    `allow`: patterns of import paths, as a list or as text with commas.
    `unsafe`: all of them.
    """

    allow: list[str] = Field(default_factory=list)
    unsafe: bool = False

    @model_validator(mode="before")
    @classmethod
    def _from_environment(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        variables = environment()
        return {"allow": variables.allow, "unsafe": variables.unsafe} | data

    @field_validator("allow", mode="before")
    @classmethod
    def _split(cls, allow: Any) -> Any:
        return [word.strip() for word in allow.split(",") if word.strip()] if isinstance(allow, str) else allow

    @model_validator(mode="after")
    def _all_allowed(self) -> Self:
        self.unsafe = self.unsafe or UNSAFE in self.allow
        return self


class ClientConfigV1Alpha1Lease(Strict):
    """How long, in seconds, to wait.

    `acquisition_timeout`: for a lease.
    `dial_timeout`: for its exporter to be ready.
    `retry_timeout`: for an exporter that does not answer, before its lease is given up.
    """

    acquisition_timeout: int = Field(default=7200, ge=5)
    dial_timeout: float = Field(default=30.0, gt=0, allow_inf_nan=False)
    retry_timeout: float = Field(default=300.0, ge=0, allow_inf_nan=False)


class ClientConfigV1Alpha1(StoredConfig):
    """A client's configuration. The file wins; keys it leaves out are taken from JMP_* in the environment.

    `apiVersion`: the version of this format.
    `kind`: that this is a client's file.
    `metadata`: who the client is.
    `endpoint`: host:port of the lease service.
    `tls`: how to trust the lease service.
    `token`: what the client shows to the lease service.
    `refresh_token`: what gets it a new token.
    `grpcOptions`: gRPC channel options, such as grpc.keepalive_time_ms.
    `drivers`: which client classes may be imported.
    `shell`: how `jmp shell` starts the user's shell.
    `leases`: how long to wait.
    """

    CLIENT_CONFIGS_PATH: ClassVar[Path] = cast("Path", UserDirectory("clients"))
    OPTIONAL: ClassVar[frozenset[str]] = frozenset({"leases"})

    apiVersion: Literal["jumpstarter.dev/v1alpha1"] = "jumpstarter.dev/v1alpha1"  # noqa: N815 - the file's key
    kind: Literal["ClientConfig"] = "ClientConfig"
    metadata: ObjectMeta
    endpoint: str | None = None
    tls: TLSConfigV1Alpha1 = Field(default_factory=TLSConfigV1Alpha1)
    token: str | None = None
    refresh_token: str | None = None
    grpcOptions: GrpcOptions = Field(default_factory=dict)  # noqa: N815 - the file's key
    drivers: ClientConfigV1Alpha1Drivers = Field(default_factory=ClientConfigV1Alpha1Drivers)
    shell: ShellConfigV1Alpha1 = Field(default_factory=ShellConfigV1Alpha1)
    leases: ClientConfigV1Alpha1Lease = Field(default_factory=ClientConfigV1Alpha1Lease)

    @model_validator(mode="before")
    @classmethod
    def _from_environment(cls, data: Any) -> Any:
        return _environment_values() | data if isinstance(data, dict) else data

    @classmethod
    def store(cls) -> Store:
        return Store("client", (cls.CLIENT_CONFIGS_PATH,))

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> Self:
        """Read a file; `load_path` under its published name."""
        return cls.load_path(path)

    @classmethod
    def from_env(cls) -> Self:
        """The client that JMP_* alone describe. ConfigurationError where they do not."""
        return validate(cls, Document("environment variables JMP_*", {}))

    @classmethod
    def list(cls) -> ClientConfigListV1Alpha1:
        """All clients, by alias, and which one is current. ConfigurationError for all mistakes in their files."""
        from .user import UserConfigV1Alpha1

        return ClientConfigListV1Alpha1(currentConfig=UserConfigV1Alpha1.current_alias(), items=cls.load_all())


class ClientConfigListV1Alpha1(ListConfig):
    """All clients, and which one is current."""

    api_version: Literal["jumpstarter.dev/v1alpha1"] = Field(default="jumpstarter.dev/v1alpha1", alias="apiVersion")
    current_config: str | None = Field(alias="currentConfig")
    items: builtins.list[ClientConfigV1Alpha1]
    kind: Literal["ClientConfigList"] = "ClientConfigList"


def _environment_values() -> dict[str, Any]:
    """The keys of a client's file that the environment gives."""
    variables = environment()
    texts = {"endpoint": JMP_ENDPOINT, "token": JMP_TOKEN, "refresh_token": JMP_REFRESH_TOKEN}
    values: dict[str, Any] = {key: variables.get(name) for key, name in texts.items()}
    values["tls"] = _model(TLSConfigV1Alpha1, JMP_TLS)
    # Parts whose own keys the environment may give.
    return {key: value for key, value in values.items() if value is not None} | {"metadata": {}, "drivers": {}}


def _model(model: type[BaseModel], name: str) -> BaseModel | None:
    """What a variable holds as JSON or YAML; ConfigurationError, naming it, for all mistakes in it."""
    text = environment().get(name)
    return None if text is None else validate(model, parse(text, f"environment variable {name}"))
