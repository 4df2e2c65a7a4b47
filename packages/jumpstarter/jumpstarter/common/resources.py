"""Handles of client-side resources: what travels as an argument in place of a file's bytes."""

from __future__ import annotations

from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, Json


class _Model(BaseModel):
    model_config = ConfigDict(defer_build=True)


class ClientStreamResource(_Model):
    """A byte stream that the client has opened to the exporter, compressed if an encoding is named."""

    kind: Literal["client_stream"] = "client_stream"
    uuid: UUID
    x_jmp_content_encoding: str | None = None


class PresignedRequestResource(_Model):
    """An HTTP request that the exporter performs by itself."""

    kind: Literal["presigned_request"] = "presigned_request"
    headers: dict[str, str]
    url: str
    method: Literal["GET", "PUT"]


Resource = Annotated[ClientStreamResource | PresignedRequestResource, Field(discriminator="kind")]


class ResourceMetadata(_Model):
    """What an exporter answers to a resource stream: the handle, and the encoding it accepts."""

    resource: Json[Resource]
    x_jmp_accept_encoding: str | None = None
