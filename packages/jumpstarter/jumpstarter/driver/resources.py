"""What a client passes to a driver by handle: a stream of its own, or a URL for the exporter to fetch or fill."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar
from functools import cache
from typing import Any
from uuid import UUID

from anyio import BrokenResourceError, ClosedResourceError
from anyio.abc import ObjectStream
from pydantic import TypeAdapter, ValidationError

from jumpstarter.common.resources import ClientStreamResource, Resource
from jumpstarter.rpc.limits import Limits

# Seconds a URL transfer may take in all.
RESOURCE_SECONDS = 7200.0

_DEFAULTS = Limits()
# The bounds of the exporter that runs the present call.
LIMITS: ContextVar[Limits] = ContextVar("jumpstarter_limits", default=_DEFAULTS)


@asynccontextmanager
async def open_resource(resources: dict[UUID, Any], handle: Any, timeout: float) -> AsyncGenerator[ObjectStream[bytes]]:
    """The byte stream behind `handle`. ValueError when it is malformed, unknown, or was opened before."""
    try:
        resource = _handles().validate_python(handle)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise ValueError(
            f"not a resource handle: {first['msg']} ({'.'.join(map(str, first['loc']))}), got {handle!r}"
        ) from None
    if isinstance(resource, ClientStreamResource):
        stream = resources.pop(resource.uuid, None)
        if stream is None:
            raise ValueError(
                f"resource {resource.uuid} does not exist: it was used before, or its client has closed it"
            )
        async with stream:
            yield stream
            # Only a body that went through says so: a client must not take half a dump for a whole one.
            with suppress(BrokenResourceError, ClosedResourceError):
                await stream.finish()
        return
    from .http import open_url

    async with open_url(resource, timeout=timeout, local=LIMITS.get().local_urls) as url_stream:
        yield url_stream


@cache
def _handles() -> TypeAdapter[Resource]:
    return TypeAdapter(Resource)
