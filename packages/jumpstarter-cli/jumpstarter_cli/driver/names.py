"""What a new driver package and the things in it are called."""

from __future__ import annotations

import builtins
import keyword
import re
from dataclasses import dataclass

import click

from .example import entry_name

_PREFIX = "jumpstarter-driver-"
_WORDS = re.compile(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*")
# With longer ones the lines of the template would not be as formatters want them.
_LONGEST = 28
# What YAML does not take for text: names and keys of the exporter's file.
_YAML_WORDS = {"yes", "no", "on", "off", "null"}
# Classes that the template itself imports or makes.
_TEMPLATE_CLASSES = {"Driver", "DriverClient", "ConfigurationError", "Path", "Generator"}


@dataclass(frozen=True)
class Names:
    """`name`: words with hyphens between them."""

    name: str

    @property
    def distribution(self) -> str:
        """`jumpstarter-driver-my-relay`"""
        return f"{_PREFIX}{self.name}"

    @property
    def package(self) -> str:
        """`jumpstarter_driver_my_relay`"""
        return self.distribution.replace("-", "_")

    @property
    def class_name(self) -> str:
        """`MyRelay`"""
        return "".join(word.capitalize() for word in self.name.split("-"))

    @property
    def entry(self) -> str:
        """`my_relay`"""
        return self.name.replace("-", "_")

    @property
    def test(self) -> str:
        """`test_my_relay.py`"""
        return f"test_{self.entry}.py"

    def as_dict(self) -> dict[str, str]:
        """All of them, for the template."""
        names = ("name", "distribution", "package", "class_name", "entry", "test")
        return {name: getattr(self, name) for name in names}


def names_of(given: str) -> Names:
    """The names for what a user calls a driver: `my-relay`, `my_relay`, `MyRelay` or the whole package name.

    Raises click.ClickException for what cannot be a name, or is one already.
    """
    words = re.sub("^jumpstarter[-_]driver[-_]", "", given)
    words = entry_name(words) if re.fullmatch(r"[A-Za-z][A-Za-z0-9]*", words) else words
    if not _WORDS.fullmatch(words):
        raise click.ClickException(
            f"{given!r} cannot be a driver's name: give lower-case letters and digits, with - or _ between words and a "
            "letter at the start, such as my-relay"
        )
    names = Names(words.replace("_", "-"))
    if len(names.name) > _LONGEST:
        raise click.ClickException(f"{given!r} cannot be a driver's name: it has more than {_LONGEST} characters")
    _refuse_python_names(given, names)
    _refuse_taken(given, names)
    return names


def _refuse_python_names(given: str, names: Names) -> None:
    reserved = set(dir(builtins)) | _TEMPLATE_CLASSES
    classes = {names.class_name, f"{names.class_name}Client", f"{names.class_name}Interface"}
    if keyword.iskeyword(names.entry) or keyword.iskeyword(names.class_name):
        raise click.ClickException(f"{given!r} cannot be a driver's name: it is a keyword of Python")
    if names.entry in _YAML_WORDS:
        raise click.ClickException(f"{given!r} cannot be a driver's name: YAML does not take it for text")
    if taken := sorted(classes & reserved):
        raise click.ClickException(f"{given!r} cannot be a driver's name: Python or the core has a {taken[0]} already")


def _refuse_taken(given: str, names: Names) -> None:
    from importlib.metadata import distributions
    from importlib.util import find_spec

    from jumpstarter.config.published import PACKAGE_OF
    from jumpstarter.config.registry import offers

    if installed := next((one.version for one in distributions(name=names.distribution)), None):
        raise click.ClickException(f"{given!r} is taken: {names.distribution} {installed} is installed")
    for offer in offers():
        if offer.name in (names.class_name, f"Mock{names.class_name}"):
            source = f"{offer.package} {offer.version}".strip()
            raise click.ClickException(f"{given!r} is taken: {source} has a driver {offer.name}")
    if find_spec(names.package) is not None:
        raise click.ClickException(f"{given!r} is taken: there is a Python package {names.package}")
    if names.distribution in PACKAGE_OF.values() or names.class_name in PACKAGE_OF:
        package = PACKAGE_OF.get(names.class_name, names.distribution)
        raise click.ClickException(f"{given!r} is taken: {package} is a published package")
