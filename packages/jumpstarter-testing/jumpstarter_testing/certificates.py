"""Certificates for tests of TLS: an authority, and what it signs, as files. Needs the extra `certificates`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID

Key = ec.EllipticCurvePrivateKey


@dataclass(frozen=True)
class Pair:
    """Files, in PEM, of a certificate and its private key."""

    certificate: Path
    key: Path


class Authority:
    """Signs certificates; its own is the file `certificate`, with `key`. Everything is written to `directory`."""

    def __init__(self, directory: Path, name: str = "authority") -> None:
        self._directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _subject(name)
        own = _builder(name, self._key, -1, 30).issuer_name(self._name)
        signed = own.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        pair = self._write(name, signed.sign(self._key, SHA256()), self._key, NoEncryption())
        self.certificate, self.key = pair.certificate, pair.key

    def issue(
        self,
        name: str = "server",
        *,
        hosts: Sequence[str] = ("localhost", "127.0.0.1", "::1"),
        valid_from: float = -1,
        valid_to: float = 1,
        password: bytes | None = None,
    ) -> Pair:
        """A certificate for `hosts`, valid between two times in days from now; `password` encrypts its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName([_host(host) for host in hosts])
        signed = (
            _builder(name, key, valid_from, valid_to)
            .issuer_name(self._name)
            .add_extension(names, critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .sign(self._key, SHA256())
        )
        return self._write(name, signed, key, BestAvailableEncryption(password) if password else NoEncryption())

    def _write(
        self, name: str, certificate: x509.Certificate, key: Key, encryption: KeySerializationEncryption
    ) -> Pair:
        pair = Pair(self._directory / f"{name}.pem", self._directory / f"{name}.key")
        pair.certificate.write_bytes(certificate.public_bytes(Encoding.PEM))
        pair.key.touch(mode=0o600)
        pair.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
        return pair


def _builder(name: str, key: Key, start: float, end: float) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(_subject(name))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + timedelta(days=start))
        .not_valid_after(now + timedelta(days=end))
    )


def _subject(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)
