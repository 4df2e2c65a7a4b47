"""The commands of a click group, each with a section of its own."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from importlib import import_module

import click

from .markdown import code, table


def sections(path: str) -> str:
    """A section for the group at an import path, and for each command below it."""
    module, _, name = path.rpartition(".")
    command = getattr(import_module(module), name)
    return "\n\n".join(below(command, click.Context(command, info_name=name)))


def below(command: click.Command, context: click.Context) -> Iterator[str]:
    yield section(command, context)
    if isinstance(command, click.Group):
        for name in sorted(command.list_commands(context)):
            child = command.get_command(context, name)
            if child is not None and not child.hidden:
                yield from below(child, click.Context(child, info_name=name, parent=context))


def section(command: click.Command, context: click.Context) -> str:
    """One command: its usage, its help and its options."""
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    parts = [f"## {context.command_path}", f"```text\n{usage}\n```", *paragraphs(command.help or "")]
    records = [param.get_help_record(context) for param in command.params if isinstance(param, click.Option)]
    options = [[code(record[0]), record[1]] for record in records if record]
    if options:
        parts.append(table(["option", ""], options))
    return "\n\n".join(parts)


def paragraphs(text: str) -> Iterator[str]:
    """A help text as Markdown: what click is told not to wrap stays as it is."""
    for paragraph in inspect.cleandoc(text).partition("\f")[0].split("\n\n"):
        if paragraph.startswith("\b\n"):
            yield "```text\n" + paragraph.removeprefix("\b\n") + "\n```"
        else:
            yield paragraph
