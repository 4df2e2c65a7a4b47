"""Count what the paths that people wait for import beyond the libraries they stand on.

Usage: python scripts/import_budget.py [--list] [--json] [PATH ...]

Paths: see PATHS below; all of them by default.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from typing import Any, NamedTuple

GRPC = ("grpc.aio", "google.protobuf.message", "google.protobuf.struct_pb2")


class ImportPath(NamedTuple):
    """What a path imports (`code`), counted beyond what its libraries load by themselves (`floor`)."""

    code: str
    floor: tuple[str, ...]


PATHS = {
    "jmp": ImportPath("import jumpstarter_cli.jmp, jumpstarter_cli.version", ("click",)),
    "j": ImportPath(
        "import jumpstarter_cli.j, jumpstarter.client.commands, jumpstarter.utils.env, "
        "jumpstarter_driver_composite.client, jumpstarter_driver_power.client",
        ("click", *GRPC),
    ),
    "client": ImportPath("import jumpstarter.client", GRPC),
    "exporter": ImportPath(
        "import jumpstarter.config.exporter, jumpstarter.config.serving, jumpstarter.config.tree, "
        "jumpstarter_driver_composite.driver, jumpstarter_driver_power.driver",
        (
            *GRPC,
            *("pydantic.types", "pydantic.type_adapter", "pydantic.plugin._loader", "pydantic._internal._validators"),
            *("anyio.from_thread", "anyio._backends._asyncio", "anyio.streams.stapled", "anyio.streams.tls"),
            "importlib.metadata",
            "yaml",
        ),
    ),
}

PROBE = """
import importlib, json, sys
for name in {floor}:
    importlib.import_module(name)
before = set(sys.modules)
{code}
print(json.dumps([sorted(before), sorted(set(sys.modules) - before)]))
"""


def measure(name: str) -> tuple[list[str], list[str]]:
    """Modules of a path's floor, and those it adds, counted in a fresh interpreter."""
    path = PATHS[name]
    probe = PROBE.format(floor=list(path.floor), code=path.code)
    output = subprocess.run([sys.executable, "-c", probe], check=True, capture_output=True, text=True).stdout
    floor, added = json.loads(output)
    return floor, added


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("paths", nargs="*", metavar="PATH", help=f"of {', '.join(PATHS)}; default: all")
    parser.add_argument("--list", action="store_true", help="name the modules added, one per line")
    parser.add_argument("--json", action="store_true", help="print floor and added modules of each path")
    arguments = parser.parse_args()
    if unknown := set(arguments.paths) - PATHS.keys():
        parser.error(f"no path {min(unknown)!r}; there are {', '.join(PATHS)}")
    found: dict[str, dict[str, Any]] = {}
    for name in arguments.paths or PATHS:
        floor, added = measure(name)
        found[name] = {"floor": floor, "added": added}
        if not arguments.json:
            print(f"{name}: {len(added)} modules beyond the {len(floor)} of {', '.join(PATHS[name].floor)}")
        if arguments.list and not arguments.json:
            print("\n".join(f"  {module}" for module in added))
    if arguments.json:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
