"""`jmp driver new`."""

from __future__ import annotations

import shlex
import shutil
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from .names import Names

# Where each file of the template goes; these are package data, so that an installed `jmp` has them, and none of them is
# called as tools that look for Python code and tests expect it.
_FILES = {
    "pyproject.toml": "pyproject.toml",
    "README.md": "README.md",
    "exporter.yaml": "exporter.yaml",
    "$package/__init__.py": "init.py",
    "$package/interface.py": "interface.py",
    "$package/driver.py": "driver.py",
    "$package/mock.py": "mock.py",
    "$package/client.py": "client.py",
    "tests/$test": "check.py",
}
_MARKER = "$package/py.typed"


@click.command("new")
@click.argument("name")
@click.option(
    "--directory",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(),
    help="Where to put the package; by default here.",
)
def new(name: str, directory: Path) -> None:
    """Start a driver package: interface, driver, stand-in, client with commands, tests and a README to go on from.

    NAME is what the driver is for, such as my-relay: the package becomes jumpstarter-driver-my-relay with the drivers
    MyRelay and MockMyRelay. Prints the new directory.
    """
    from .names import names_of

    names = names_of(name)
    target = directory / names.distribution
    _write(target, names)
    click.echo(target)
    click.echo(
        f"{names.class_name} is there. {target / 'README.md'} tells how to go on; first:\n"
        f"  cd {shlex.quote(str(target))}\n"
        "  pip install --editable '.[test]'\n"
        "  pytest",
        err=True,
    )


def _write(target: Path, names: Names) -> None:
    """Make the package's directory; nothing is left of it on failure."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        target.mkdir()
    except FileExistsError:
        raise click.ClickException(f"{target} exists already: choose another name or --directory") from None
    try:
        for path, text in _rendered(names).items():
            (target / path).parent.mkdir(exist_ok=True)
            (target / path).write_text(text, encoding="utf-8")
    except BaseException:
        shutil.rmtree(target, ignore_errors=True)
        raise


def _rendered(names: Names) -> dict[str, str]:
    """Path -> text of each file of the package."""
    values = names.as_dict()
    template = files(__package__) / "template"
    texts = {path: (template / f"{source}.tmpl").read_text(encoding="utf-8") for path, source in _FILES.items()}
    return {Template(path).substitute(values): Template(text).substitute(values) for path, text in texts.items()} | {
        Template(_MARKER).substitute(values): ""
    }
