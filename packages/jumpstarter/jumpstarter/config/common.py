"""What configuration files have in common."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, model_validator

from .env import JMP_NAME, JMP_NAMESPACE, environment

CONFIG_API_VERSION = "jumpstarter.dev/v1alpha1"

_GRPC_INTEGERS = range(-(2**31), 2**31)


class Strict(BaseModel):
    """A part of a file: keys it does not know are errors."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True, defer_build=True)


class ObjectMeta(Strict):
    """Who a client or an exporter is; JMP_NAMESPACE and JMP_NAME give what is left out.

    `namespace`: where in the lease service.
    `name`: what it is called there.
    """

    namespace: str | None = None
    name: str

    @model_validator(mode="before")
    @classmethod
    def _from_environment(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        variables = environment()
        defaults = {"namespace": variables.get(JMP_NAMESPACE), "name": variables.get(JMP_NAME)}
        return {key: text for key, text in defaults.items() if text is not None} | data


class UserDirectory:
    """A class attribute: a path below the user's configuration directory, as the environment has it now."""

    def __init__(self, *names: str) -> None:
        self._names = names

    def __get__(self, instance: object, owner: type) -> Path:
        return environment().configuration_directory.joinpath(*self._names)


def _check_name(name: str) -> str:
    if not name or not name.isascii() or not name.isprintable():
        raise ValueError(f"expected names of gRPC channel options, such as grpc.keepalive_time_ms, got {name!r}")
    return name


def _check_value(value: str | int) -> str | int:
    if isinstance(value, int) and value not in _GRPC_INTEGERS:
        raise ValueError(f"expected a whole number of at most 32 bits, got {value}")
    return value


_Name = Annotated[str, AfterValidator(_check_name)]
_Value = Annotated[str | int, AfterValidator(_check_value)]
GrpcOptions = dict[_Name, _Value] | None
