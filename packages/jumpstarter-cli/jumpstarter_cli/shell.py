"""`jmp shell`: a shell, or one command, connected to an exporter."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .options import ConfigChoice, opt_config
from .passphrase import opt_passphrase

if TYPE_CHECKING:
    from jumpstarter.common.child import Child
    from jumpstarter.config.client import ClientConfigV1Alpha1
    from jumpstarter.exporter.supervisor import Link

    from .shell_session import Access, ShellSession

_PATH = click.Path(dir_okay=False, path_type=Path)


@dataclass(frozen=True)
class Request:
    """What the command line asks for."""

    config: ConfigChoice
    command: tuple[str, ...]
    exporter_logs: bool
    address: str | None
    insecure: bool
    passphrase: str | None
    ca: Path | None
    certificate: Path | None
    key: Path | None
    allow: tuple[str, ...]


@click.command(context_settings={"allow_interspersed_args": False})
@opt_config()
@click.option("--tls-grpc", "address", metavar="HOST:PORT", help="Connect directly to an exporter of `jmp run`.")
@click.option("--tls-grpc-insecure", "insecure", is_flag=True, help="Connect in plain text, without TLS.")
@click.option("--tls-ca", "ca", type=_PATH, metavar="PATH", help="Authorities to trust, in place of the system's.")
@click.option("--tls-cert", "certificate", type=_PATH, metavar="PATH", help="Certificate to show to the exporter.")
@click.option("--tls-key", "key", type=_PATH, metavar="PATH", help="Private key of the certificate.")
@opt_passphrase("JMP_GRPC_PASSPHRASE")
@click.option(
    "--allow",
    multiple=True,
    metavar="PATTERN",
    help="With --tls-grpc: client classes that may be imported, such as jumpstarter_driver_*; by default all that "
    "are installed, or what the --client allows.",
)
@click.option("--exporter-logs", is_flag=True, help="Show what the exporter and its drivers log.")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def shell(**options: Any) -> int:
    """Open a shell, or run COMMAND, connected to an exporter.

    With --exporter or --exporter-config the exporter runs here, for as long as the shell; with --tls-grpc it runs
    elsewhere, as `jmp run`. In the shell `j` drives the board. The exit code is that of the shell or COMMAND; 1 where
    the exporter or one of its hooks fails, 2 when cancelled before it was ready.
    """
    from jumpstarter.exporter.supervisor import run_guarded

    request = Request(**options)
    _check(request)
    return run_guarded(partial(_work, request))


def _check(request: Request) -> None:
    only_direct = {
        "--tls-grpc-insecure": request.insecure,
        "--tls-ca": request.ca,
        "--tls-cert": request.certificate,
        "--tls-key": request.key,
        "--allow": request.allow,
    }
    given = [name for name, value in only_direct.items() if value]
    if request.address is None:
        if given:
            raise click.UsageError(f"{given[0]} needs --tls-grpc")
        if not request.config.is_exporter:
            raise click.UsageError(
                "name an exporter with --exporter ALIAS, --exporter-config PATH or --tls-grpc HOST:PORT; "
                "leases from a lab service are not supported yet"
            )
    elif request.config.is_exporter:
        raise click.UsageError("--tls-grpc excludes --exporter and --exporter-config")
    elif request.insecure and (tls := {"--tls-ca", "--tls-cert", "--tls-key"}.intersection(given)):
        raise click.UsageError(f"--tls-grpc-insecure excludes {min(tls)}")


def _work(request: Request, link: Link) -> int:
    """What the guarded process does; its errors are told there."""
    from jumpstarter.common.child import Child

    from .errors import report
    from .prepared import prepared

    try:
        with prepared(request.command) as start:
            child = Child(start)
            if request.address is None:
                session = _local(request, link, child)
            else:
                session = _direct(request, request.address, child)
            code = session.run()
    except BaseException as error:
        return report(error)
    # An interactive shell has ended its jobs itself, but for those that it was told to keep.
    if child.cut_short and request.command:
        link.clear()
    return code


def _local(request: Request, link: Link, child: Child) -> ShellSession:
    from .shell_session import Access, ShellSession

    config = request.config.load_exporter()
    _show_own_records(request.exporter_logs)

    @asynccontextmanager
    async def exporter() -> AsyncGenerator[Access]:
        from jumpstarter.config.serving import local_exporter

        async with local_exporter(config, link) as path:
            yield Access(path, local=True)

    lease = _Lease(exporter_name=config.metadata.name)
    return ShellSession(exporter, _launcher(request, "local", lease), child)


def _direct(request: Request, address: str, child: Child) -> ShellSession:
    from jumpstarter.rpc.channel import tcp_target, warn_of_open_passphrase

    from .shell_session import Access, ShellSession

    if tcp_target(address) is None:
        raise click.BadParameter(f"{address!r} is not HOST:PORT", param_hint="'--tls-grpc'")
    warn_of_open_passphrase(address, insecure=request.insecure, passphrase=request.passphrase)

    @asynccontextmanager
    async def exporter() -> AsyncGenerator[Access]:
        from jumpstarter.rpc.tls import ClientTls

        tls = None if request.insecure else ClientTls.from_files(request.ca, request.certificate, request.key)
        yield Access(address, insecure=request.insecure, passphrase=request.passphrase, tls=tls)

    lease = _Lease(exporter_name=address)
    return ShellSession(exporter, _launcher(request, address, lease), child, all_logs=request.exporter_logs)


@dataclass(frozen=True)
class _Lease:
    """What the child is told of the exporter."""

    exporter_name: str


def _launcher(request: Request, context: str, lease: _Lease) -> Callable[[Access, Any, Child], int]:
    from jumpstarter.common.shell import launch_shell

    client = request.config.load_client() if request.config.is_client else None
    use_profiles = not request.command and _use_profiles(client)
    allow = list(request.allow) or ([] if client is None else list(client.drivers.allow))
    unsafe = not request.allow and (client is None or client.drivers.unsafe)

    def launch(access: Access, report: Any, child: Child) -> int:
        if report.motd and not request.command:
            click.echo(report.motd, err=True)
        return launch_shell(
            access.address,
            context,
            allow,
            unsafe,
            use_profiles,
            command=request.command or None,
            lease=lease,
            insecure=access.insecure,
            passphrase=access.passphrase,
            ca=request.ca,
            certificate=request.certificate,
            key=request.key,
            child=child,
        )

    return launch


def _use_profiles(client: ClientConfigV1Alpha1 | None) -> bool:
    """Whether the shell reads its start-up files, as the client's file says: the one named, else the user's current."""
    if client is None:
        from jumpstarter.config.user import UserConfigV1Alpha1

        client = UserConfigV1Alpha1.load().config.current_client if UserConfigV1Alpha1.exists() else None
    return client is not None and client.shell.use_profiles


def _show_own_records(all_records: bool) -> None:
    """Of what the exporter in this process logs, show what its hooks print, and warnings; or all."""
    import logging

    def wanted(record: logging.LogRecord) -> bool:
        return record.levelno >= logging.WARNING or record.name.startswith("hook.")

    if all_records or logging.getLogger().isEnabledFor(logging.DEBUG):
        return
    for handler in logging.getLogger().handlers:
        handler.addFilter(wanted)
