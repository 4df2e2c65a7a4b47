"""What configuration files have in common."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator

from .env import JMP_NAME, JMP_NAMESPACE, environment

CONFIG_API_VERSION = "jumpstarter.dev/v1alpha1"


class Strict(BaseModel):
    """A part of a file: keys it does not know are errors."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)


class ObjectMeta(Strict):
    """Namespace and name of a client or an exporter; JMP_NAMESPACE and JMP_NAME give what is left out."""

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
