"""constraints.txt pins everything that the set-up installs, by name and version alone."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
LINES = (ROOT / "constraints.txt").read_text().splitlines()


def required() -> Iterator[Requirement]:
    """What the packages and the dependency groups ask for, packages of the workspace left out."""
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]
    lines: list[str] = [line for group in groups.values() for line in group if isinstance(line, str)]
    for path in ROOT.glob("packages/*/pyproject.toml"):
        project = tomllib.loads(path.read_text())["project"]
        for group in [project["dependencies"], *project.get("optional-dependencies", {}).values()]:
            lines += group
    members = {path.name for path in (ROOT / "packages").iterdir()}
    return (requirement for requirement in map(Requirement, lines) if requirement.name not in members)


def test_names_and_versions_alone() -> None:
    for line in LINES:
        pin = Requirement(line)
        assert pin.url is None, line
        assert [specifier.operator for specifier in pin.specifier] == ["=="], line


def test_everything_required_is_pinned_to_a_version_that_fits() -> None:
    pins = {canonicalize_name(pin.name): next(iter(pin.specifier)).version for pin in map(Requirement, LINES)}
    wrong = [str(r) for r in required() if pins.get(canonicalize_name(r.name), "") not in r.specifier]
    assert wrong == [], "run `make constraints`"
