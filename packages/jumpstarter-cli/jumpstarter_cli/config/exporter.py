"""`jmp config exporter`: create, edit, list and delete exporters."""

from __future__ import annotations

import click

from ..completers import exporter_aliases
from ..groups import LazyGroup
from ..output import Table, opt_output, show
from .questions import Question, answers, token_from_stdin


@click.group(cls=LazyGroup)
def exporter() -> None:
    """Exporters: which boards this machine serves."""


@exporter.command()
@click.argument("alias", default="default")
@click.option("--namespace", help="Namespace of the exporter.")
@click.option("--name", help="Name of the exporter.")
@click.option("-e", "--endpoint", help="Address of the service, host:port, if there is one.")
@click.option("-t", "--token", help="Token for the service; - reads it from stdin.")
@click.option("-k", "--insecure-tls", is_flag=True, help="Do not verify the service's certificate.")
@click.option("--nointeractive", is_flag=True, help="Ask nothing.")
@opt_output("path")
def create(
    alias: str,
    namespace: str | None,
    name: str | None,
    endpoint: str | None,
    token: str | None,
    insecure_tls: bool,
    nointeractive: bool,
    output: str | None,
) -> None:
    """Write the file of a new exporter; `jmp config exporter edit` then adds its drivers."""
    from jumpstarter.config.exporter import ExporterConfigV1Alpha1, ObjectMeta
    from jumpstarter.config.tls import TLSConfigV1Alpha1

    if ExporterConfigV1Alpha1.user_config_exists(alias):
        path = ExporterConfigV1Alpha1.resolve_path(alias)
        raise click.ClickException(f"{path} exists already: delete it first, or take another alias")
    namespace, name, endpoint, token = answers(
        [
            Question("--namespace", namespace, "Namespace of the exporter", required=False),
            Question("--name", name, "Name of the exporter"),
            Question("--endpoint", endpoint, "Address of the service, host:port", required=False),
            Question("--token", token_from_stdin(token), "Token for the service", required=False, hidden=True),
        ],
        nointeractive,
    )
    config = ExporterConfigV1Alpha1(
        alias=alias,
        metadata=ObjectMeta(namespace=namespace, name=name or ""),
        endpoint=endpoint,
        token=token,
        tls=TLSConfigV1Alpha1(insecure=insecure_tls),
    )
    path = ExporterConfigV1Alpha1.save(config)
    text = f"Exporter {alias!r} created: {path}\nAdd its drivers with `jmp config exporter edit {alias}`."
    show(output, names=[str(path)], text=text)


@exporter.command()
@click.argument("alias", default="default", shell_complete=exporter_aliases)
@opt_output("path")
def delete(alias: str, output: str | None) -> None:
    """Delete an exporter's file."""
    from jumpstarter.config.exporter import ExporterConfigV1Alpha1

    path = ExporterConfigV1Alpha1.delete(alias)
    show(output, names=[str(path)], text=f"Exporter {alias!r} deleted: {path}")


@exporter.command()
@click.argument("alias", default="default", shell_complete=exporter_aliases)
def edit(alias: str) -> None:
    """Open an exporter's file in $VISUAL or $EDITOR.

    What is not right in it is told before it is saved.
    """
    from jumpstarter.config.exporter import ExporterConfigV1Alpha1

    from .editing import edit_file

    path = ExporterConfigV1Alpha1.store().get(alias)

    def check(text: str) -> None:
        ExporterConfigV1Alpha1.load_text(text, str(path)).check()

    saved = edit_file(path, check)
    click.echo(f"Exporter {alias!r} saved: {path}" if saved else f"Exporter {alias!r} is as it was: {path}")


@exporter.command("list")
@opt_output()
def list_exporters(output: str | None) -> None:
    """List the exporters, yours and the system's."""
    from jumpstarter.config.exporter import ExporterConfigListV1Alpha1, ExporterConfigV1Alpha1

    exporters, mistakes = ExporterConfigV1Alpha1.store().load_all(ExporterConfigV1Alpha1.load)
    rows = [[one.alias, one.endpoint or "", str(one.path)] for one in exporters]
    show(
        output,
        ExporterConfigListV1Alpha1(items=exporters).to_plain(),
        names=[one.alias for one in exporters],
        text=Table(["NAME", "ENDPOINT", "PATH"], rows),
    )
    if mistakes:
        raise click.ClickException("\n".join(mistakes))
