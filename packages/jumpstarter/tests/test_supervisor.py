"""The guard of `jmp shell` and `jmp run`, with real processes: exit codes, signals, deaths, restarts, sd_notify."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pexpect
import psutil
import pytest
from jumpstarter_testing.eventually import eventually
from pexpect.fdpexpect import fdspawn

SECONDS = 30
STOP_SIGNALS = [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT]
PASSED_ON = [*STOP_SIGNALS, signal.SIGHUP]

# `say` prints without buffering, `on` handles signals, `pause` waits for one.
PROLOGUE = """
import logging, os, signal, subprocess, sys, threading, time
from jumpstarter.common.exceptions import ConfigurationError
from jumpstarter.exporter.supervisor import Link, run_guarded, supervise

logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")

def say(*words):
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())  # signal handlers cannot print

def on(handler, *numbers):
    for number in numbers:
        signal.signal(number, handler)

def pause():
    while True:
        time.sleep(0.05)  # a signal just before a longer wait is handled only after it

def stop_gracefully(link):
    def handler(number, frame):
        say("stopping", number)
        link.finish()
        sys.exit(0)
    on(handler, signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)

def count():
    with open(sys.argv[1], "a") as file:
        file.write("x")
    return os.path.getsize(sys.argv[1])
"""


def script(front: str, body: str, before: str) -> str:
    work = f"def work(link):\n{textwrap.indent(textwrap.dedent(body), '    ')}\n"
    return f"{PROLOGUE}\n{work}\n{textwrap.dedent(before)}\nsys.exit({front}(work))\n"


@pytest.fixture
def start(scripts: Any, tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    """Run a worker's body under `run_guarded` or `supervise`, after `before`; sys.argv[1] is a file to count in."""

    def run(front: str, body: str, before: str = "", **env: str) -> subprocess.Popen[str]:
        process: subprocess.Popen[str] = scripts.start(script(front, body, before), str(tmp_path / "count"), **env)
        return process

    return run


Start = Callable[..., "subprocess.Popen[str]"]


def read(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def gone(*pids: int) -> None:
    """Wait until none of the processes is there any more, other than as a zombie of somebody else."""

    def check() -> None:
        assert [pid for pid in pids if alive(pid)] == []

    eventually(check, timeout=SECONDS)


def alive(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def test_the_supervisor_is_light() -> None:
    heavy = (
        "{'grpc', 'pydantic', 'anyio', 'asyncio', 'logging', 'yaml', 'rich', 'google', 'jumpstarter.exporter.session'}"
    )
    code = f"import sys, jumpstarter.exporter.supervisor; print({heavy} & sys.modules.keys())"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "set()\n"


def test_the_session_is_still_found_in_its_package() -> None:
    code = "import jumpstarter.exporter as e; print(e.Session.__name__); e.no_such"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout == "Session\n"
    assert "has no attribute 'no_such'" in result.stderr


@pytest.mark.parametrize("front", ["run_guarded", "supervise"])
def test_threads_are_refused(front: str, start: Start) -> None:
    before = "threading.Thread(target=time.sleep, args=(60,), daemon=True).start()"
    process = start(front, "return 0", before)
    assert "RuntimeError: a worker has to be forked before other threads start" in process.communicate()[1]
    assert process.returncode == 1


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("return 0", 0),
        ("return 7", 7),
        ("return 255", 255),
        ("sys.exit(3)", 3),
        ("raise ConfigurationError('no')", 1),
        ("os._exit(9)", 9),
        ("os.kill(os.getpid(), signal.SIGKILL)", 137),
        ("os.kill(os.getpid(), signal.SIGTERM)", 143),
        ("os.kill(os.getpid(), 40)", 168),
    ],
)
def test_exit_codes_of_a_guarded_worker(body: str, code: int, start: Start) -> None:
    assert start("run_guarded", body).wait(SECONDS) == code


def test_the_worker_ends_like_any_program(start: Start) -> None:
    """What is buffered comes out once, and what is registered with atexit runs there."""
    body = "atexit.register(print, 'at the end')\nprint('inside')\nreturn 4"
    process = start("run_guarded", body, "print('before')\nimport atexit")
    assert process.communicate() == ("before\ninside\nat the end\n", "")
    assert process.returncode == 4


