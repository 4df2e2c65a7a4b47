"""`jmp shell -- j ...` loads `j` while its exporter starts; nobody can tell from what `j` then does."""

from __future__ import annotations

import json
import os
import signal
import textwrap
from typing import Any

import psutil
import pytest
from jumpstarter_testing.eventually import eventually

SECONDS = 60
# A driver whose client's only command tells what a process can see of itself.
MIRROR = """
    import json, logging, os, signal, sys
    from dataclasses import dataclass

    import click

    from jumpstarter.client import DriverClient
    from jumpstarter.driver import Driver


    class Mirror(Driver):
        @classmethod
        def client(cls) -> str:
            return "mirror.MirrorClient"


    class MirrorClient(DriverClient):
        def cli(self):
            @click.group()
            def base():
                pass

            @base.command()
            def look():
                handled = [n for n in sorted(signal.valid_signals()) if signal.getsignal(n) is signal.SIG_IGN]
                click.echo(json.dumps({
                    "arguments": sys.argv,
                    "directory": os.getcwd(),
                    "environment": dict(os.environ),
                    "files": sorted(n for n in os.listdir("/proc/self/fd") if int(n) < 3),
                    "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
                    "ignored": handled,
                    "interrupt": signal.getsignal(signal.SIGINT).__qualname__,
                    "log": [logging.getLogger().level, len(logging.getLogger().handlers)],
                    "session": os.getsid(0) == os.getsid(os.getppid()),
                    "group": os.getpgrp() == os.getpgid(os.getppid()),
                    "input": sys.stdin.read(),
                }))

            @base.command()
            def wait():
                click.echo(os.getpid())
                signal.pause()

            return base
"""
EXPORTER = """
    metadata: {name: bench}
    export:
      mirror: {type: mirror.Mirror}
"""


@pytest.fixture
def way(bench: Any) -> list[str]:
    (bench.home / "mirror.py").write_text(textwrap.dedent(MIRROR))
    (bench.home / "x.yaml").write_text(textwrap.dedent(EXPORTER))
    return ["jmp", "--log-level", "INFO", "shell", "--exporter-config", "x.yaml", "--"]


def look(bench: Any, *command: str) -> dict[str, Any]:
    done = bench.start(*command, env={"PYTHONPATH": str(bench.home)}, stdin=-1)
    out, err = done.communicate("said\n", timeout=SECONDS)
    assert done.returncode == 0, err
    seen: dict[str, Any] = json.loads(out)
    for name in ("_", "SHLVL", "OLDPWD", "PWD", "JUMPSTARTER_HOST"):
        seen["environment"].pop(name, None)
    return seen


def test_it_sees_what_a_new_program_sees(bench: Any, way: list[str]) -> None:
    prepared = look(bench, *way, "j", "mirror", "look")
    started = look(bench, *way, "sh", "-c", "exec j mirror look")
    assert prepared == started
    assert prepared["input"] == "said\n"


def test_its_exit_code_and_its_usage_errors(bench: Any, way: list[str]) -> None:
    texts = []
    for command in (["j", "mirror", "lok"], ["sh", "-c", "exec j mirror lok"]):
        process = bench.start(*way, *command, env={"PYTHONPATH": str(bench.home)})
        out, err = process.communicate(timeout=SECONDS)
        assert (process.returncode, out) == (1, "")
        texts.append(err)
    assert texts[0] == texts[1]
    assert "Did you mean 'look'?" in texts[0]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_reach_it(bench: Any, way: list[str], number: signal.Signals) -> None:
    process = bench.start(*way, "j", "mirror", "wait", env={"PYTHONPATH": str(bench.home)})
    j = int(process.stdout.readline())
    os.kill(process.pid, number)
    assert process.wait(SECONDS) == 2
    assert not psutil.pid_exists(j)


def test_none_is_left_where_none_is_to_run(bench: Any) -> None:
    (bench.home / "x.yaml").write_text("metadata: {name: bench}\nexport: {power: {type: MockPowr}}\n")
    process = bench.start("jmp", "shell", "--exporter-config", "x.yaml", "--", "j", "power", "on")
    assert process.wait(SECONDS) == 1
    group = [one for one in psutil.process_iter() if one.is_running() and os.getpgid(one.pid) == process.pid]
    assert group == []


def test_it_ends_with_a_worker_that_is_killed(bench: Any) -> None:
    more = f"hooks: {{beforeLease: {{script: 'touch {bench.home}/begun; sleep 60'}}}}\n"
    file = bench.file(more)
    process = bench.start("jmp", "shell", "--exporter-config", file, "--", "j", "power", "on")
    eventually((bench.home / "begun").stat, timeout=SECONDS)
    (worker,) = psutil.Process(process.pid).children()
    (j,) = [one for one in worker.children() if one.cmdline() == worker.cmdline()]
    assert any("grpc" in each.path for each in j.memory_maps())  # it has loaded what it will need
    worker.kill()
    assert process.wait(SECONDS) == 128 + signal.SIGKILL
    assert not j.is_running()
