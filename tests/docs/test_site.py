"""The site builds without a warning and without a network, and its reference leaves nothing out."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from html import unescape
from pathlib import Path
from typing import Any

import click
import jumpstarter_cli.jmp
import pytest
from doc_blocks import ROOT
from jumpstarter.common import exceptions
from jumpstarter.config import env
from jumpstarter.config.client import ClientConfigV1Alpha1
from jumpstarter.config.exporter import ExporterConfigV1Alpha1
from jumpstarter.config.registry import offers
from jumpstarter.config.user import UserConfigV1Alpha1
from jumpstarter.exporter.lease_life import LEASE_LIFE, State
from pydantic import BaseModel

DEADLINE = 100
# What is promised to users, wherever it lives.
PUBLIC = [
    "jumpstarter.driver.Driver",
    "jumpstarter.driver.export",
    "jumpstarter.driver.exportstream",
    "jumpstarter.client.DriverClient",
    "jumpstarter.client.DriverClient.call",
    "jumpstarter.client.DriverClient.streamingcall",
    "jumpstarter.client.DriverClient.stream",
    "jumpstarter.client.DriverClient.open_stream",
    "jumpstarter.client.DriverClient.log_stream",
    "jumpstarter.drivers.mixins.StreamMixin",
    "jumpstarter.drivers.mixins.ResourceMixin",
    "jumpstarter.common.utils.serve",
    "jumpstarter.common.utils.env",
]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("site")
    arguments = ["-W", "--keep-going", "-q", "-E", "-d", str(directory / "doctrees"), str(ROOT / "docs")]
    build = subprocess.run(
        [sys.executable, "-m", "sphinx", *arguments, str(directory / "html")],
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    assert (build.returncode, build.stderr) == (0, "")
    return directory / "html"


@cache
def source(page: Path) -> str:
    return page.read_text()


def headings(page: Path) -> set[str]:
    """The text of the headings of a page."""
    found = re.findall(r"<h[1-6]>(.*?)<a class=\"headerlink\"", source(page), re.S)
    return {unescape(re.sub(r"<[^>]+>", "", heading)) for heading in found}


def entries(page: Path) -> set[str]:
    """The first cells of the tables of a page."""
    found = re.findall(r"<tr[^>]*><td>(.*?)</td>", source(page), re.S)
    return {unescape(re.sub(r"<[^>]+>", "", entry)).strip() for entry in found}


def section(page: Path, heading: str) -> str:
    """From a heading of the second level to the next."""
    for part in source(page).split("<h2>"):
        if part.startswith(f"{heading}<"):
            return part
    raise AssertionError(f"{page.name} has no section {heading!r}")


def commands(command: click.Command, context: click.Context) -> Iterator[tuple[str, click.Command]]:
    yield context.command_path, command
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None, name
            yield from commands(below, click.Context(below, info_name=name, parent=context))


def keys(schema: dict[str, Any], definitions: dict[str, Any], prefix: str = "", seen: tuple[str, ...] = ()) -> set[str]:
    """The dotted keys of a file, as its JSON schema has them; none is followed into itself."""
    found = set()
    for key, value in schema.get("properties", {}).items():
        found.add(prefix + key)
        for option in [value, *value.get("anyOf", [])]:
            inside = option.get("additionalProperties")
            below, dots = (inside, ".NAME.") if isinstance(inside, dict) else (option, ".")
            name = below.get("$ref", "").rpartition("/")[2]
            if name and name not in seen:
                found |= keys(definitions[name], definitions, f"{prefix}{key}{dots}", (*seen, name))
    return found


def test_every_command_and_option_has_an_entry(site: Path) -> None:
    page = site / "reference" / "jmp.html"
    jmp = jumpstarter_cli.jmp.jmp
    found = dict(commands(jmp, click.Context(jmp, info_name="jmp")))
    assert {"jmp shell", "jmp run", "jmp config client create", "jmp driver new", "jmp exporter check"} <= found.keys()
    for path, command in found.items():
        text = unescape(re.sub(r"<[^>]+>", "", section(page, path)))
        options = [name for param in command.params if isinstance(param, click.Option) for name in param.opts]
        assert [name for name in options if name not in text] == [], path


@pytest.mark.parametrize("model", [ExporterConfigV1Alpha1, ClientConfigV1Alpha1, UserConfigV1Alpha1])
def test_every_key_of_a_file_has_an_entry(site: Path, model: type[BaseModel]) -> None:
    schema = model.model_json_schema(by_alias=True)
    # A program sets those that a file does not have.
    internal = {name for name, field in model.model_fields.items() if field.exclude}
    wanted = keys(schema, schema.get("$defs", {})) - internal
    assert len(wanted) > 3
    assert wanted - entries(site / "reference" / "configuration.html") == set()


def test_every_environment_variable_has_an_entry(site: Path) -> None:
    names = {value for name, value in vars(env).items() if name.isupper() and isinstance(value, str)} - {env.UNSAFE}
    assert {"JUMPSTARTER_HOST", "JMP_GRPC_PASSPHRASE", "NO_COLOR"} <= names
    assert names ^ entries(site / "reference" / "environment.html") == set()


def test_every_error_has_an_entry(site: Path) -> None:
    page = site / "reference" / "errors.html"
    errors = [value for value in vars(exceptions).values() if isinstance(value, type)]
    ours = [error for error in errors if issubclass(error, exceptions.JumpstarterException)]
    assert [error for error in ours if f'id="{error.__module__}.{error.__name__}"' not in source(page)] == []


def test_every_public_name_has_an_entry(site: Path) -> None:
    page = site / "reference" / "python.html"
    assert [name for name in PUBLIC if f'id="{name}"' not in source(page)] == []


def test_every_installed_driver_has_an_entry(site: Path) -> None:
    assert {offer.name for offer in offers()} - headings(site / "reference" / "drivers.html") == set()


def test_the_life_of_a_lease_is_the_table_that_runs(site: Path) -> None:
    page = site / "concepts" / "leases.html"
    states = {state.name.lower().replace("_", " ") for state in State}
    assert states <= entries(page)
    steps = [step for step in LEASE_LIFE if step[2].state is not step[0] or step[2].effects]
    assert source(page).count("<tr") == 2 + len(State) + len(steps)


@pytest.mark.peer("dot")
def test_the_life_of_a_lease_is_drawn(site: Path) -> None:
    assert re.search(r'<(object|img)[^>]*\.svg"', source(site / "concepts" / "leases.html"))


def test_nothing_comes_from_the_network(site: Path) -> None:
    loaded = re.compile(
        r'<(?:script|img|iframe|object)[^>]*(?:src|data)="https?:|<link[^>]*rel="stylesheet"[^>]*https?:'
    )
    pages = list(site.rglob("*.html"))
    assert len(pages) > 20
    assert [str(page) for page in pages if loaded.search(source(page))] == []