def test_a_killed_worker_is_told_of(start: Start) -> None:
    process = start("run_guarded", "os.kill(os.getpid(), signal.SIGKILL)")
    assert process.communicate()[1] == "ERROR the session was killed by signal 9 (SIGKILL)\n"


@pytest.mark.parametrize("number", PASSED_ON)
def test_signals_reach_a_guarded_worker(number: signal.Signals, start: Start) -> None:
    process = start(
        "run_guarded",
        """
        on(lambda number, frame: sys.exit(40 + number), *map(signal.Signals, (1, 2, 3, 15)))
        say("ready")
        pause()
        """,
    )
    assert read(process) == "ready"
    process.send_signal(number)
    assert process.wait(SECONDS) == 40 + number


def test_what_was_ignored_stays_ignored(start: Start) -> None:
    body = "say('ready')\nreturn 5 if input() == 'on' else 6"
    process = start("run_guarded", body, "on(signal.SIG_IGN, signal.SIGHUP)")
    assert read(process) == "ready"
    process.send_signal(signal.SIGHUP)
    assert process.communicate("on\n", timeout=SECONDS) == ("", "")
    assert process.returncode == 5


LEAVES_PROCESSES = """
def sleeper(**options):
    return subprocess.Popen(["sleep", "60"], **options).pid

def stubborn():
    process = subprocess.Popen(["sh", "-c", "trap '' TERM HUP; echo; sleep 60; sleep 60"], stdout=subprocess.PIPE)
    process.stdout.readline()
    return process.pid

plain = sleeper()
own_group = sleeper(process_group=0)
grandchild = int(subprocess.check_output(["sh", "-c", "sleep 60 > /dev/null & echo $!"]))
hook = sleeper(start_new_session=True)
link.own(hook)
over = sleeper(start_new_session=True)
link.own(over)
link.disown(over)
daemon = int(subprocess.check_output(["sh", "-c", "setsid sleep 60 > /dev/null & echo $!"]))
"""


def test_death_of_a_guarded_worker(start: Start) -> None:
    process = start(
        "run_guarded",
        f"{LEAVES_PROCESSES}\nsay(os.getpid(), plain, own_group, grandchild, hook, stubborn())\n"
        "say(over, daemon)\npause()",
    )
    worker, *doomed = map(int, read(process).split())
    kept = list(map(int, read(process).split()))
    try:
        os.kill(worker, signal.SIGKILL)
        assert process.wait(SECONDS) == 137
        assert [pid for pid in doomed if alive(pid)] == []
        assert [pid for pid in kept if alive(pid)] == kept
    finally:
        for pid in kept:
            os.kill(pid, signal.SIGKILL)


def test_what_a_worker_leaves_at_its_own_end_goes_on_but_for_hooks(start: Start) -> None:
    process = start(
        "run_guarded", f"{LEAVES_PROCESSES}\nsay(hook)\nsay(plain, own_group, grandchild, over, daemon)\nreturn 3"
    )
    hook = int(read(process))
    kept = list(map(int, read(process).split()))
    try:
        assert process.wait(SECONDS) == 3
        assert not alive(hook)
        assert [pid for pid in kept if alive(pid)] == kept
    finally:
        for pid in kept:
            os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("front", ["run_guarded", "supervise"])
@pytest.mark.parametrize("before", ["", "sys.modules['ctypes'] = None"])
def test_death_of_the_guard(front: str, before: str, start: Start) -> None:
    """The second time without the system's help, by a pipe."""
    process = start(front, "stop_gracefully(link)\nsay(os.getpid())\npause()", before)
    worker = int(read(process))
    process.kill()
    assert read(process) == "stopping 15"
    gone(worker)


