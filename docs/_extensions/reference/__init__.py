"""Fills the pages of the reference: a line `{{ NAME arguments }}` becomes Markdown that is made from the code."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

from . import commands, configuration, drivers, environment, errors, leases, readmes

GENERATORS: dict[str, Callable[..., str]] = {
    "commands": commands.sections,
    "configuration": configuration.keys,
    "drivers": drivers.installed,
    "environment": environment.variables,
    "error-classes": errors.classes,
    "error-tree": errors.tree,
    "lease-diagram": leases.diagram,
    "lease-states": leases.states,
    "lease-steps": leases.steps,
    "readme": readmes.page,
}
LINE = re.compile(r"^\{\{ (?P<name>[\w-]+)(?P<arguments>(?: \S+)*) \}\}$", re.M)


def fill(app: Sphinx, docname: str, content: list[str]) -> None:
    """Replace the generated lines of one page."""
    content[0] = LINE.sub(generate, content[0])


def generate(line: re.Match[str]) -> str:
    """What stands in the place of one line; ExtensionError for a name that is not known."""
    try:
        generator = GENERATORS[line["name"]]
    except KeyError:
        raise ExtensionError(f"nothing generates {line['name']!r}; known: {', '.join(GENERATORS)}") from None
    return generator(*line["arguments"].split())


def tidy(
    app: Sphinx, what: str, name: str, obj: object, options: object, signature: str | None, returned: str | None
) -> Any:
    """A signature that Sphinx can read: dataclasses show a mark for defaults that are made anew each time."""
    return (signature.replace("<factory>", "..."), returned) if signature else None


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("source-read", fill)
    app.connect("autodoc-process-signature", tidy)
    return {"parallel_read_safe": True}
