"""TLS towards a controller or an exporter."""

from __future__ import annotations

from .common import Strict


class TLSConfigV1Alpha1(Strict):
    """`ca`: base64 of the authority's PEM, the system's where empty. `insecure`: trust whoever answers."""

    ca: str = ""
    insecure: bool = False