def test_zombies_are_reaped(start: Start) -> None:
    process = start(
        "run_guarded",
        """
        orphan = int(subprocess.check_output(["sh", "-c", "sleep 0.2 > /dev/null & echo $!"]))
        say(orphan)
        return len(input())
        """,
    )
    orphan = int(read(process))

    def reaped() -> None:
        assert not psutil.pid_exists(orphan)

    eventually(reaped, timeout=SECONDS)
    process.communicate("four\n")
    assert process.returncode == 4


def test_a_new_worker_follows_one_that_served(start: Start) -> None:
    process = start("supervise", "link.ready()\nn = count()\nsay(n)\nif n == 8: link.finish()\nreturn 0")
    output, errors = process.communicate(timeout=SECONDS)
    assert output.split() == list("12345678")
    assert errors == ""
    assert process.returncode == 0


@pytest.mark.parametrize("code", [1, 2, 70])
def test_other_exit_codes_are_final(code: int, start: Start) -> None:
    process = start("supervise", f"link.ready()\nsay(count())\nreturn {code}")
    assert process.communicate(timeout=SECONDS) == ("1\n", "")
    assert process.returncode == code


def test_errors_that_a_person_can_mend_are_final(start: Start) -> None:
    before = """
        def front(work):
            try:
                return supervise(work)
            except ConfigurationError as error:
                say(error)
                return 1
    """
    process = start("front", "say(count())\nraise ConfigurationError('no such board')", before)
    assert process.communicate(timeout=SECONDS) == ("1\nno such board\n", "")
    assert process.returncode == 1


@pytest.mark.parametrize(
    ("body", "how"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", "was killed by signal 9 (SIGKILL)"),
        ("os.abort()", "was killed by signal 6 (SIGABRT)"),
        ("raise LookupError('board')", "ended with an error of its own"),
        ("link.ready()\nos._exit(5)", "ended out of turn with code 5"),
        ("link.ready()\nos._exit(0)", "ended out of turn with code 0"),
        ("return 0", "ended before it was ready"),
    ],
)
def test_rapid_failures(body: str, how: str, start: Start) -> None:
    process = start("supervise", f"link.limits(3, 20)\ncount()\n{body}")
    _, errors = process.communicate(timeout=SECONDS)
    lines = [line for line in errors.splitlines() if "unexpected" not in line]
    assert lines == [
        f"ERROR the exporter {how}; it starts again in 0.2 seconds",
        f"ERROR the exporter {how}; it starts again in 0.4 seconds",
        f"ERROR giving up: the exporter failed 3 times in a row within 20 seconds of a start, the last time it {how}",
    ]
    assert errors.count("ERROR unexpected LookupError: board\n") == (3 if "LookupError" in body else 0)
    assert process.returncode == 1


def test_five_rapid_failures_are_too_many(start: Start) -> None:
    process = start("supervise", "say(count())\nos.kill(os.getpid(), signal.SIGKILL)")
    output, errors = process.communicate(timeout=SECONDS)
    assert output.split() == list("12345")
    assert "failed 5 times in a row within 60 seconds of a start" in errors
    assert process.returncode == 1


@pytest.mark.parametrize("most", [0, 1])
def test_the_first_failure_may_be_too_many(most: int, start: Start) -> None:
    process = start("supervise", f"link.limits({most}, 60)\nsay(count())\nos.kill(os.getpid(), signal.SIGKILL)")
    assert process.communicate(timeout=SECONDS)[0] == "1\n"
    assert process.returncode == 1


def test_failures_after_a_while_do_not_add_up(start: Start) -> None:
    process = start(
        "supervise",
        """
        link.limits(2, 0.05)
        if count() == 4:
            link.finish()
            return 0
        time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGKILL)
        """,
    )
    _, errors = process.communicate(timeout=SECONDS)
    assert errors.count("it starts again in 0.2 seconds") == 3
    assert process.returncode == 0


