"""How much one peer accepts of another."""

from __future__ import annotations

from dataclasses import dataclass

MESSAGE_BYTES = 64 * 1024 * 1024


def message_size_options(message_bytes: int = MESSAGE_BYTES) -> list[tuple[str, int]]:
    """gRPC options of a channel or a server that set the largest message, in bytes."""
    return [("grpc.max_send_message_length", message_bytes), ("grpc.max_receive_message_length", message_bytes)]


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Bounds of one exporter, set by its owner.

    `message_bytes`: largest single gRPC message, one value or one item.
    `expansion_free_bytes`, `expansion_ratio`: compressed input may grow to the larger of the first and the second
    times its size.
    `local_urls`: whether drivers may fetch URLs on this machine's loopback and link-local addresses for a client.
    """

    message_bytes: int = MESSAGE_BYTES
    expansion_free_bytes: int = 1024 * 1024 * 1024
    expansion_ratio: float = 1000.0
    local_urls: bool = False
