"""`jmp config client`: create, choose, list and delete clients."""

from __future__ import annotations

from pathlib import Path

import click

from ..completers import client_aliases
from ..errors import tell
from ..groups import LazyGroup
from ..options import FilePath
from ..output import Table, opt_output, show
from .questions import Question, answers, at_terminal, token_from_stdin


@click.group(cls=LazyGroup)
def client() -> None:
    """Clients: whom you are towards which service."""


@client.command()
@click.argument("alias")
@click.option("--out", type=FilePath(dir_okay=False), metavar="FILE", help="Write this file instead of the alias's.")
@click.option("--namespace", help="Namespace of the client.")
@click.option("--name", help="Name of the client.")
@click.option("-e", "--endpoint", help="Address of the service, host:port.")
@click.option("-t", "--token", help="Token for the service; - reads it from stdin. Asked for without echo if left out.")
@click.option("-a", "--allow", help="Driver packages whose clients may be imported, with commas between.")
@click.option("--unsafe", is_flag=True, help="Allow the clients of all drivers.")
@click.option("-k", "--insecure-tls", is_flag=True, help="Do not verify the service's certificate.")
@click.option("--nointeractive", is_flag=True, help="Ask nothing.")
@opt_output("path")
def create(
    alias: str,
    out: Path | None,
    namespace: str | None,
    name: str | None,
    endpoint: str | None,
    token: str | None,
    allow: str | None,
    unsafe: bool,
    insecure_tls: bool,
    nointeractive: bool,
    output: str | None,
) -> None:
    """Write the file of a new client. The first one becomes the current client."""
    from jumpstarter.config.client import (
        ClientConfigV1Alpha1,
        ClientConfigV1Alpha1Drivers,
        ObjectMeta,
        TLSConfigV1Alpha1,
    )
    from jumpstarter.config.user import UserConfigV1Alpha1

    target = out or ClientConfigV1Alpha1.store().path(alias)
    if target.exists():
        raise click.ClickException(f"{target} exists already: delete it first, or take another alias")
    namespace, name, endpoint, token, allow = answers(
        [
            Question("--namespace", namespace, "Namespace of the client"),
            Question("--name", name, "Name of the client"),
            Question("--endpoint", endpoint, "Address of the service, host:port"),
            Question("--token", token_from_stdin(token), "Token for the service", hidden=True),
            Question(
                "--allow", "" if unsafe else allow, "Allowed driver packages, with commas between", required=False
            ),
        ],
        nointeractive,
    )
    # Mistakes in the user's file are told before there is anything to undo.
    user = UserConfigV1Alpha1.load_or_create() if out is None and not ClientConfigV1Alpha1.store().files() else None
    drivers = {"allow": allow or "", "unsafe": unsafe}
    config = ClientConfigV1Alpha1(
        alias=alias,
        metadata=ObjectMeta(namespace=namespace, name=name or ""),
        endpoint=endpoint,
        token=token,
        tls=TLSConfigV1Alpha1(insecure=insecure_tls),
        drivers=ClientConfigV1Alpha1Drivers.model_validate(drivers),
    )
    path = ClientConfigV1Alpha1.save(config, out)
    text = f"Client {alias!r} created: {path}"
    if user is not None:
        user.use_client(alias)
        text += "\nIt is the current client now."
    show(output, names=[str(path)], text=text)


@client.command()
@click.argument("name", shell_complete=client_aliases)
@opt_output("path")
def delete(name: str, output: str | None) -> None:
    """Delete a client's file. Asks first, at a terminal, for the current one."""
    from jumpstarter.config.client import ClientConfigV1Alpha1
    from jumpstarter.config.user import UserConfigV1Alpha1

    store = ClientConfigV1Alpha1.store()
    store.get(name)
    is_current = UserConfigV1Alpha1.current_alias() == name
    if is_current and at_terminal():
        click.confirm(f"{name!r} is the current client. Delete it?", abort=True, err=True)
    path = ClientConfigV1Alpha1.delete(name)
    if is_current:
        UserConfigV1Alpha1.load().use_client(None)
        others = ", ".join(store.files())
        hint = f": choose one with `jmp config client use ALIAS` (there is: {others})" if others else ""
        tell(f"There is no current client now{hint}.")
    show(output, names=[str(path)], text=f"Client {name!r} deleted: {path}")


@client.command("list")
@opt_output()
def list_clients(output: str | None) -> None:
    """List the clients; a star is at the current one."""
    from jumpstarter.config.client import ClientConfigListV1Alpha1, ClientConfigV1Alpha1
    from jumpstarter.config.user import UserConfigV1Alpha1

    current = UserConfigV1Alpha1.current_alias()
    clients, mistakes = ClientConfigV1Alpha1.store().load_all(ClientConfigV1Alpha1.load)
    rows = [["*" if one.alias == current else "", one.alias, one.endpoint or "", str(one.path)] for one in clients]
    show(
        output,
        ClientConfigListV1Alpha1(currentConfig=current, items=clients).to_plain(),
        names=[one.alias for one in clients],
        text=Table(["CURRENT", "NAME", "ENDPOINT", "PATH"], rows),
    )
    if mistakes:
        raise click.ClickException("\n".join(mistakes))


@client.command()
@click.argument("name", shell_complete=client_aliases)
@opt_output("path")
def use(name: str, output: str | None) -> None:
    """Make a client the one that commands use unless told otherwise."""
    from jumpstarter.config.client import ClientConfigV1Alpha1
    from jumpstarter.config.user import UserConfigV1Alpha1

    ClientConfigV1Alpha1.store().get(name)
    path = UserConfigV1Alpha1.load_or_create().use_client(name)
    show(output, names=[str(path)], text=f"Client {name!r} is the current one now: {path}")
