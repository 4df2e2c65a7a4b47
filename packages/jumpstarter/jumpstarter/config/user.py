"""The user's own file: which client is current."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, cast

from pydantic import ConfigDict, Field, PrivateAttr, model_validator

from jumpstarter.common.exceptions import FileNotFoundError

from .client import ClientConfigV1Alpha1
from .common import Strict, UserDirectory
from .files import read_text, write_text
from .stored import to_yaml
from .validation import validate
from .yaml_reader import parse


class UserConfigV1Alpha1Config(Strict):
    """Which client is in use. The property `current_client` is its configuration, read when it is asked for."""

    model_config = ConfigDict(populate_by_name=False)

    alias: str | None = Field(default=None, alias="current-client", description="alias of the client in use.")

    _client: ClientConfigV1Alpha1 | None = PrivateAttr(default=None)

    if TYPE_CHECKING:

        def __init__(self, *, current_client: ClientConfigV1Alpha1 | None = None) -> None: ...

    @model_validator(mode="wrap")
    @classmethod
    def _from_client(cls, data: Any, handler: Callable[[Any], Self]) -> Self:
        """Takes a client's configuration too, in place of its alias."""
        client = data.get("current_client") if isinstance(data, dict) else None
        if not isinstance(client, ClientConfigV1Alpha1):
            return handler(data)
        made = handler({"current-client": client.alias})
        made._client = client
        return made

    @property
    def current_client(self) -> ClientConfigV1Alpha1 | None:
        """None where none is chosen or its file is gone. ConfigurationError for all mistakes in the file."""
        if self._client is None and self.alias and ClientConfigV1Alpha1.exists(self.alias):
            self._client = ClientConfigV1Alpha1.load(self.alias)
        return self._client

    @current_client.setter
    def current_client(self, client: ClientConfigV1Alpha1 | None) -> None:
        self.alias = None if client is None else client.alias
        self._client = client


class UserConfigV1Alpha1(Strict):
    """The user's configuration.

    `apiVersion`: the version of this format.
    `kind`: that this is a user's file.
    `config`: what the user has chosen.
    """

    BASE_CONFIG_PATH: ClassVar[Path] = cast("Path", UserDirectory())
    USER_CONFIG_PATH: ClassVar[Path] = cast("Path", UserDirectory("config.yaml"))

    apiVersion: Literal["jumpstarter.dev/v1alpha1"] = "jumpstarter.dev/v1alpha1"  # noqa: N815 - the file's key
    kind: Literal["UserConfig"] = "UserConfig"
    config: UserConfigV1Alpha1Config

    @classmethod
    def exists(cls) -> bool:
        """Whether the user has this file."""
        return cls.USER_CONFIG_PATH.exists()

    @classmethod
    def load(cls) -> Self:
        """Read the file. FileNotFoundError where there is none, ConfigurationError for all mistakes in it."""
        path = cls.USER_CONFIG_PATH
        return validate(cls, parse(read_text(path), str(path)))

    @classmethod
    def current_alias(cls) -> str | None:
        """Alias of the current client, whatever is in its file; None where there is none."""
        alias = cls.load().config.alias if cls.exists() else None
        return alias if alias and ClientConfigV1Alpha1.exists(alias) else None

    @classmethod
    def load_or_create(cls) -> Self:
        """Read the file, or write one that chooses nothing."""
        try:
            return cls.load()
        except FileNotFoundError:
            created = cls(config=UserConfigV1Alpha1Config())
            cls.save(created)
            return created

    @classmethod
    def save(cls, config: Self, path: str | os.PathLike[str] | None = None) -> Path:
        """Write the user's file, or `path`; returns where. ConfigurationError where that cannot be done."""
        target = cls.USER_CONFIG_PATH if path is None else Path(path)
        write_text(target, to_yaml(config.model_dump(mode="json", by_alias=True)))
        return target

    def use_client(self, name: str | None) -> Path | None:
        """Make a client current, or none, and save that; returns the client's file. FileNotFoundError for no client."""
        client = None if name is None else ClientConfigV1Alpha1.load(name)
        self.config.current_client = client
        self.save(self)
        return None if client is None else client.path
