"""TLS towards a controller or an exporter."""

from __future__ import annotations

import base64
import binascii

from pydantic import field_validator

from .common import Strict

_BEGIN = "-----BEGIN CERTIFICATE-----"


class TLSConfigV1Alpha1(Strict):
    """`ca`: base64 of the authority's PEM, the system's where empty. `insecure`: trust whoever answers."""

    ca: str = ""
    insecure: bool = False

    @field_validator("ca")
    @classmethod
    def _holds_certificates(cls, ca: str) -> str:
        if ca:
            _check_certificates(ca)
        return ca


def _check_certificates(ca: str) -> None:
    if _BEGIN in ca:
        raise ValueError("expected a PEM file in base64, this is the PEM itself: encode it, `base64 -w0 ca.pem`")
    try:
        pem = base64.b64decode("".join(ca.split()), validate=True).decode("ascii")
    except (binascii.Error, ValueError):
        raise ValueError("expected a PEM file in base64, as `base64 -w0 ca.pem` prints it") from None
    if _BEGIN not in pem:
        raise ValueError(f"expected a PEM file in base64, got base64 of something without {_BEGIN}")
    import ssl

    try:
        ssl.create_default_context(cadata=pem)
    except (ssl.SSLError, ValueError):
        raise ValueError("expected a PEM file in base64: no certificate in it can be read") from None
