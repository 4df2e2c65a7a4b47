"""Whole commands, from start to exit, beside `python -c pass` of the same environment in the same run.

Usage: python benchmarks/startup.py [--rounds N] [--peer ENVIRONMENT] [--json FILE]

`--peer`: a virtual environment with the published command line and its power driver, to be measured beside ours.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

EXPORTER = """\
apiVersion: jumpstarter.dev/v1alpha1
kind: ExporterConfig
metadata:
  namespace: default
  name: benchmark
endpoint: ""
token: ""
export:
  power:
    type: jumpstarter_driver_power.driver.MockPower
"""
# Prints its environment, and lives for as long as its standard input is open.
STAY = "import json, os, sys; print(json.dumps(dict(os.environ)), flush=True); sys.stdin.read()"
PASS = "python -c pass"


@dataclass(frozen=True)
class Measure:
    """A command, and how many times as long as `python -c pass` it may take. `inside`: run in a `jmp shell`."""

    name: str
    command: tuple[str, ...]
    goal: float | None = None
    inside: bool = False


MEASURES = (
    Measure(PASS, ("python", "-c", "pass")),
    Measure("jmp --help", ("jmp", "--help"), 6),
    Measure("jmp version", ("jmp", "version"), 6),
    Measure("j power on, in a shell", ("j", "power", "on"), 14, inside=True),
    Measure("jmp shell -- true", ("jmp", "shell", "--exporter-config", "FILE", "--", "true")),
    Measure("jmp shell -- j power on", ("jmp", "shell", "--exporter-config", "FILE", "--", "j", "power", "on"), 30),
)


class Side:
    """One environment, with a shell open in it."""

    def __init__(self, prefix: Path, file: Path, shell: dict[str, str]) -> None:
        self._bin = prefix / "bin"
        self._file = file
        self._outside = environment(prefix)
        self._inside = shell

    def seconds(self, measure: Measure) -> float:
        """How long one run takes; CalledProcessError where it fails."""
        program, *rest = measure.command
        command = [str(self._bin / program), *(str(self._file) if word == "FILE" else word for word in rest)]
        start = perf_counter()
        subprocess.run(
            command,
            check=True,
            env=self._inside if measure.inside else self._outside,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        return perf_counter() - start


def environment(prefix: Path) -> dict[str, str]:
    """Ours, with the programs of `prefix` first, bytecode allowed, and no session of an outer shell."""
    ours = {name: text for name, text in os.environ.items() if not name.startswith(("JUMPSTARTER_", "JMP_"))}
    ours.pop("PYTHONDONTWRITEBYTECODE", None)
    return {**ours, "PATH": f"{prefix / 'bin'}{os.pathsep}{ours.get('PATH', '')}"}


@contextmanager
def side(prefix: Path) -> Iterator[Side]:
    """The side of a virtual environment; a shell is open in it meanwhile."""
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "exporter.yaml"
        file.write_text(EXPORTER)
        python = str(prefix / "bin" / "python")
        command = [str(prefix / "bin" / "jmp"), "shell", "--exporter-config", str(file), "--", python, "-c", STAY]
        with subprocess.Popen(
            command, env=environment(prefix), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as shell:
            assert shell.stdin is not None
            assert shell.stdout is not None
            inside = shell.stdout.readline()
            if not inside:
                sys.exit(f"{prefix}: no shell; is the command line installed there, with jumpstarter-driver-power?")
            yield Side(prefix, file, json.loads(inside))
            shell.stdin.close()


def medians(sides: dict[str, Side], rounds: int) -> dict[str, dict[str, float]]:
    """Side -> measure -> median seconds; everything in turn, after one round that counts for nothing."""
    times: dict[str, dict[str, list[float]]] = {name: {m.name: [] for m in MEASURES} for name in sides}
    for number in range(rounds + 1):
        print(f"round {number} of {rounds}", file=sys.stderr)
        for measure in MEASURES:
            for name, one in sides.items():
                times[name][measure.name].append(one.seconds(measure))
    return {name: {what: statistics.median(all_[1:]) for what, all_ in of.items()} for name, of in times.items()}


def table(found: dict[str, dict[str, float]]) -> str:
    """What was found, in milliseconds and in times of `python -c pass`, beside the goals."""
    lines = [f"{'':25} {'goal':>6}" + "".join(f" {name:>20}" for name in found)]
    for measure in MEASURES:
        goal = f"< {measure.goal:g}" if measure.goal else ""
        cells = (f"{of[measure.name] * 1e3:,.0f} ms {of[measure.name] / of[PASS]:6.1f} x" for of in found.values())
        lines.append(f"{measure.name:25} {goal:>6}" + "".join(f" {cell:>20}" for cell in cells))
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure whole commands beside `python -c pass`.")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--peer", type=Path, help="virtual environment of the published command line")
    parser.add_argument("--json", type=Path, help="also write the medians, in seconds, to this file")
    arguments = parser.parse_args()
    prefixes = {"ours": Path(sys.prefix)} | ({"published": arguments.peer} if arguments.peer else {})
    with ExitStack() as stack:
        found = medians(
            {name: stack.enter_context(side(prefix)) for name, prefix in prefixes.items()}, arguments.rounds
        )
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=2))
    print(table(found))


if __name__ == "__main__":
    main()
