"""Enumerations of the protocol as Python enums."""

from __future__ import annotations

from enum import IntEnum
from typing import Self


class _ProtoEnum(IntEnum):
    @classmethod
    def from_proto(cls, value: int) -> Self:
        """The member for a protobuf value; ValueError for one this version does not know."""
        return cls(value)

    def to_proto(self) -> int:
        """The protobuf value."""
        return self.value

    def __str__(self) -> str:
        return self.name


class ExporterStatus(_ProtoEnum):
    """What an exporter is doing."""

    UNSPECIFIED = 0
    OFFLINE = 1
    AVAILABLE = 2
    BEFORE_LEASE_HOOK = 3
    LEASE_READY = 4
    AFTER_LEASE_HOOK = 5
    BEFORE_LEASE_HOOK_FAILED = 6
    AFTER_LEASE_HOOK_FAILED = 7


class LogSource(_ProtoEnum):
    """Who wrote a log record."""

    UNSPECIFIED = 0
    DRIVER = 1
    BEFORE_LEASE_HOOK = 2
    AFTER_LEASE_HOOK = 3
    SYSTEM = 4


# The one set of statuses in which driver calls and streams are accepted.
ACCEPTS_CALLS = frozenset(
    {ExporterStatus.BEFORE_LEASE_HOOK, ExporterStatus.LEASE_READY, ExporterStatus.AFTER_LEASE_HOOK}
)

# Put before a status message when a hook failed and the exporter goes on.
HOOK_WARNING_PREFIX = "[HOOK_WARNING] "
