"""Exceptions onto the wire and off it: one table, both directions."""

from __future__ import annotations

import builtins
import traceback as tracebacks
from typing import NamedTuple

import grpc
from jumpstarter_protocol.jumpstarter.v1.error_pb2 import ErrorDetail

from jumpstarter.common.exceptions import (
    DriverConnectionError,
    DriverError,
    DriverInvalidArgument,
    DriverMethodNotImplemented,
    DriverOSError,
    DriverTimeout,
    ExporterNotReady,
    MessageTooLarge,
)

Code = grpc.StatusCode


class Row(NamedTuple):
    """A built-in family, the status a peer without ErrorDetail gets, and what our client raises."""

    builtin: type[Exception]
    code: grpc.StatusCode
    error: type[DriverError]


# The first row whose class matches counts, so subclasses stand before their bases.
TABLE = (
    Row(NotImplementedError, Code.UNIMPLEMENTED, DriverMethodNotImplemented),
    Row(ValueError, Code.INVALID_ARGUMENT, DriverInvalidArgument),
    Row(TimeoutError, Code.DEADLINE_EXCEEDED, DriverTimeout),
    Row(builtins.ConnectionError, Code.UNKNOWN, DriverConnectionError),
    Row(OSError, Code.UNKNOWN, DriverOSError),
    Row(Exception, Code.UNKNOWN, DriverError),
)

# Statuses that no exception of a driver stands for.
STATUS_ONLY = {
    Code.NOT_FOUND: DriverMethodNotImplemented,
    Code.FAILED_PRECONDITION: ExporterNotReady,
    Code.RESOURCE_EXHAUSTED: MessageTooLarge,
    Code.UNAVAILABLE: DriverConnectionError,
    Code.CANCELLED: DriverConnectionError,
}

_BY_CODE: dict[grpc.StatusCode, type[DriverError]] = {
    **{row.code: row.error for row in reversed(TABLE)},
    Code.UNKNOWN: DriverError,
    **STATUS_ONLY,
}
_BY_BUILTIN = {row.builtin.__name__: row.error for row in TABLE}
_CODES = {code.value[0]: code for code in Code}

# gRPC's Python stack carries about 8 KiB of percent-encoded status text; anything near it fails at random.
STATUS_TEXT_BYTES = 6 * 1024
_MESSAGE_CHARACTERS = 1024 * 1024
# How far the reason of an exception without a text is looked for; causes may form a circle.
_CAUSES = 10
_ERRNOS = range(-(2**31), 2**31)


# What grpc.aio says when a connection breaks in the middle of a write, whatever the reason.
_BROKEN_WRITE = (Code.INTERNAL, "Internal error from Core")


class CallRefused(Exception):
    """The exporter refuses a call before any driver code runs: `code` goes to the client as it is."""

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.code = code


def describe(error: BaseException) -> str:
    """The text of an exception; where it is empty, its class and what caused it."""
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(describe(e) for e in error.exceptions)
    parts: list[str] = []
    cause: BaseException | None = error
    while cause is not None and len(parts) < _CAUSES:
        text = _text_of(cause)
        if text:
            return ": ".join((*parts, text))
        parts.append(type(cause).__name__)
        cause = cause.__cause__ or cause.__context__
    return ": ".join(parts)


def detail_of(error: BaseException, *, with_traceback: bool) -> ErrorDetail:
    """What our own client is told of `error`."""
    code, builtin = _classify(error)
    detail = ErrorDetail(
        code=code.value[0],
        type=_qualified_name(error),
        message=_cut(describe(error), _MESSAGE_CHARACTERS),
        builtin=builtin,
    )
    number = getattr(error, "errno", None)
    if isinstance(number, int) and number in _ERRNOS:
        detail.errno = number
    if with_traceback and not isinstance(error, CallRefused):
        detail.traceback = _cut(encodable("".join(tracebacks.format_exception(error))), _MESSAGE_CHARACTERS)
    return detail


def status_of(error: BaseException) -> tuple[grpc.StatusCode, str]:
    """The gRPC status for a peer that knows nothing else; its text fits into the trailers."""
    return _classify(error)[0], fit_status_text(describe(error))


def error_from_detail(detail: ErrorDetail, subject: str) -> DriverError:
    """The exception our client raises for `detail`; `subject` names the call or the stream."""
    code = _CODES.get(detail.code, Code.UNKNOWN)
    error_class = _BY_BUILTIN.get(detail.builtin) or _BY_CODE.get(code, DriverError)
    kind = "" if not detail.type else f"{detail.type.rpartition('.')[2]}: "
    error = error_class(f"{subject}: {kind}{detail.message}")
    error.remote_type = detail.type or None
    if detail.HasField("errno") and isinstance(error, OSError):
        error.errno = detail.errno
    if detail.traceback:
        error.remote_traceback = detail.traceback
        error.add_note(f"Traceback on the exporter:\n{detail.traceback.rstrip()}")
    return error


def error_from_status(error: grpc.RpcError, subject: str) -> DriverError:
    """The exception our client raises for a gRPC status without an ErrorDetail."""
    code, details = error.code(), error.details() or ""
    if (code, details) == _BROKEN_WRITE:
        code, details = Code.UNAVAILABLE, "the connection broke while sending"
    error_class = _BY_CODE.get(code, DriverError)
    hint = {
        Code.UNAVAILABLE: "the exporter is gone or cannot be reached: ",
        Code.CANCELLED: "the exporter ended the call: ",
        Code.RESOURCE_EXHAUSTED: "above the limit of one side (set by its message_bytes): ",
    }.get(code, "")
    return error_class(f"{subject} failed with gRPC {code.name}: {hint}{details}")


def fit_status_text(text: str) -> str:
    """`text`, cut with a mark where its percent-encoding would not fit into gRPC's trailers."""
    if len(text) <= STATUS_TEXT_BYTES and _encoded_size(text) <= STATUS_TEXT_BYTES:
        return text
    room = STATUS_TEXT_BYTES - 64
    low, high = 0, min(len(text), room)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if _encoded_size(text[:middle]) <= room else (low, middle - 1)
    return _cut(text, low)


def _text_of(error: BaseException) -> str:
    try:
        return encodable(str(error))
    except Exception as second:
        return f"{type(error).__name__} (its text fails with {type(second).__name__})"


def encodable(text: str) -> str:
    """`text` with what UTF-8 cannot carry, lone surrogates, as escapes."""
    return text.encode("utf-8", "backslashreplace").decode()


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[:length]} ... ({len(text) - length} more characters)"


def _encoded_size(text: str) -> int:
    """Size of `text` as grpc-message: printable ASCII but % is one byte, any other byte three."""
    return sum(1 if 0x20 <= byte <= 0x7E and byte != 0x25 else 3 for byte in text.encode())


def _classify(error: BaseException) -> tuple[grpc.StatusCode, str]:
    if isinstance(error, CallRefused):
        return error.code, ""
    for row in TABLE:
        if isinstance(error, row.builtin):
            return row.code, row.builtin.__name__
    return Code.UNKNOWN, ""


def _qualified_name(error: BaseException) -> str:
    if isinstance(error, CallRefused):
        return ""
    cls = type(error)
    return cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"
