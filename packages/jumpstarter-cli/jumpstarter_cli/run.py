"""`jmp run`: an exporter as a service.

The command line is read and checked here, in the guard. Everything heavy is imported in the worker that the guard
forks, so that a guard stays small and a new worker starts from a clean slate.
"""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click
from jumpstarter.config.env import JMP_EXPORTER_PASSPHRASE, forget

from .errors import describe
from .options import ConfigChoice, opt_config
from .passphrase import opt_passphrase

if TYPE_CHECKING:
    from jumpstarter.config.exporter import ExporterConfigV1Alpha1
    from jumpstarter.config.serving import Listener
    from jumpstarter.exporter.supervisor import Link

logger = logging.getLogger(__name__)

_ALL_ADDRESSES = "0.0.0.0"
_FAILED = 1
_PEM = click.Path(dir_okay=False, path_type=Path)


class Address(NamedTuple):
    """Where to listen."""

    host: str
    port: int


class _AddressType(click.ParamType[Address]):
    name = "[HOST:]PORT"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> Address:
        """`1234`, `host:1234` or `[::1]:1234`; without a host all addresses of this machine, 0 for any free port."""
        host, _, port = value.rpartition(":")
        if not (port.isascii() and port.isdigit() and int(port) <= 65535):
            self.fail(f"{value!r}: expected [HOST:]PORT, with a port from 0 (any free one) to 65535", param, ctx)
        if ":" in host.removeprefix("[").removesuffix("]") and not (host.startswith("[") and host.endswith("]")):
            self.fail(f"{value!r}: an IPv6 address stands in brackets, as in [::1]:{port}", param, ctx)
        return Address(host.strip("[]") or _ALL_ADDRESSES, int(port))


@dataclass(frozen=True)
class _Door:
    """How clients get in. Without `certificate`: in plain text."""

    address: Address
    certificate: Path | None
    key: Path | None
    client_ca: Path | None
    passphrase: str | None

    def listener(self) -> Listener:
        """The same with its files read; ConfigurationError where they are not fit."""
        from jumpstarter.config.serving import Listener

        credentials = None
        if self.certificate is not None and self.key is not None:
            from jumpstarter.rpc.tls import server_credentials

            credentials = server_credentials(self.certificate, self.key, self.client_ca)
        return Listener(*self.address, credentials=credentials, passphrase=self.passphrase)

    def warn(self) -> None:
        """Tell of what anyone on the network could do."""
        from jumpstarter.rpc.channel import is_loopback

        if is_loopback(self.address.host):
            return
        if self.passphrase is not None and self.certificate is None:
            logger.warning(
                "clients send the passphrase in plain text, for anyone on the way to read: "
                "give --tls-cert and --tls-key in place of --tls-grpc-insecure, or listen on localhost"
            )
        if self.passphrase is None and self.client_ca is None:
            logger.warning(
                "anyone who can reach this port can drive the board: give a passphrase with --passphrase-file, "
                "or let in known clients only with --tls-client-ca"
            )

    def announce(self, name: str, host: str, port: int) -> None:
        """Say where the exporter is, and how to get there by the name `host`."""
        from jumpstarter.exporter.endpoints import tcp_address

        ways = [f"--tls-grpc {tcp_address(host, port)}"]
        ways += ["--tls-grpc-insecure"] if self.certificate is None else ["--tls-ca CA.pem"]
        ways += ["--tls-cert CLIENT.pem --tls-key CLIENT.key"] if self.client_ca is not None else []
        ways += ["--passphrase-file FILE"] if self.passphrase is not None else []
        where = tcp_address(self.address.host, port)
        how = "in plain text" if self.certificate is None else "with TLS"
        logger.info("exporter %s serves at %s %s; to connect: jmp shell %s", name, where, how, " ".join(ways))

    def name_for_clients(self) -> str:
        """The name by which clients are likely to reach this machine."""
        import socket

        if self.certificate is not None:
            from jumpstarter.rpc.tls import check_pair

            names = [name for name in check_pair(self.certificate, self.key) if "*" not in name]
            if names and self.address.host not in names:
                return names[0]
        return socket.gethostname() if self.address.host in (_ALL_ADDRESSES, "::") else self.address.host


