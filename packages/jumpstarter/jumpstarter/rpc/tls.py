"""Certificates of both sides of a connection: read, checked, and as gRPC's credentials.

Everything that a handshake would only refuse with a riddle is found before one: ConfigurationError names the file.
"""

from __future__ import annotations

import ssl
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from jumpstarter.common.exceptions import ConfigurationError
from jumpstarter.config.env import environment

if TYPE_CHECKING:
    import grpc

# Where systems keep the authorities they trust, as one PEM file.
_SYSTEM_AUTHORITIES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
_MARKS = {"certificate": b"-----BEGIN CERTIFICATE-----", "private key": b"PRIVATE KEY-----"}
# OpenSSL's numbers for what its dates make a certificate.
_DATES = {10: "has expired", 9: "is not valid yet; is this machine's clock right?"}
# Times that each side of a handshake has its turn, with one to spare.
_FLIGHTS = 4


@dataclass(frozen=True)
class ClientTls:
    """What a client trusts, and what it shows to an exporter that asks for a certificate.

    `ca`: PEM of the authorities, None for the system's. `certificate`, `key`: files in PEM; without `key` it is in the
    file of the certificate. `trust_server`: fetch the server's certificate first and trust it; the traffic is encrypted
    but the server could be anyone with that name.
    """

    ca: bytes | None = None
    certificate: Path | None = None
    key: Path | None = None
    trust_server: bool = False

    @classmethod
    def from_files(cls, ca: Path | None = None, certificate: Path | None = None, key: Path | None = None) -> ClientTls:
        """Read and check what the paths name."""
        if key is not None and certificate is None:
            raise ConfigurationError(f"{key}: a private key needs its certificate beside it")
        if certificate is not None:
            check_pair(certificate, key)
        return cls(None if ca is None else read_authorities(ca), certificate, key)

    def roots(self) -> bytes | None:
        """PEM of the authorities to trust; None where this system has no such file, for those that gRPC brings."""
        return self.ca if self.ca is not None else _system_authorities()

    def credentials(self) -> grpc.ChannelCredentials:
        """For a gRPC channel."""
        import grpc

        if self.certificate is None:
            return grpc.ssl_channel_credentials(self.roots())
        key = self.certificate if self.key is None else self.key
        return grpc.ssl_channel_credentials(self.roots(), _read(key), _read(self.certificate))

    def context(self, *, verify: bool = True) -> ssl.SSLContext:
        """The same for Python's own TLS, as near to gRPC's as it goes."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.set_alpn_protocols(["h2"])
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        if not verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        elif (roots := self.roots()) is not None:
            context.load_verify_locations(cadata=roots.decode("ascii", "replace"))
        else:
            context.load_default_certs()
        if self.certificate is not None:
            context.load_cert_chain(self.certificate, self.key)
        return context


def server_credentials(certificate: Path, key: Path, client_ca: Path | None = None) -> grpc.ServerCredentials:
    """For a gRPC server; with `client_ca` only clients that show a certificate of that authority get in."""
    import grpc

    check_pair(certificate, key)
    roots = None if client_ca is None else read_authorities(client_ca)
    pair = (_read(key), _read(certificate))
    return grpc.ssl_server_credentials([pair], root_certificates=roots, require_client_auth=roots is not None)


def read_authorities(path: Path) -> bytes:
    """The PEM of one or more authorities."""
    pem = _read(path)
    _expect(path, pem, "certificate")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=pem.decode("ascii", "replace"))
    except ssl.SSLError as error:
        raise ConfigurationError(f"{path}: not a certificate that can be used: {_reason(error)}") from None
    return pem


def check_pair(certificate: Path, key: Path | None = None) -> list[str]:
    """Check that the files are a certificate and its private key, and valid today; gives the names it is for."""
    key_file = certificate if key is None else key
    pem, key_pem = _read(certificate), _read(key_file)
    _expect(certificate, pem, "certificate")
    if key is None and _MARKS["private key"] not in key_pem:
        raise ConfigurationError(f"{certificate}: holds no private key; name the file of the key beside it")
    _expect(key_file, key_pem, "private key")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)

    def no_password() -> NoReturn:
        raise ConfigurationError(
            f"{key_file}: the private key is encrypted; make a file without: openssl pkey -in {key_file} -out plain.key"
        )

    try:
        context.load_cert_chain(certificate, key_file, password=no_password)
    except ssl.SSLError as error:
        if error.reason in ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH"):
            raise ConfigurationError(f"{key_file}: not the private key of the certificate in {certificate}") from None
        raise ConfigurationError(f"{certificate}, {key_file}: cannot be used: {_reason(error)}") from None
    try:
        shown = _shown(context, pem)
    except ssl.SSLCertVerificationError as error:
        invalid = _DATES.get(error.verify_code)
        if invalid is not None:
            raise ConfigurationError(f"{certificate}: the certificate {invalid}") from None
        return []
    return [name for kind, name in shown.get("subjectAltName", ()) if kind in ("DNS", "IP Address")]


def _shown(context: ssl.SSLContext, pem: bytes) -> dict[str, Any]:
    """The certificate of a server, `pem`, as a client that trusts it sees it: by way of a handshake in memory.

    SSLCertVerificationError for what the client holds against it.
    """
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    client.load_verify_locations(cadata=pem.decode("ascii", "replace"))
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    near = client.wrap_bio(to_client, to_server)
    far = context.wrap_bio(to_server, to_client, server_side=True)
    for side in (near, far) * _FLIGHTS:
        with suppress(ssl.SSLWantReadError):
            side.do_handshake()
    return near.getpeercert() or {}


def _expect(path: Path, pem: bytes, what: Literal["certificate", "private key"]) -> None:
    if _MARKS[what] in pem:
        return
    found = next((f"; it holds a {other}: are the two files swapped?" for other in _MARKS if _MARKS[other] in pem), "")
    raise ConfigurationError(f"{path}: expected a {what} in PEM{found}")


def _read(path: Path) -> bytes:
    try:
        if path.exists() and not path.is_file():
            raise ConfigurationError(f"{path}: not a file")
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}") from None


def _reason(error: ssl.SSLError) -> str:
    return (error.reason or str(error)).replace("_", " ").lower()


def _system_authorities() -> bytes | None:
    """None where there is no file that we know."""
    known = (environment().grpc_roots, ssl.get_default_verify_paths().cafile, *_SYSTEM_AUTHORITIES)
    path = next((Path(name) for name in known if name and Path(name).is_file()), None)
    return None if path is None else _read(path)
