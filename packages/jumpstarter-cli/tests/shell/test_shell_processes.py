"""`jmp shell` and its processes: signals at every stage, killed processes, a lost exporter; nothing is left running."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from jumpstarter_testing.eventually import eventually

HOOKS = """
    hooks:
      beforeLease: {script: "echo before > before; %s"}
      afterLease: {script: "echo after > after; %s; j power off && echo done > done", timeout: 30}
"""
Gone = Callable[[int], None]
STOPPING = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


def appears(path: Path) -> None:
    def check() -> None:
        assert path.exists()

    eventually(check, timeout=30)


def worker_of(process: Any) -> psutil.Process:
    """The process that the guard has forked."""
    (worker,) = psutil.Process(process.pid).children()
    return worker


def child_of(process: Any, name: str) -> psutil.Process:
    """The program that runs in the session."""
    found = [one for one in worker_of(process).children() if one.name() == name]
    assert len(found) == 1
    return found[0]


@pytest.mark.parametrize("number", STOPPING)
def test_a_signal_before_the_exporter_is_ready(number: int, bench: Any, gone: Gone) -> None:
    process = bench.shell(["--exporter-config", bench.file(HOOKS % ("sleep 60", "true"))], "touch", "never")
    appears(bench.home / "before")
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2, err
    assert "Cancelled." in err
    assert (bench.home / "done").exists()
    assert not (bench.home / "never").exists()
    gone(process.pid)


@pytest.mark.parametrize("number", STOPPING)
def test_a_signal_while_the_command_runs(number: int, mode: str, bench: Any, gone: Gone) -> None:
    _, way = bench.reach(mode, bench.file(HOOKS % ("true", "true")))
    process = bench.shell(way, "sh", "-c", "trap 'kill $!; exit 41' INT TERM HUP; sleep 60 & touch running; wait")
    appears(bench.home / "running")
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 41, err
    assert (bench.home / "done").exists()
    gone(process.pid)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_while_the_after_hook_runs_locally(number: int, bench: Any, gone: Gone) -> None:
    os.mkfifo(bench.home / "go")
    process = bench.shell(["--exporter-config", bench.file(HOOKS % ("true", "read line < go"))], "sh", "-c", "exit 6")
    appears(bench.home / "after")
    process.send_signal(number)
    (bench.home / "go").write_text("on\n")
    process.communicate(timeout=60)
    assert process.returncode == 6
    assert (bench.home / "done").exists()
    gone(process.pid)


def test_an_interrupt_skips_the_after_hook(mode: str, bench: Any, gone: Gone) -> None:
    _, way = bench.reach(mode, bench.file(HOOKS % ("true", "sleep 60")))
    process = bench.shell(way, "sh", "-c", "exit 6")
    appears(bench.home / "after")
    assert any("(Ctrl-C skips it)" in line for line in process.stderr)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 6
    assert "Leaving without waiting" in err
    assert not (bench.home / "done").exists()
    gone(process.pid)


def test_a_command_that_is_cut_short_leaves_nothing(bench: Any, gone: Gone) -> None:
    process = bench.shell(["--exporter-config", bench.file()], "sh", "-c", "touch running; sleep 600; true")
    appears(bench.home / "running")
    process.terminate()
    process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    gone(process.pid)


def test_what_a_command_leaves_in_the_background_on_purpose_stays(bench: Any) -> None:
    process = bench.shell(["--exporter-config", bench.file()], "sh", "-c", "sleep 600 >&- 2>&- & echo $!")
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    left = psutil.Process(int(out))
    assert left.name() == "sleep"
    left.kill()


class TestKilled:
    """With SIGKILL."""

    def test_the_guard(self, bench: Any, gone: Gone) -> None:
        process = bench.shell(["--exporter-config", bench.file(HOOKS % ("true", "true"))], "sleep", "600")
        eventually(lambda: child_of(process, "sleep"), timeout=20)
        process.kill()
        process.communicate(timeout=60)
        gone(process.pid)
        assert (bench.home / "done").exists()

    def test_the_worker(self, bench: Any, gone: Gone) -> None:
        file = bench.file(HOOKS % ("true", "true"))
        process = bench.shell(["--exporter-config", file], "sh", "-c", "sleep 600; true", env=runtime(bench))
        eventually(lambda: child_of(process, "sh"), timeout=20)
        worker_of(process).kill()
        _, err = process.communicate(timeout=60)
        assert process.returncode == 128 + signal.SIGKILL
        assert "was killed by signal" in err
        gone(process.pid)
        after = bench.shell(["--exporter-config", file], "j", "power", "on", env=runtime(bench))
        after.communicate(timeout=60)
        assert after.returncode == 0
        assert list(Path(runtime(bench)["XDG_RUNTIME_DIR"]).iterdir()) == []

    def test_the_worker_while_a_hook_runs(self, bench: Any, gone: Gone) -> None:
        hooks = HOOKS % ("echo $$ > pid; sleep 600", "true")
        process = bench.shell(["--exporter-config", bench.file(hooks)], "true")
        appears(bench.home / "pid")
        hook = int(eventually(lambda: int((bench.home / "pid").read_text())))
        worker_of(process).kill()
        process.communicate(timeout=60)
        assert process.returncode == 128 + signal.SIGKILL
        gone(hook)
        gone(process.pid)

    def test_the_command(self, mode: str, bench: Any, gone: Gone) -> None:
        _, way = bench.reach(mode, bench.file(HOOKS % ("true", "true")))
        process = bench.shell(way, "sleep", "600")
        eventually(lambda: child_of(process, "sleep"), timeout=20).kill()
        process.communicate(timeout=60)
        assert process.returncode == 128 + signal.SIGKILL
        assert (bench.home / "done").exists()
        gone(process.pid)


class TestTheExporterIsLost:
    def test_stopped(self, bench: Any, gone: Gone) -> None:
        service, way = bench.reach("direct", bench.file(HOOKS % ("true", "true")))
        process = bench.shell(way, "sh", "-c", "trap 'echo hung up; exit 5' HUP; touch running; sleep 600 & wait")
        appears(bench.home / "running")
        assert service.stop() == 0
        out, err = process.communicate(timeout=60)
        assert process.returncode == 1
        assert out == "hung up\n"
        assert "Error: the exporter has ended the lease" in err
        gone(process.pid)

    def test_killed(self, bench: Any, gone: Gone) -> None:
        service, way = bench.reach("direct", bench.file())
        process = bench.shell(way, "sh", "-c", "trap 'echo hung up; exit 5' HUP; touch running; sleep 600 & wait")
        appears(bench.home / "running")
        worker = worker_of(service.process)
        service.process.send_signal(signal.SIGSTOP)  # it would start another one
        worker.kill()
        service.process.kill()
        out, err = process.communicate(timeout=60)
        assert process.returncode == 1
        assert out == "hung up\n"
        assert "Error: the connection to the exporter is lost" in err
        gone(process.pid)

    def test_crashed_and_started_anew(self, bench: Any, gone: Gone) -> None:
        """While it is down, the command ends."""
        os.mkfifo(bench.home / "go")
        with socket.create_server(("127.0.0.1", 0)) as server:
            address = f"127.0.0.1:{server.getsockname()[1]}"
        service = bench.serve(bench.file(HOOKS % ("true", "true")), "--tls-grpc-listener", address)
        process = bench.shell(["--tls-grpc", address, "--tls-grpc-insecure"], "sh", "-c", "read line < go; exit 6")
        eventually(lambda: child_of(process, "sh"), timeout=20)
        worker = worker_of(service.process)
        service.process.send_signal(signal.SIGSTOP)
        worker.kill()
        (bench.home / "go").write_text("on\n")
        assert any("Waiting for the exporter to end the lease (Ctrl-C skips it)" in line for line in process.stderr)
        service.process.send_signal(signal.SIGCONT)
        process.communicate(timeout=60)
        assert process.returncode == 6
        assert (bench.home / "done").exists()
        assert service.stop() == 0
        gone(process.pid)


def runtime(bench: Any) -> dict[str, str]:
    directory = bench.home / "runtime"
    directory.mkdir(exist_ok=True)
    return {"XDG_RUNTIME_DIR": str(directory)}
