"""A passphrase on every call of a server."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable
from typing import Any

import grpc

from jumpstarter.rpc.features import PASSPHRASE_KEY, metadata_value, passphrase_metadata


class PassphraseInterceptor(grpc.aio.ServerInterceptor):
    """Refuses calls without the right passphrase in their metadata: UNAUTHENTICATED. Compared in constant time."""

    def __init__(self, passphrase: str) -> None:
        self._passphrase = passphrase_metadata(passphrase)[1].encode()

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        given = metadata_value(handler_call_details.invocation_metadata, PASSPHRASE_KEY) or ""
        if hmac.compare_digest(given.encode(), self._passphrase):
            return await continuation(handler_call_details)
        handler = await continuation(handler_call_details)
        return _refusing(handler)


async def _refuse(_: Any, context: Any) -> None:
    await context.abort(grpc.StatusCode.UNAUTHENTICATED, "invalid or missing passphrase")


def _refusing(handler: Any) -> Any:
    """A handler of the same kind as `handler`, so that the client's call fails with the status and not for its
    shape.
    """
    if handler is None:
        return None
    makers = {
        (False, False): grpc.unary_unary_rpc_method_handler,
        (False, True): grpc.unary_stream_rpc_method_handler,
        (True, False): grpc.stream_unary_rpc_method_handler,
        (True, True): grpc.stream_stream_rpc_method_handler,
    }
    return makers[handler.request_streaming, handler.response_streaming](_refuse)