def test_a_worker_that_served_clears_the_count(start: Start) -> None:
    process = start(
        "supervise",
        """
        link.limits(2, 60)
        n = count()
        if n == 6:
            link.finish()
        elif n % 2:
            os.kill(os.getpid(), signal.SIGKILL)
        link.ready()
        return 0
        """,
    )
    assert process.wait(SECONDS) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_signals_while_it_waits_for_the_next_start(number: signal.Signals, start: Start) -> None:
    """A stop stops; SIGHUP starts at once, here for the last time."""
    process = start("supervise", "link.limits(5, 60)\nsay(count())\nos.kill(os.getpid(), signal.SIGKILL)")
    assert process.stderr is not None
    while "again in 1.6 seconds" not in process.stderr.readline():
        pass
    process.send_signal(number)
    before = time.monotonic()
    output, errors = process.communicate(timeout=SECONDS)
    assert time.monotonic() - before < 1.2
    if number == signal.SIGTERM:
        assert (output.split(), errors, process.returncode) == (list("1234"), "", 0)
    else:
        assert output.split() == list("12345")
        assert "giving up" in errors
        assert process.returncode == 1


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_graceful_stop(number: signal.Signals, start: Start) -> None:
    process = start("supervise", "stop_gracefully(link)\nlink.ready()\nsay('ready')\npause()")
    assert read(process) == "ready"
    process.send_signal(number)
    assert process.communicate(timeout=SECONDS) == (f"stopping {number.value}\n", "")
    assert process.returncode == 0


def test_a_stop_that_fails(start: Start) -> None:
    process = start("supervise", "on(lambda *_: sys.exit(1), signal.SIGTERM)\nlink.ready()\nsay('ready')\npause()")
    assert read(process) == "ready"
    process.terminate()
    assert process.wait(SECONDS) == 1


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_stop_before_the_worker_is_ready(number: signal.Signals, start: Start) -> None:
    process = start("supervise", "say('starting')\npause()")
    assert read(process) == "starting"
    process.send_signal(number)
    assert process.communicate(timeout=SECONDS) == ("", "")
    assert process.returncode == 0


@pytest.mark.parametrize("second", STOP_SIGNALS)
def test_a_second_signal_cuts_it_short(second: signal.Signals, start: Start) -> None:
    process = start(
        "supervise",
        f"""
        on(lambda number, frame: say("slow", number), signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
        {textwrap.indent(LEAVES_PROCESSES, "        ").strip()}
        link.ready()
        say(os.getpid(), plain, own_group, grandchild, hook, stubborn())
        say(over, daemon)
        pause()
        """,
    )
    doomed = list(map(int, read(process).split()))
    kept = list(map(int, read(process).split()))
    try:
        process.send_signal(signal.SIGTERM)
        assert read(process) == "slow 15"
        # Two that come together count as one.
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.3)
        process.send_signal(second)
        assert process.wait(SECONDS) == 128 + second
        assert [pid for pid in doomed if alive(pid)] == []
        assert [pid for pid in kept if alive(pid)] == kept
    finally:
        for pid in kept:
            os.kill(pid, signal.SIGKILL)


def test_a_signal_that_comes_twice_at_once_is_one(start: Start) -> None:
    """As from timeout(1), which signals the process, then its group."""
    process = start(
        "supervise",
        """
        def stop(number, frame):
            time.sleep(0.5)
            link.finish()
            sys.exit(0)
        on(stop, signal.SIGTERM)
        link.ready()
        say("ready")
        pause()
        """,
    )
    assert read(process) == "ready"
    process.terminate()
    process.terminate()
    assert process.wait(SECONDS) == 0


def test_sighup_starts_anew(start: Start) -> None:
    process = start(
        "supervise",
        """
        on(lambda *_: sys.exit(0), signal.SIGHUP)
        stop_gracefully(link)
        link.limits(1, 60)
        link.ready()
        say(count())
        pause()
        """,
    )
    for number in "123":
        assert read(process) == number
        process.send_signal(signal.SIGHUP)
    assert read(process) == "4"
    process.terminate()
    assert process.wait(SECONDS) == 0


def test_sighup_during_a_start_is_no_failure(start: Start) -> None:
    process = start("supervise", "link.limits(1, 60)\nsay(count())\npause()")
    assert read(process) == "1"
    process.send_signal(signal.SIGHUP)
    assert read(process) == "2"
    process.terminate()
    assert process.wait(SECONDS) == 0


