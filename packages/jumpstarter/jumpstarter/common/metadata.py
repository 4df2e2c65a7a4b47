"""Who a driver, a client or a session is."""

from __future__ import annotations

from dataclasses import dataclass, field
from uuid import UUID, uuid4

NAME_LABEL = "jumpstarter.dev/name"
CLIENT_LABEL = "jumpstarter.dev/client"


@dataclass(kw_only=True)
class Metadata:
    """A unique id and labels."""

    uuid: UUID = field(default_factory=uuid4)
    labels: dict[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The name in the parent, `unknown` at the root."""
        return self.labels.get(NAME_LABEL, "unknown")
