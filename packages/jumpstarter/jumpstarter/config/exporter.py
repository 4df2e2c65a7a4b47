"""The file of an exporter: who it is, the tree of drivers it serves, and what it does around a lease."""

from __future__ import annotations

import builtins
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast

from pydantic import Field

from .aliases import Store
from .common import CONFIG_API_VERSION, GrpcOptions, ObjectMeta, UserDirectory
from .document import Document, Mistake
from .entries import ExporterConfigV1Alpha1DriverInstance
from .hooks import (
    ClientLostConfigV1Alpha1,
    FailureDetectionConfigV1Alpha1,
    HookConfigV1Alpha1,
    HookInstanceConfigV1Alpha1,
)
from .stored import ListConfig, StoredConfig
from .tls import TLSConfigV1Alpha1

if TYPE_CHECKING:
    from jumpstarter.driver import Driver

    from .tree import Plan

__all__ = [
    "CONFIG_API_VERSION",
    "ClientLostConfigV1Alpha1",
    "ExporterConfigListV1Alpha1",
    "ExporterConfigV1Alpha1",
    "ExporterConfigV1Alpha1DriverInstance",
    "FailureDetectionConfigV1Alpha1",
    "HookConfigV1Alpha1",
    "HookInstanceConfigV1Alpha1",
    "ObjectMeta",
]

NO_FILE = "exporter configuration"


class ExporterConfigV1Alpha1(StoredConfig):
    """An exporter's configuration. Files: the user's, then the system's.

    `apiVersion`: the version of this format.
    `kind`: that this is an exporter's file.
    `metadata`: who the exporter is.
    `endpoint`: host:port of the lease service.
    `tls`: how to trust the lease service.
    `token`: what the exporter shows to the lease service.
    `grpcOptions`: gRPC channel options, such as grpc.keepalive_time_ms.
    `description`: help text of the whole tree.
    `motd`: what people read when they open a shell.
    `export`: the tree of drivers.
    `hooks`: scripts around each lease.
    `failureDetection`: when an exporter that fails again and again gives up.
    `clientLost`: what leaves the board safe when a client is gone without a word.
    """

    BASE_PATH: ClassVar[Path] = cast("Path", UserDirectory("exporters"))
    SYSTEM_CONFIG_PATH: ClassVar[Path] = Path("/etc/jumpstarter/exporters")
    OPTIONAL: ClassVar[frozenset[str]] = frozenset({"hooks", "failure_detection", "client_lost"})

    apiVersion: Literal["jumpstarter.dev/v1alpha1"] = "jumpstarter.dev/v1alpha1"  # noqa: N815 - the file's key
    kind: Literal["ExporterConfig"] = "ExporterConfig"
    metadata: ObjectMeta
    endpoint: str | None = None
    tls: TLSConfigV1Alpha1 = Field(default_factory=TLSConfigV1Alpha1)
    token: str | None = None
    grpcOptions: GrpcOptions = Field(default_factory=dict)  # noqa: N815 - the file's key
    description: str | None = None
    motd: str | None = None
    export: dict[str, ExporterConfigV1Alpha1DriverInstance] = Field(default_factory=dict)
    hooks: HookConfigV1Alpha1 = Field(default_factory=HookConfigV1Alpha1)
    failure_detection: FailureDetectionConfigV1Alpha1 = Field(
        default_factory=FailureDetectionConfigV1Alpha1, alias="failureDetection"
    )
    client_lost: ClientLostConfigV1Alpha1 = Field(default_factory=ClientLostConfigV1Alpha1, alias="clientLost")

    @classmethod
    def store(cls) -> Store:
        return Store("exporter", (cls.BASE_PATH, cls.SYSTEM_CONFIG_PATH))

    @classmethod
    def list(cls) -> ExporterConfigListV1Alpha1:
        """All exporters, by alias. ConfigurationError for all mistakes in their files."""
        return ExporterConfigListV1Alpha1(items=cls.load_all())

    @classmethod
    def resolve_path(cls, alias: str) -> Path:
        """The file of an alias; where there is none, the user's that would be it."""
        return cls.store().find(alias) or cls.store().path(alias)

    @classmethod
    def user_config_exists(cls, alias: str) -> bool:
        """Whether the user has a file of that alias."""
        return cls.store().path(alias).exists()

    @classmethod
    def validate_alias(cls, alias: str) -> None:
        """ConfigurationError for what cannot be an alias."""
        cls.store().check(alias)

    def where(self, *keys: str) -> str:
        """`FILE:LINE` of a key, or of the nearest one around it; where no file was read, what stands for it."""
        document = self._read_from
        return f"{document.source}:{document.position(keys)[0]}" if document.positions else document.source

    def check(self) -> None:
        """ConfigurationError for all that cannot be: drivers, their settings, references, hooks. Makes no driver."""
        self._plan()

    def build(self) -> Driver:
        """The drivers, as one tree. ConfigurationError, for all that `check` finds, before any driver is made.

        Blocks while drivers start. Where one fails, those that were made before it are closed.
        """
        return self._plan().make(self._read_from)

    def _plan(self) -> Plan:
        from .checks import mistakes_around
        from .tree import plan_tree

        plan, mistakes = plan_tree(self.export, self.description)
        hooks = {"beforeLease": self.hooks.before_lease, "afterLease": self.hooks.after_lease}
        interpreters = {key: hook.exec for key, hook in hooks.items() if hook is not None and hook.exec is not None}
        calls = dict(enumerate(self.client_lost.run))
        self._read_from.refuse(mistakes + mistakes_around(self.export, interpreters, calls))
        return plan

    @property
    def _read_from(self) -> Document:
        return self._document or Document(NO_FILE)

    @classmethod
    def _further_mistakes(cls, value: Any) -> builtins.list[Mistake]:
        from .checks import mistakes_of_faulty

        return mistakes_of_faulty(value)


class ExporterConfigListV1Alpha1(ListConfig):
    """All exporters."""

    api_version: Literal["jumpstarter.dev/v1alpha1"] = Field(default="jumpstarter.dev/v1alpha1", alias="apiVersion")
    items: builtins.list[ExporterConfigV1Alpha1]
    kind: Literal["ExporterConfigList"] = "ExporterConfigList"
