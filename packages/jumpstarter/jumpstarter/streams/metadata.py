"""Facts that a driver's stream tells its client before the first byte."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from anyio import TypedAttributeSet, typed_attribute
from anyio.abc import ObjectStream


class MetadataStreamAttributes(TypedAttributeSet):
    """`metadata`: text by key; on the wire it is the initial metadata of the call."""

    metadata: dict[str, str] = typed_attribute()


@dataclass(kw_only=True)
class MetadataStream(ObjectStream[bytes]):
    """`stream`, carrying `metadata`."""

    stream: ObjectStream[bytes]
    metadata: dict[str, str]

    async def send(self, item: bytes) -> None:
        await self.stream.send(item)

    async def receive(self) -> bytes:
        return await self.stream.receive()

    async def send_eof(self) -> None:
        await self.stream.send_eof()

    async def aclose(self) -> None:
        await self.stream.aclose()

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        return {**self.stream.extra_attributes, MetadataStreamAttributes.metadata: lambda: self.metadata}