def test_a_crashed_worker_leaves_nothing(start: Start) -> None:
    process = start(
        "supervise",
        f"link.limits(1, 60)\n{LEAVES_PROCESSES}\nsay(plain, own_group, grandchild, hook)\nsay(over, daemon)\n1 / 0",
    )
    doomed = list(map(int, read(process).split()))
    kept = list(map(int, read(process).split()))
    try:
        assert process.wait(SECONDS) == 1
        assert [pid for pid in doomed if alive(pid)] == []
        assert [pid for pid in kept if alive(pid)] == kept
    finally:
        for pid in kept:
            os.kill(pid, signal.SIGKILL)


# A job of an interactive shell: a process group of its own in the foreground of the terminal.
JOB = """
import os, signal, subprocess, sys
os.open(os.ttyname(0), os.O_RDWR)  # the first terminal that a session's leader opens becomes its own

def in_foreground():
    os.setpgid(0, 0)
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    os.tcsetpgrp(0, os.getpid())
    signal.signal(signal.SIGTTOU, signal.SIG_DFL)

job = subprocess.Popen([sys.executable, *sys.argv[1:]], preexec_fn=in_foreground)
while True:
    _, status = os.waitpid(job.pid, os.WUNTRACED)
    if not os.WIFSTOPPED(status):
        break
    print("stopped", flush=True)
    os.killpg(job.pid, signal.SIGCONT)
job.returncode = 0
print("code", os.waitstatus_to_exitcode(status), flush=True)
signal.pause()  # the end of a session's leader drops what nobody has read yet from its terminal
"""


@pytest.fixture
def on_terminal(tmp_path: Path) -> Callable[..., Any]:
    """A front and a worker's body as the foreground job of a terminal."""

    @contextmanager
    def run(front: str, body: str, before: str = "") -> Iterator[fdspawn[bytes]]:
        job = tmp_path / "job.py"
        job.write_text(script(front, body, before))
        ours, theirs = os.openpty()
        command = [sys.executable, "-c", JOB, str(job), str(tmp_path / "count")]
        process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True)
        os.close(theirs)
        terminal: fdspawn[bytes] = fdspawn(ours, timeout=SECONDS)
        try:
            yield terminal
        finally:
            terminal.close()
            with suppress(subprocess.TimeoutExpired):
                process.wait(10)
            process.kill()
            process.wait()

    return run


@pytest.mark.parametrize("front", ["run_guarded", "supervise"])
def test_keys_reach_the_worker_once(front: str, on_terminal: Any) -> None:
    body = """
        got = []
        def note(number, frame):
            got.append(int(number))
        on(note, signal.SIGINT, signal.SIGQUIT)
        link.ready()
        say("ready")
        while not got:
            time.sleep(0.01)
        time.sleep(0.5)
        link.finish()
        say("got", got)
        return 0
    """
    for key, number in ((b"\x03", 2), (b"\x1c", 3)):
        with on_terminal(front, body) as terminal:
            terminal.expect_exact(b"ready")
            terminal.send(key)
            terminal.expect_exact(b"got [%d]" % number)
            terminal.expect_exact(b"code 0")


def test_a_key_pressed_twice_cuts_a_stop_short(on_terminal: Any) -> None:
    body = 'on(lambda *_: say("slow"), signal.SIGINT)\nlink.ready()\nsay("ready")\npause()'
    with on_terminal("supervise", body) as terminal:
        terminal.expect_exact(b"ready")
        terminal.send(b"\x03")
        terminal.expect_exact(b"slow")
        # Two that come together count as one.
        with pytest.raises(pexpect.TIMEOUT):
            terminal.expect_exact(b"code", timeout=0.3)
        terminal.send(b"\x03")
        terminal.expect_exact(b"code 130")


def test_keys_pressed_often_do_not_end_a_guarded_worker(on_terminal: Any) -> None:
    body = """
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        say("ready")
        for _ in range(4):
            signal.sigwait({signal.SIGINT})
            say("again")
        return 6 if input() == "bye" else 0
    """
    with on_terminal("run_guarded", body) as terminal:
        terminal.expect_exact(b"ready")
        for _ in range(4):
            terminal.send(b"\x03")
            terminal.expect_exact(b"again")
        terminal.send(b"bye\n")
        terminal.expect_exact(b"code 6")