@click.command()
@opt_config(client=False)
@click.option(
    "--tls-grpc-listener",
    "address",
    type=_AddressType(),
    help="Serve clients directly on this port, by default of all the machine's addresses. IPv6: [::1]:1234.",
)
@click.option("--tls-grpc-insecure", "insecure", is_flag=True, help="Serve in plain text.")
@click.option("--tls-cert", "certificate", type=_PEM, metavar="PATH", help="Certificate of this exporter (PEM).")
@click.option("--tls-key", "key", type=_PEM, metavar="PATH", help="Private key of the certificate (PEM).")
@click.option(
    "--tls-client-ca",
    "client_ca",
    type=_PEM,
    metavar="PATH",
    help="Let in only clients with a certificate of this authority (PEM).",
)
@opt_passphrase(JMP_EXPORTER_PASSPHRASE)
@click.option("--exit-on-lease-end", is_flag=True, help="Stop when the first client has left.")
def run(
    config: ConfigChoice,
    address: Address | None,
    insecure: bool,
    certificate: Path | None,
    key: Path | None,
    client_ca: Path | None,
    passphrase: str | None,
    exit_on_lease_end: bool,
) -> int:
    """Serve an exporter to clients on the network, until SIGTERM or Ctrl-C.

    SIGHUP: read the exporter's file anew, once the present client has left. Exit code: 0 after a stop, 1 after a
    failure, 128+N where a second signal N cuts the stop short.
    """
    from jumpstarter.exporter.supervisor import supervise

    if not config.is_exporter:
        raise click.UsageError("give --exporter ALIAS or --exporter-config PATH")
    door = _door(address, insecure, certificate, key, client_ca, passphrase)
    # Neither drivers nor hooks get to see it.
    forget(JMP_EXPORTER_PASSPHRASE)

    def work(link: Link) -> int:
        return _failing_with_a_message(lambda: _serve(config, door, link, exit_on_lease_end=exit_on_lease_end))

    return supervise(work)


def _door(
    address: Address | None,
    insecure: bool,
    certificate: Path | None,
    key: Path | None,
    client_ca: Path | None,
    passphrase: str | None,
) -> _Door:
    """The options that belong together, checked for that."""
    if address is None:
        raise click.ClickException(
            "give --tls-grpc-listener [HOST:]PORT: without a lease service, clients come directly"
        )
    files = [name for name, path in (("--tls-cert", certificate), ("--tls-key", key)) if path is not None]
    if insecure and (files or client_ca):
        given = " and ".join([*files, *(["--tls-client-ca"] if client_ca else [])])
        raise click.UsageError(f"--tls-grpc-insecure excludes {given}")
    if not insecure and len(files) < 2:
        missing = "--tls-key" if files == ["--tls-cert"] else "--tls-cert" if files else "--tls-cert and --tls-key"
        raise click.UsageError(f"give {missing} to serve with TLS, or --tls-grpc-insecure to serve in plain text")
    return _Door(address, certificate, key, client_ca, passphrase)


def _serve(config: ConfigChoice, door: _Door, link: Link, *, exit_on_lease_end: bool) -> int:
    """In the worker: from the files to the end of the exporter's life."""
    import asyncio

    # Nothing is open yet: a signal simply ends this process.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)

    from jumpstarter.config.serving import run_exporter

    exporter = _load(config)
    link.limits(exporter.failure_detection.max_rapid_failures, exporter.failure_detection.rapid_failure_window)
    listener = door.listener()
    door.warn()
    host = door.name_for_clients()

    def recheck() -> None:
        _load(config).check()
        door.listener()

    serving = run_exporter(
        exporter,
        listener,
        link,
        exit_on_lease_end=exit_on_lease_end,
        recheck=recheck,
        listening=lambda port: door.announce(exporter.metadata.name, host, port),
    )
    return asyncio.run(serving)


def _load(config: ConfigChoice) -> ExporterConfigV1Alpha1:
    from jumpstarter.common.exceptions import ConfigurationError

    try:
        return config.load_exporter()
    except OSError as error:
        raise ConfigurationError(describe(error)) from None


def _failing_with_a_message(work: Callable[[], int]) -> int:
    """Errors that a person can mend end up in the log, as one record; anything else is a crash."""
    from jumpstarter.common.exceptions import JumpstarterException

    try:
        return work()
    except (JumpstarterException, click.ClickException) as error:
        logger.error("%s", error.format_message() if isinstance(error, click.ClickException) else error)
        return _FAILED
