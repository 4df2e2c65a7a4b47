"""Hooks: their environment, terminal, output and outcomes; what is left of them afterwards."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
import pytest
from anyio import Event, create_task_group, fail_after, sleep, to_thread
from hypothesis import given
from hypothesis import strategies as st
from jumpstarter.exporter.hook_output import LINE_CHARACTERS, OutputLines
from jumpstarter.exporter.hooks import Hook, HookFailed, hook_variables, run_hook
from jumpstarter_testing.eventually import eventually

pytestmark = pytest.mark.anyio

LOGGER = logging.getLogger("hook.beforeLease")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
async def deadline(anyio_backend: str):
    with fail_after(30):
        yield


class Lines(logging.Handler):
    """The output of hooks, and an event for each line."""

    def __init__(self) -> None:
        super().__init__()
        self.all: list[str] = []
        self._events: dict[str, tuple[asyncio.AbstractEventLoop, asyncio.Event]] = {}

    def emit(self, record: logging.LogRecord) -> None:
        line = record.getMessage()
        self.all.append(line)
        if line in self._events:
            loop, event = self._events[line]
            loop.call_soon_threadsafe(event.set)

    def on(self, line: str) -> asyncio.Event:
        """Set when `line` comes."""
        event = asyncio.Event()
        self._events[line] = (asyncio.get_running_loop(), event)
        return event


@pytest.fixture
def lines() -> Iterator[Lines]:
    handler = Lines()
    before = LOGGER.level, LOGGER.propagate
    LOGGER.addHandler(handler)
    LOGGER.setLevel(logging.INFO)
    LOGGER.propagate = False
    yield handler
    LOGGER.removeHandler(handler)
    LOGGER.level, LOGGER.propagate = before


async def run(script: str, **options: Any) -> None:
    variables = hook_variables("/run/hooks/socket", lease_name="lease-1", client_name="client-1")
    callbacks = {name: options.pop(name) for name in ("started", "ended") if name in options}
    await run_hook(Hook("beforeLease", script, **options), variables, LOGGER, **callbacks)


def processes_of(session: int) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, ProcessLookupError):
            if os.getsid(process.pid) == session and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


async def test_environment(lines: Lines, monkeypatch: pytest.MonkeyPatch) -> None:
    outer = ("JUMPSTARTER_HOST", "JMP_GRPC_PASSPHRASE", "JMP_GRPC_INSECURE", "JMP_LEASE", "JMP_EXPORTER", "PS1")
    secret = ("JMP_EXPORTER_PASSPHRASE", "JMP_GRPC_KEY")
    for name in (*outer, *secret, "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"):
        monkeypatch.setenv(name, "outer")
    monkeypatch.setenv("KEPT", "1")
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    await run("env")
    found = dict(line.partition("=")[::2] for line in lines.all)
    assert "outer" not in found.values()
    assert (
        found.items()
        >= {
            "JUMPSTARTER_HOST": "/run/hooks/socket",
            "JMP_DRIVERS_ALLOW": "UNSAFE",
            "LEASE_NAME": "lease-1",
            "CLIENT_NAME": "client-1",
            "TERM": "dumb",
            "DEBIAN_FRONTEND": "noninteractive",
            "GIT_TERMINAL_PROMPT": "0",
            "KEPT": "1",
            "PATH": f"/usr/bin:/bin:{Path(sys.executable).parent}",
        }.items()
    )


async def test_a_terminal_and_a_session_of_its_own(lines: Lines) -> None:
    await run(
        "import os, termios\n"
        "print(*(os.isatty(fd) for fd in range(3)), *os.get_terminal_size())\n"
        "print(bool(termios.tcgetattr(0)[3] & termios.ECHO), os.getsid(0) == os.getpgrp() == os.getpid())\n",
        exec=sys.executable,
    )
    assert lines.all == ["True True True 120 24", "False True"]


async def test_a_hook_may_take_months(lines: Lines) -> None:
    await run("sleep 0.1; echo done", timeout=9_000_000)
    assert lines.all == ["done"]


async def test_lines_come_while_the_hook_runs(lines: Lines, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    first = lines.on("first")
    async with create_task_group() as group:
        group.start_soon(run, f"echo first; cat {fifo}")
        await first.wait()
        assert lines.all == ["first"]
        fifo.write_text("second\n")
    assert lines.all == ["first", "second"]


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        (r"printf 'a\n\nb'", ["a", "", "b"]),
        (r"printf 'a\r\nb\r\r\nc\r'", ["a", "b", "c"]),
        (r"printf '\r10%%\r50%%\r100%%\r\ndone\n'", ["10%", "50%", "100%", "done"]),
        (r"printf 'caf\303\251 \377\376 \342\202'", ["café \ufffd\ufffd \ufffd"]),
        (r"printf '\033[1;31mred\033[0m\ta\007 \033]0;title\007end\033(B\n'", ["red\ta end"]),
        (r"printf '\033[2J\n'", [""]),
        ("head -c 20000 /dev/zero | tr '\\0' x; echo; echo y", ["x" * 8192, "x" * 8192, "x" * 3616, "y"]),
        ("head -c 16384 /dev/zero | tr '\\0' x; echo; echo y", ["x" * 8192, "x" * 8192, "y"]),
        ("true", []),
    ],
)
async def test_output(script: str, expected: list[str], lines: Lines) -> None:
    await run(script)
    assert lines.all == expected


@given(
    st.lists(st.sampled_from([b"a", b"\r", b"\n", b"\xc3", b"\xa9", b"x" * 5000, b"\x1b[0m", b"\xff"]), max_size=20),
    st.lists(st.integers(0, 60_000), max_size=8),
)
def test_lines_do_not_depend_on_how_output_is_cut(pieces: list[bytes], cuts: list[int]) -> None:
    output = b"".join(pieces)
    at_once, in_parts = OutputLines(), OutputLines()
    whole = [*at_once.feed(output), *at_once.close()]
    places = sorted({0, len(output), *(cut for cut in cuts if cut < len(output))})
    parts = [line for a, b in pairwise(places) for line in in_parts.feed(output[a:b])]
    parts += in_parts.close()
    assert "".join(parts) == "".join(whole)
    assert [len(line) for line in parts if len(line) > LINE_CHARACTERS] == []
    if all(len(line) < LINE_CHARACTERS for line in whole):
        assert parts == whole


async def test_a_flood_neither_loses_lines_nor_blocks_the_loop(lines: Lines) -> None:
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await sleep(0.01)
            ticks += 1

    async with create_task_group() as group:
        group.start_soon(tick)
        await run("seq 100000; exit 0")
        group.cancel_scope.cancel()
    assert lines.all == [str(number) for number in range(1, 100_001)]
    assert ticks >= 10


@pytest.mark.parametrize(
    ("script", "options", "code", "reason"),
    [
        ("exit 3", {}, 3, "Hook failed with exit code 3"),
        ("false", {"where": "x.yaml:12"}, 1, "Hook failed with exit code 1"),
        ("no-such-command", {}, 127, "Hook failed with exit code 127"),
        ("kill -9 $$", {}, 137, "Hook was killed by signal 9 (SIGKILL)"),
        ("kill -15 $$", {}, 143, "Hook was killed by signal 15 (SIGTERM)"),
        ("kill -40 $$", {}, 168, "Hook was killed by signal 40"),
        ("sleep 60", {"timeout": 0.2}, None, "Hook timed out after 0.2 seconds"),
        ("true", {"exec": "/no/such"}, 127, "Hook cannot be run: /no/such: No such file or directory"),
        ("true", {"exec": "no-such"}, 127, "Hook cannot be run: no-such: No such file or directory"),
        ("true", {"exec": "/"}, 126, "Hook cannot be run: /: Permission denied"),
        ("true\0", {}, 126, "Hook cannot be run: /bin/sh: embedded null byte"),
    ],
)
async def test_failures(script: str, options: dict[str, Any], code: int | None, reason: str, lines: Lines) -> None:
    with pytest.raises(HookFailed) as caught:
        await run(script, **options)
    assert caught.value.exit_code == code
    assert caught.value.reason == reason
    where = f"{options['where']}: " if "where" in options else ""
    assert str(caught.value) == f"{where}beforeLease: {reason}"
    assert caught.value.hook.script == script


async def test_an_interpreter_that_may_not_be_run(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\n")
    with pytest.raises(HookFailed, match=f"beforeLease: Hook cannot be run: {program}: Permission denied") as caught:
        await run("true", exec=str(program))
    assert caught.value.exit_code == 126


async def test_scripts_in_files(lines: Lines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("hook.py").write_text("import sys; print(sys.executable, sys.argv)")
    Path("hook.sh").write_text('echo "sh $0"')
    Path("my hook").write_text('echo "$0 $#"')
    await run(f" {tmp_path}/hook.py\n")
    await run("hook.sh")
    await run("my hook")
    await run("hook.py", exec="/bin/cat")
    assert lines.all == [
        f"{sys.executable} ['{tmp_path}/hook.py']",
        f"sh {tmp_path}/hook.sh",
        f"{tmp_path}/my hook 0",
        "import sys; print(sys.executable, sys.argv)",
    ]


async def test_another_interpreter(lines: Lines) -> None:
    await run("import sys\nprint(sys.argv)", exec=sys.executable)
    assert lines.all == ["['-c']"]


async def test_a_time_out_ends_the_whole_process_group(lines: Lines) -> None:
    sessions: list[int] = []
    with pytest.raises(HookFailed, match="timed out"):
        await run(
            "trap 'echo cleaning; exit 0' TERM; sleep 60 & (sleep 61 > /dev/null 2>&1 < /dev/null) & wait",
            timeout=0.3,
            started=sessions.append,
            ended=sessions.append,
        )
    assert lines.all == ["cleaning"]
    assert len(sessions) == 2
    assert len(set(sessions)) == 1
    assert processes_of(sessions[0]) == []


async def test_what_ignores_the_first_signal_gets_another(lines: Lines) -> None:
    sessions: list[int] = []
    with pytest.raises(HookFailed, match="timed out"):
        await run("trap '' TERM; echo on; while :; do sleep 60; done", timeout=0.2, started=sessions.append)
    assert lines.all == ["on"]
    assert processes_of(sessions[0]) == []


async def test_cancelling_ends_the_whole_process_group(lines: Lines) -> None:
    running = lines.on("running")
    sessions: list[int] = []
    over = Event()

    async def hook() -> None:
        try:
            await run("trap 'echo cleaned; exit' TERM; echo running; sleep 60 & wait", started=sessions.append)
        finally:
            assert processes_of(sessions[0]) == []
            over.set()

    async with create_task_group() as group:
        group.start_soon(hook)
        await running.wait()
        group.cancel_scope.cancel()
    assert over.is_set()
    assert lines.all == ["running", "cleaned"]


async def test_a_cancelled_asyncio_task_ends_its_hook(lines: Lines) -> None:
    running = lines.on("running")
    sessions: list[int] = []
    task = asyncio.ensure_future(run("echo running; sleep 60", started=sessions.append))
    await running.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert processes_of(sessions[0]) == []


@pytest.mark.parametrize("how", ["setsid sleep 60", "sleep 60"])
async def test_nothing_waits_for_what_a_hook_leaves_in_the_background(how: str, lines: Lines) -> None:
    with fail_after(10):
        await run(f"{how} & echo $!; exit 0")
    left = psutil.Process(int(lines.all[0]))
    try:

        def still_there() -> None:
            assert left.cmdline() == ["sleep", "60"]

        await to_thread.run_sync(eventually, still_there)  # it may be about to become that
    finally:
        left.kill()


async def test_nothing_waits_for_a_daemon_that_goes_on_printing(lines: Lines) -> None:
    with fail_after(10):
        await run("setsid yes & echo daemon $!; exit 0")
    daemon = next(line for line in lines.all if line.startswith("daemon"))
    with suppress(psutil.NoSuchProcess):  # its terminal is gone, and it may have ended for that
        psutil.Process(int(daemon.split()[1])).kill()


async def test_nothing_stays_open(lines: Lines) -> None:
    await run("true")
    before = psutil.Process().num_fds()
    for _ in range(5):
        await run("true")
        with pytest.raises(HookFailed):
            await run("true", exec="/no/such")
        with pytest.raises(HookFailed):
            await run("sleep 60", timeout=0.05)
    assert psutil.Process().num_fds() == before


async def test_many_at_once(lines: Lines) -> None:
    async with create_task_group() as group:
        for number in range(20):
            group.start_soon(run, f"echo {number}")
    assert sorted(lines.all, key=int) == [str(number) for number in range(20)]


def test_where_the_end_of_a_process_is_not_announced(scripts: Any) -> None:
    process = scripts.start(
        """
        import asyncio, logging, os, sys
        del os.pidfd_open
        from jumpstarter.exporter.hooks import Hook, HookFailed, hook_variables, run_hook
        logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)

        async def main():
            for script in ("echo out; setsid sleep 5 & exit 4", "sleep 60"):
                try:
                    await run_hook(Hook("h", script, timeout=0.5), hook_variables("/s"), logging.getLogger("hook"))
                except HookFailed as error:
                    print(error, flush=True)

        asyncio.run(main())
        """
    )
    assert process.communicate(timeout=30)[0].splitlines() == [
        "out",
        "h: Hook failed with exit code 4",
        "h: Hook timed out after 0.5 seconds",
    ]


def test_a_program_that_ends_takes_its_hook_with_it(scripts: Any) -> None:
    process = scripts.start(
        """
        import asyncio, logging
        from jumpstarter.exporter.hooks import Hook, hook_variables, run_hook

        def started(pid):
            print(pid, flush=True)

        async def main():
            hook = Hook("h", "sleep 60")
            running = asyncio.ensure_future(
                run_hook(hook, hook_variables("/s"), logging.getLogger("hook"), started=started)
            )
            await asyncio.sleep(0.3)  # and leaves it to asyncio.run

        asyncio.run(main())
        """
    )
    session = int(process.stdout.readline())
    assert process.wait(30) == 0

    def gone() -> None:
        assert processes_of(session) == []

    eventually(gone)
