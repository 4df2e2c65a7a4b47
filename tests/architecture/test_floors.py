"""The core is built in floors: the table of ARCHITECTURE.md against the imports, lazy ones included."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CORE = ROOT / "packages" / "jumpstarter" / "jumpstarter"

# Imports that go up all the same, each with its reason. This list only shrinks.
KNOWN_UPWARD = {
    ("jumpstarter.common", "jumpstarter.common.listeners"): "published names, looked up when they are asked for",
}

# The one place that reads the environment, and the package itself, which quietens gRPC before it is imported.
READS_ENVIRONMENT = {"jumpstarter.config.env", "jumpstarter"}


def rooms() -> dict[str, int]:
    """Module or package -> floor, from the table in ARCHITECTURE.md."""
    table: dict[str, int] = {}
    floor = 0
    for line in (ROOT / "ARCHITECTURE.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.split("|")]
        if not line.startswith("|") or "`jumpstarter." not in line:
            continue
        floor = int(cells[1].split()[0]) if cells[1] else floor
        for name in re.findall(r"`(jumpstarter\.[^`]+)`", cells[2]):
            table.update(dict.fromkeys(expand(name), floor))
    return table


def expand(name: str) -> list[str]:
    """`a.{b,c}` -> [`a.b`, `a.c`]."""
    match = re.fullmatch(r"(.*)\{(.*)\}", name)
    return [match[1] + part for part in match[2].split(",")] if match else [name]


def modules() -> dict[str, Path]:
    def name(path: Path) -> str:
        parts = path.relative_to(CORE.parent).with_suffix("").parts
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    return {name(path): path for path in sorted(CORE.rglob("*.py"))}


ROOMS = rooms()
MODULES = modules()


def room_of(module: str) -> str | None:
    """The longest name of the table that holds the module."""
    return max((room for room in ROOMS if f"{module}.".startswith(f"{room}.")), key=len, default=None)


def imports_of(module: str) -> Iterator[str]:
    """Core modules that a module imports, at whatever depth of its code."""
    path = MODULES[module]
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package.split(".")[: len(package.split(".")) + 1 - node.level]) if node.level else ""
            source = ".".join(part for part in (base, node.module) if part)
            names = [f"{source}.{alias.name}" for alias in node.names]
            names = [name if name in MODULES else source for name in names]
        else:
            continue
        yield from (name for name in names if name in MODULES)


def upward() -> set[tuple[str, str]]:
    """Imports (who, whom) against the rules of ARCHITECTURE.md."""
    found = set()
    for who in MODULES:
        for whom in imports_of(who):
            here, there = room_of(who), room_of(whom)
            if here is None or there is None:
                continue
            strangers = {here, there} == {"jumpstarter.driver", "jumpstarter.client"}
            if ROOMS[there] > ROOMS[here] or strangers:
                found.add((who, whom))
    return found


def test_the_table_is_read() -> None:
    assert {"jumpstarter.driver", "jumpstarter.client", "jumpstarter.exporter"} < ROOMS.keys()
    assert sorted(set(ROOMS.values())) == [0, 1, 2, 3, 4, 5, 6]


def test_every_room_exists() -> None:
    assert [room for room in ROOMS if room not in MODULES] == []


def test_every_module_has_a_room() -> None:
    assert [module for module in MODULES if module != "jumpstarter" and room_of(module) is None] == []


def test_nothing_imports_upward() -> None:
    assert upward() - KNOWN_UPWARD.keys() == set()


def test_the_known_exceptions_are_still_needed() -> None:
    assert KNOWN_UPWARD.keys() - upward() == set()


@pytest.mark.parametrize("module", MODULES.keys() - READS_ENVIRONMENT)
def test_the_environment_is_read_in_one_place(module: str) -> None:
    names = {"environ", "environb", "getenv", "getenvb"}
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        attribute = isinstance(node, ast.Attribute) and node.attr in names
        imported = isinstance(node, ast.ImportFrom) and node.module == "os" and names & {a.name for a in node.names}
        reads = attribute or imported
        assert not reads, f"read it in jumpstarter.config.env, pass the value: {ast.unparse(node)}"