@pytest.mark.parametrize("front", ["run_guarded", "supervise"])
def test_stopping_and_continuing(front: str, on_terminal: Any) -> None:
    body = 'link.ready()\nsay("ready")\nlink.finish()\nreturn 5 if input() == "on" else 6'
    with on_terminal(front, body) as terminal:
        terminal.expect_exact(b"ready")
        terminal.send(b"\x1a")
        terminal.expect_exact(b"stopped")
        terminal.send(b"on\n")
        terminal.expect_exact(b"code 5")


def test_a_killed_worker_gives_the_terminal_back(on_terminal: Any) -> None:
    body = """
        import termios, tty
        tty.setraw(0)
        child = subprocess.Popen(["sleep", "60"], process_group=0)
        signal.signal(signal.SIGTTOU, signal.SIG_IGN)
        os.tcsetpgrp(0, child.pid)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    before = """
        import termios
        def front(work):
            modes = termios.tcgetattr(0)
            code = run_guarded(work)
            say("back", termios.tcgetattr(0) == modes, os.tcgetpgrp(0) == os.getpgrp())
            return code
    """
    with on_terminal("front", body, before) as terminal:
        terminal.expect_exact(b"back True True")
        terminal.expect_exact(b"code 137")


def test_the_end_of_the_terminal_ends_an_exporter(on_terminal: Any, tmp_path: Path) -> None:
    body = f"""
        def stop(number, frame):
            open({str(tmp_path / "stopped")!r}, "w").write(str(int(number)))
            link.finish()
            sys.exit(0)
        on(stop, signal.SIGTERM)
        on(lambda *_: None, signal.SIGHUP)
        link.ready()
        say("worker", os.getpid(), "guard", os.getppid())
        pause()
    """
    with on_terminal("supervise", body) as terminal:
        terminal.expect(rb"worker (\d+) guard (\d+)")
        pids = [int(terminal.match[1]), int(terminal.match[2])]
    gone(*pids)
    assert (tmp_path / "stopped").read_text() == "15"


class Manager:
    """A service manager's socket."""

    def __init__(self, address: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address.replace("@", "\0", 1) if address.startswith("@") else address)
        self._socket.settimeout(SECONDS)
        self.address = address

    def hear(self) -> str:
        return self._socket.recv(4096).decode()

    def hear_all(self) -> list[str]:
        """What has come, without signs of life."""
        self._socket.setblocking(False)
        heard = []
        with suppress(BlockingIOError):
            while True:
                heard.append(self.hear())
        return [message for message in heard if message != "WATCHDOG=1"]

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    address = str(tmp_path / "notify") if request.param == "path" else f"@jumpstarter-test-{os.getpid()}"
    manager = Manager(address)
    yield manager
    manager.close()


def test_what_a_service_manager_hears(manager: Manager, start: Start) -> None:
    process = start(
        "supervise",
        r"""
        assert not {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"} & os.environ.keys()
        def again(number, frame):
            link.reloading()
            link.stopping()
            sys.exit(0)
        on(again, signal.SIGHUP)
        stop_gracefully(link)
        link.status("two\nlines")
        link.ready()
        say(link.watchdog_seconds)
        pause()
        """,
        NOTIFY_SOCKET=manager.address,
    )
    assert read(process) == "None"
    assert [manager.hear(), manager.hear()] == ["STATUS=two lines", "READY=1"]
    process.send_signal(signal.SIGHUP)
    assert re.fullmatch(r"RELOADING=1\nMONOTONIC_USEC=\d+", manager.hear())
    assert read(process) == "None"
    assert [manager.hear(), manager.hear()] == ["STATUS=two lines", "READY=1"]
    process.terminate()
    assert process.wait(SECONDS) == 0
    assert set(manager.hear_all()) == {"STOPPING=1"}


