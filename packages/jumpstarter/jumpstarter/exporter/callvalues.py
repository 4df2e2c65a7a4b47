"""The arguments and results of one call, in the encoding that its client chose."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from jumpstarter_protocol.jumpstarter.v1.error_pb2 import ErrorDetail
from jumpstarter_protocol.jumpstarter.v1.jumpstarter_pb2 import DriverCallResponse, StreamingDriverCallResponse

from jumpstarter.values import compat, native

R = TypeVar("R", bound=DriverCallResponse | StreamingDriverCallResponse)


class CallValues(Generic[R]):
    """`native`: the client is ours and gets exact values and error details; else it is told what 0.9.0 would tell."""

    def __init__(self, request: Any, response: type[R]) -> None:
        self.native: bool = request.HasField("encoded_args")
        self._request = request
        self._response = response

    @property
    def size(self) -> int:
        """Bytes of the arguments."""
        return len(self._request.encoded_args) if self.native else int(self._request.ByteSize())

    def args(self) -> list[Any]:
        """The arguments."""
        if self.native:
            return native.decode_args(self._request.encoded_args)
        return [compat.decode_value(arg) for arg in self._request.args]

    def respond(self, value: Any) -> R:
        """The response that carries `value`; ValueError, naming the method, for one that cannot be sent."""
        name = f"result of {self._request.method}"
        if self.native:
            return self._response(uuid=self._request.uuid, encoded_result=native.encode(value, name))
        return self._response(uuid=self._request.uuid, result=compat.encode_value(value, name))

    def fail(self, detail: ErrorDetail) -> R:
        """The response that carries a failure."""
        return self._response(uuid=self._request.uuid, error=detail)
