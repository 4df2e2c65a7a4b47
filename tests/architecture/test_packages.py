"""What holds for every package of the workspace."""

from __future__ import annotations

import ast
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
VERSION = "0.9.0+1"
LONGEST_MODULE = 350

PACKAGES = {path.name: path for path in sorted((ROOT / "packages").iterdir()) if path.is_dir()}
OURS = {name.replace("-", "_"): name for name in PACKAGES}
SOURCES = [path for name in PACKAGES for path in sorted((PACKAGES[name] / name.replace("-", "_")).rglob("*.py"))]
HAND_WRITTEN = [path for path in SOURCES if "_pb2" not in path.name]

# What a package may import of the workspace, beside itself.
PROTOCOL, CORE = "jumpstarter-protocol", "jumpstarter"
DRIVERS = {name for name in PACKAGES if name.startswith("jumpstarter-driver-")}
ARROWS = {
    PROTOCOL: set(),
    CORE: {PROTOCOL},
    "jumpstarter-testing": {PROTOCOL, CORE},
    "jumpstarter-cli": {PROTOCOL, CORE},
    **dict.fromkeys(DRIVERS, {PROTOCOL, CORE} | DRIVERS),
}

# `compression` is new in 3.14.
STDLIB = sys.stdlib_module_names | {"compression"}
PROVIDERS = packages_distributions()
# jumpstarter-protocol is the one package that names gRPC and protobuf; those above it take them from there. pydantic
# pins its own core.
BROUGHT_BY = {"grpc": PROTOCOL, "google": PROTOCOL, "pydantic_core": "pydantic"}


@cache
def project(name: str) -> dict[str, Any]:
    table: dict[str, Any] = tomllib.loads((PACKAGES[name] / "pyproject.toml").read_text())["project"]
    return table


def requirements(name: str) -> dict[str, str]:
    """Distribution -> version specifier, of one package's dependencies, extras included."""
    groups = [project(name)["dependencies"], *project(name).get("optional-dependencies", {}).values()]
    found = [Requirement(line) for group in groups for line in group]
    return {canonicalize_name(requirement.name): str(requirement.specifier) for requirement in found}


def imported(name: str) -> dict[str, str]:
    """Top-level module -> a place that imports it, for one package."""
    found: dict[str, str] = {}
    for path in sorted((PACKAGES[name] / name.replace("-", "_")).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            for module in imported_by(node):
                found.setdefault(module.split(".")[0], f"{path.relative_to(ROOT)}:{node.lineno}")  # type: ignore[attr-defined]
    return found


def imported_by(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and not node.level:
        yield node.module or ""


def test_every_package_has_its_arrows() -> None:
    assert ARROWS.keys() == PACKAGES.keys()


@pytest.mark.parametrize("name", PACKAGES)
def test_one_version_for_all(name: str) -> None:
    assert project(name)["version"] == VERSION
    ours = {dependency: spec for dependency, spec in requirements(name).items() if dependency in PACKAGES}
    assert ours == dict.fromkeys(ours, f"=={VERSION}")


@pytest.mark.parametrize("name", PACKAGES)
def test_arrows_between_packages(name: str) -> None:
    used = {OURS[module]: place for module, place in imported(name).items() if module in OURS}
    assert {other: place for other, place in used.items() if other not in ARROWS[name] | {name}} == {}
    assert {other for other in requirements(name) if other in PACKAGES} <= ARROWS[name]


@pytest.mark.parametrize("name", PACKAGES)
def test_what_is_imported_is_declared(name: str) -> None:
    declared = {name} | requirements(name).keys()
    if name != CORE and CORE in reachable(name):
        declared |= requirements(CORE).keys()
    third_party = {module: place for module, place in imported(name).items() if module not in STDLIB}
    assert {module: place for module, place in third_party.items() if not provided_by(module) & declared} == {}


def provided_by(module: str) -> set[str]:
    """The distributions that bring a top-level module."""
    if module in OURS:
        return {OURS[module]}
    return {canonicalize_name(name) for name in PROVIDERS.get(module, [])} | {BROUGHT_BY.get(module, "")}


def reachable(name: str) -> set[str]:
    """Packages of ours that come with this one."""
    direct = requirements(name).keys() & PACKAGES.keys()
    return direct.union(*(reachable(other) for other in direct))


@pytest.mark.parametrize("path", HAND_WRITTEN, ids=lambda path: str(path.relative_to(ROOT / "packages")))
def test_modules_are_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= LONGEST_MODULE


@pytest.mark.parametrize("path", HAND_WRITTEN, ids=lambda path: str(path.relative_to(ROOT / "packages")))
def test_only_programs_print(path: Path) -> None:
    is_program = (path.parent / "__main__.py").exists()
    calls = (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call))
    prints = [call.lineno for call in calls if isinstance(call.func, ast.Name) and call.func.id == "print"]
    assert is_program or not prints, f"{path}: {prints}"