def test_what_a_service_manager_hears_of_failures(manager: Manager, start: Start) -> None:
    process = start(
        "supervise", "link.limits(2, 60)\nos.kill(os.getpid(), signal.SIGKILL)", NOTIFY_SOCKET=manager.address
    )
    assert process.wait(SECONDS) == 1
    assert manager.hear_all() == [
        "STATUS=the exporter was killed by signal 9 (SIGKILL); it starts again in 0.2 seconds",
        "STATUS=giving up: the exporter failed 2 times in a row within 60 seconds of a start, "
        "the last time it was killed by signal 9 (SIGKILL)",
        "STOPPING=1",
    ]


def test_the_watchdog_follows_the_worker(manager: Manager, start: Start) -> None:
    process = start(
        "supervise",
        """
        stop_gracefully(link)
        say(link.watchdog_seconds)
        input()
        link.ready()
        link.beat()
        time.sleep(0.5)
        link.status("silent for a while")
        input()
        os.kill(os.getpid(), signal.SIGKILL)
        """,
        NOTIFY_SOCKET=manager.address,
        WATCHDOG_USEC="200000",
    )
    assert process.stdin is not None
    assert read(process) == "0.1"
    # Before it is ready, the guard answers for it.
    assert [manager.hear() for _ in range(3)] == ["WATCHDOG=1"] * 3
    process.stdin.write("\n")
    process.stdin.flush()
    heard = []
    while not heard or heard[-1] != "STATUS=silent for a while":
        heard.append(manager.hear())
    assert heard[heard.index("READY=1") + 1 :] == ["WATCHDOG=1", "STATUS=silent for a while"]
    process.stdin.write("\n")
    process.stdin.flush()
    assert manager.hear().startswith("STATUS=the exporter was killed")
    assert manager.hear() == "WATCHDOG=1"
    process.terminate()
    assert process.wait(SECONDS) == 0


@pytest.mark.parametrize("variables", [{"WATCHDOG_PID": "1"}, {"NOTIFY_SOCKET": ""}, {"WATCHDOG_USEC": "0"}])
def test_a_watchdog_that_is_not_for_this_process(variables: dict[str, str], start: Start) -> None:
    given = {"NOTIFY_SOCKET": "/no/such", "WATCHDOG_USEC": "200000"} | variables
    process = start("supervise", "say(link.watchdog_seconds)\nlink.beat()\nlink.finish()\nreturn 0", **given)
    assert process.communicate(timeout=SECONDS) == ("None\n", "")
    assert process.returncode == 0


def test_a_guarded_worker_is_no_service(manager: Manager, start: Start) -> None:
    body = "link.ready(); link.status('x'); link.beat(); link.stopping()\nsay(link.watchdog_seconds)\nreturn 0"
    process = start("run_guarded", body, NOTIFY_SOCKET=manager.address, WATCHDOG_USEC="200000")
    assert process.communicate(timeout=SECONDS) == ("None\n", "")
    assert manager.hear_all() == []


def test_reports_of_many_threads_stay_whole(manager: Manager, start: Start) -> None:
    process = start(
        "supervise",
        """
        def report(number):
            for _ in range(50):
                link.status(str(number) * 400)
                link.own(999999000 + number)
        threads = [threading.Thread(target=report, args=(number,)) for number in range(8)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        link.finish()
        link.status("finished")
        return 0
        """,
        NOTIFY_SOCKET=manager.address,
    )
    heard = []
    while (message := manager.hear()) != "STOPPING=1":
        heard.append(message)
    assert process.communicate(timeout=SECONDS) == ("", "")
    assert process.returncode == 0
    assert heard
    assert set(heard) <= {f"STATUS={str(number) * 400}" for number in range(8)} | {"STATUS=finished"}


def test_a_worker_goes_on_while_its_guard_is_stopped(start: Start) -> None:
    process = start(
        "supervise",
        """
        link.ready()
        os.kill(os.getppid(), signal.SIGSTOP)
        for number in range(100_000):
            link.status("x" * 800)
            link.beat()
        link.finish()
        say("done")
        return 0
        """,
    )
    assert read(process) == "done"
    assert alive(process.pid)
    process.send_signal(signal.SIGCONT)
    assert process.wait(SECONDS) == 0
