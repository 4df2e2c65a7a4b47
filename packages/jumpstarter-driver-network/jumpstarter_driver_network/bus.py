"""What the driver of a message bus and its client have to agree on."""

from __future__ import annotations

# The label under which a client finds the kind of bus, and the variable that leads programs to a bus of that kind.
KIND_LABEL = "jumpstarter.dev/dbusnetwork/kind"
VARIABLES = {"system": "DBUS_SYSTEM_BUS_ADDRESS", "session": "DBUS_SESSION_BUS_ADDRESS"}
