"""What our peers offer each other beyond 0.9.0.

An exporter lists its features in its report; a client that uses one shows it by what it sends.
"""

from __future__ import annotations

from jumpstarter.common.exceptions import ConfigurationError

# Arguments and results in `encoded_*` fields, failures as ErrorDetail.
VALUES_MSGPACK = "values-msgpack"
# RST_STREAM closes a byte stream after all data; the cause of a failed stream is its last frame.
STREAM_CLOSE = "stream-close"
# Log records are numbered; a reader resumes after the last one it saw.
LOG_RESUME = "log-resume"
# GetStatus can wait for a change.
STATUS_WAIT = "status-wait"

ALL = (VALUES_MSGPACK, STREAM_CLOSE, LOG_RESUME, STATUS_WAIT)

# Request metadata: features the client speaks on this call, comma-separated.
FEATURES_KEY = "x-jumpstarter-features"
# Request metadata of LogStream: "<session uuid>/<sequence>", the last record the client has.
LOG_AFTER_KEY = "x-jumpstarter-log-after"
# Initial metadata of LogStream: "<session uuid>/<sequence>", the record that the reader starts after.
LOG_START_KEY = "x-jumpstarter-log-start"
# Request metadata on every call to an exporter that wants a passphrase.
PASSPHRASE_KEY = "x-jumpstarter-passphrase"


def passphrase_metadata(passphrase: str) -> tuple[str, str]:
    """The pair that carries `passphrase`; ConfigurationError where gRPC metadata cannot."""
    if not all(" " <= character <= "~" for character in passphrase):
        raise ConfigurationError("a passphrase may hold printable ASCII characters only")
    return PASSPHRASE_KEY, passphrase


def metadata_value(metadata: object, key: str) -> str | None:
    """The first value of `key` in gRPC metadata (any iterable of pairs), or None."""
    for name, value in metadata or ():  # type: ignore[attr-defined]
        if name == key:
            return value if isinstance(value, str) else value.decode()
    return None
