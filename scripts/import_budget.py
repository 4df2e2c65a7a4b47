"""Count what `import jumpstarter.client` loads beyond the libraries that it stands on.

Usage: python scripts/import_budget.py [--list]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys

# What gRPC, protobuf, pydantic and anyio load by themselves is not ours to spend.
FLOOR = ["grpc.aio", "google.protobuf.message", "google.protobuf.struct_pb2", "pydantic", "anyio._backends._asyncio"]
BUDGETED = "jumpstarter.client"

PROBE = """
import importlib, json, sys
for name in {floor}:
    importlib.import_module(name)
before = set(sys.modules)
importlib.import_module({budgeted!r})
print(json.dumps([sorted(before), sorted(set(sys.modules) - before)]))
"""


def measure() -> tuple[list[str], list[str]]:
    """Modules of the floor, and those that the import adds, counted in a fresh interpreter."""
    probe = PROBE.format(floor=FLOOR, budgeted=BUDGETED)
    output = subprocess.run([sys.executable, "-c", probe], check=True, capture_output=True, text=True).stdout
    floor, added = json.loads(output)
    return floor, added


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--list", action="store_true", help="name the modules added, one per line")
    arguments = parser.parse_args()
    floor, added = measure()
    print(f"import {BUDGETED}: {len(added)} modules beyond the {len(floor)} of {', '.join(FLOOR)}")
    if arguments.list:
        print("\n".join(added))


if __name__ == "__main__":
    main()
