"""Results of commands on stdout: a table for people, JSON, YAML, names or paths for programs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, NamedTuple, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])
Format = Literal["json", "yaml", "name", "path"]


class Table(NamedTuple):
    """Column heads and rows of texts."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


def opt_output(*formats: Format) -> Callable[[F], F]:
    """The option -o/--output, given to the command as `output`; by default of json, yaml and name."""
    choice = click.Choice(formats or ("json", "yaml", "name"))
    return click.option("-o", "--output", type=choice, help="Output for programs.")


def show(output: str | None, data: Any = None, *, names: Iterable[str] = (), text: str | Table = "") -> None:
    """Print a result on stdout as `output` says: `data` as json or yaml, `names` a line each for name and path.

    Without `output` people get `text`. `data` is JSON's types or a pydantic model.
    """
    if output == "json":
        import json

        click.echo(json.dumps(_plain(data), indent=4))
    elif output == "yaml":
        import yaml

        click.echo(yaml.safe_dump(_plain(data), sort_keys=False, allow_unicode=True), nl=False)
    elif output is not None:
        for name in names:
            click.echo(name)
    elif isinstance(text, Table):
        show_table(text)
    elif text:
        click.echo(text)


def show_table(table: Table) -> None:
    """Print a table: on a terminal it is fitted to its width, elsewhere every cell is whole."""
    if sys.stdout.isatty():
        _print_rich(table)
        return
    rows = [table.columns, *table.rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(table.columns))]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _print_rich(table: Table) -> None:
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    shown = RichTable(*table.columns, box=None, pad_edge=False, header_style="bold")
    for row in table.rows:
        shown.add_row(*(Text(cell, overflow="fold") for cell in row))
    Console().print(shown)


def _plain(data: Any) -> Any:
    dump = getattr(data, "model_dump", None)
    return data if dump is None else dump(mode="json", by_alias=True)
