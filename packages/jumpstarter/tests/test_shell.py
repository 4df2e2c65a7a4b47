"""Shells and commands connected to an exporter: their environment, exit codes, signals and prompts."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from jumpstarter.common.child import Child
from jumpstarter.common.prompts import start
from jumpstarter.common.shell import with_commands
from jumpstarter.common.utils import launch_shell
from jumpstarter.config.env import environment
from pexpect.fdpexpect import fdspawn

DUMP = "import json, os; print(json.dumps(dict(os.environ)))"
LEASE = SimpleNamespace(name="lease-1", exporter_name="bench", exporter_labels={"b": "2", "a": "1"})
LAUNCH = """
import os, sys
if os.isatty(0):
    os.open(os.ttyname(0), os.O_RDWR)  # the first terminal that a session's leader opens becomes its own
from jumpstarter.common.shell import Child, launch_shell
sys.exit(launch_shell("/run/socket", "lab", [], True, False, command=tuple(sys.argv[1:]) or None))
"""

Capture = pytest.CaptureFixture[str]
Launch = Callable[..., dict[str, str]]
StartShell = Callable[..., Any]

COMPLETING = """#!/bin/sh
case ${_J_COMPLETE-} in
    '') echo "j runs $1." ;;
    zsh_complete) printf 'plain\ncompleted\n_\n' ;;
    *) echo plain,completed ;;
esac
"""


@pytest.fixture
def variables(capfd: Capture, monkeypatch: pytest.MonkeyPatch) -> Launch:
    """The environment that a command finds."""
    for name in [name for name in os.environ if name.startswith(("JMP_", "JUMPSTARTER_", "_JMP"))]:
        monkeypatch.delenv(name)

    def launch(allow: list[str] | None = None, unsafe: bool = False, **options: object) -> dict[str, str]:
        command = (sys.executable, "-c", DUMP)
        assert launch_shell("board:8082", "lab", allow or [], unsafe, False, command=command, **options) == 0  # type: ignore[arg-type]
        found: dict[str, str] = json.loads(capfd.readouterr().out)
        return {name: text for name, text in found.items() if "JMP_" in name or name.startswith("JUMPSTARTER_")}

    return launch


def test_environment_of_a_direct_connection(variables: Launch) -> None:
    assert variables(["a.*", "b.C"]) == {
        "JUMPSTARTER_HOST": "board:8082",
        "JMP_DRIVERS_ALLOW": "a.*,b.C",
        "_JMP_SUPPRESS_DRIVER_WARNINGS": "1",
    }


def test_environment_of_a_lease(variables: Launch) -> None:
    files = {"ca": Path("ca.pem"), "certificate": Path("/c/cert.pem"), "key": Path("/c/key.pem")}
    assert variables(unsafe=True, lease=LEASE, insecure=True, passphrase="pw", **files) == {
        "JUMPSTARTER_HOST": "board:8082",
        "JMP_DRIVERS_ALLOW": "UNSAFE",
        "_JMP_SUPPRESS_DRIVER_WARNINGS": "1",
        "JMP_GRPC_INSECURE": "1",
        "JMP_GRPC_PASSPHRASE": "pw",
        "JMP_GRPC_CA": str(Path.cwd() / "ca.pem"),
        "JMP_GRPC_CERT": "/c/cert.pem",
        "JMP_GRPC_KEY": "/c/key.pem",
        "JMP_LEASE": "lease-1",
        "JMP_EXPORTER": "bench",
        "JMP_EXPORTER_LABELS": "a=1,b=2",
    }


def test_a_shell_inside_a_shell(variables: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    own = ("LEASE", "EXPORTER", "EXPORTER_LABELS", *(f"GRPC_{one}" for one in ("PASSPHRASE", "CA", "INSECURE")))
    for name in ("JUMPSTARTER_HOST", "JUMPSTARTER_GRPC_INSECURE", *(f"JMP_{one}" for one in own)):
        monkeypatch.setenv(name, "outer")
    monkeypatch.setenv("JMP_NAMESPACE", "kept")
    inner = variables()
    assert "outer" not in inner.values()
    assert inner["JMP_NAMESPACE"] == "kept"


@pytest.mark.parametrize(("script", "code"), [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 137), ("kill -15 $$", 143)])
def test_exit_codes(script: str, code: int) -> None:
    assert launch_shell("h:1", "lab", [], True, False, command=("sh", "-c", script)) == code


def test_programs_that_cannot_be_run(tmp_path: Path, capfd: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    assert launch_shell("h:1", "lab", [], True, False, command=("no-such-program",)) == 127
    assert capfd.readouterr().err == "no-such-program: command not found\n"
    text = tmp_path / "text"
    text.write_text("no program")
    assert launch_shell("h:1", "lab", [], True, False, command=(str(text),)) == 126
    assert capfd.readouterr().err == f"{text}: Permission denied\n"
    monkeypatch.setenv("SHELL", str(tmp_path / "bash"))
    assert launch_shell("h:1", "lab", [], True, False) == 127


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT])
def test_signals_reach_the_command(number: signal.Signals) -> None:
    script = f"trap 'exit 42' {number.value}; echo ready; while :; do sleep 60 & wait $!; done"
    command = [sys.executable, "-c", LAUNCH, "sh", "-c", script]
    # A session of its own has no terminal that would send the signal to the command as well.
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(number)
        try:
            assert process.wait(30) == 42
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def test_the_callers_handlers_come_back() -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    assert launch_shell("h:1", "lab", [], True, False, command=("true",)) == 0
    assert {number: signal.getsignal(number) for number in before} == before


@contextmanager
def on_a_terminal(*command: str, **options: Any) -> Iterator[tuple[fdspawn[bytes], subprocess.Popen[bytes]]]:
    """A process that leads a session on a terminal of its own. Not by forking: gRPC has threads in this process."""
    ours, theirs = os.openpty()
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True, **options)
    os.close(theirs)
    terminal: fdspawn[bytes] = fdspawn(ours, timeout=30)
    try:
        with process:
            try:
                yield terminal, process
            except BaseException:
                process.kill()
                raise
    finally:
        terminal.close()


def test_ctrl_c_on_a_terminal_comes_once() -> None:
    count = (
        "import signal, sys\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])\n"
        "print('ready', flush=True)\n"
        "signal.sigwait([signal.SIGINT])\n"
        "sys.exit(5 if signal.sigtimedwait([signal.SIGINT], 0.3) is None else 6)\n"
    )
    with on_a_terminal(sys.executable, "-c", LAUNCH, sys.executable, "-c", count) as (terminal, process):
        terminal.expect_exact(b"ready")
        terminal.send(b"\x03")
        assert process.wait(30) == 5


def test_shells_we_do_not_know_start_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Capture
) -> None:
    program = tmp_path / "tcsh"
    program.write_text('#!/bin/sh\necho "$# arguments, $(env | grep -c ^PS1=) prompts"\nexit 9\n')
    program.chmod(0o755)
    monkeypatch.setenv("SHELL", str(program))
    monkeypatch.delenv("PS1", raising=False)
    assert launch_shell("h:1", "lab", [], True, True) == 9
    assert capfd.readouterr().out == "0 arguments, 0 prompts\n"


PROFILES = {
    "bash": (".bashrc", "OWN=mine"),
    "zsh": (".zshrc", "OWN=mine"),
    "fish": (".config/fish/config.fish", "set OWN mine"),
    "sh": (".shrc", "OWN=mine"),
}
SHELLS = [pytest.param(name, marks=pytest.mark.peer(name), id=name) for name in PROFILES]


@pytest.fixture
def start_shell(tmp_path: Path) -> Iterator[StartShell]:
    """Starts the user's shell on a terminal: in a home with start-up files, and with a `j` that completes its word."""
    home, programs, runtime = tmp_path / "home", tmp_path / "programs", tmp_path / "run"
    for directory in (home, programs, runtime):
        directory.mkdir()
    for file, text in PROFILES.values():
        path = home / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    program = programs / "j"
    program.write_text(COMPLETING)
    program.chmod(0o755)
    variables = {
        "HOME": str(home),
        "ENV": str(home / ".shrc"),
        "LANG": "C.UTF-8",
        "PATH": f"{programs}:/usr/bin:/bin",
        "TERM": "xterm",
        "XDG_RUNTIME_DIR": str(runtime),
    }
    with ExitStack() as stack:

        def start(name: str, *, profiles: bool = False, context: str = "lab") -> tuple[fdspawn[bytes], Any]:
            launch = LAUNCH.replace("True, False", f"True, {profiles}").replace('"lab"', repr(context))
            shell = {**variables, "SHELL": f"/bin/{name}"}
            return stack.enter_context(on_a_terminal(sys.executable, "-c", launch, env=shell, cwd=tmp_path))

        yield start
        assert list(runtime.iterdir()) == []


@pytest.mark.parametrize("name", SHELLS)
def test_the_prompt_shows_where_it_is(name: str, start_shell: StartShell, tmp_path: Path) -> None:
    terminal, process = start_shell(name, context="lab$(touch oops)")
    for part in ("⚡", "lab??touch?oops?", "➤"):
        terminal.expect_exact(part.encode())
    terminal.send(b'echo "host=$JUMPSTARTER_HOST. own=$OWN."\r')
    terminal.expect_exact(b"host=/run/socket. own=.")
    terminal.send(b"exit 3\r")
    assert process.wait(30) == 3
    assert not (tmp_path / "oops").exists()


@pytest.mark.parametrize("name", SHELLS)
def test_a_shell_with_the_users_own_start_up_files(name: str, start_shell: StartShell) -> None:
    terminal, process = start_shell(name, profiles=True)
    terminal.expect_exact("➤".encode())
    terminal.send(b'echo "own=$OWN. zdotdir=$ZDOTDIR."\r')
    terminal.expect_exact(b"own=mine. zdotdir=.")
    terminal.send(b"exit 4\r")
    assert process.wait(30) == 4


@pytest.mark.parametrize("name", [one for one in SHELLS if one.id != "sh"])
def test_j_is_completed(name: str, start_shell: StartShell) -> None:
    terminal, process = start_shell(name)
    terminal.expect_exact("➤".encode())
    terminal.send(b"j comp\t")
    terminal.expect_exact(b"completed")
    terminal.send(b"\r")
    terminal.expect_exact(b"j runs completed.")
    terminal.send(b"exit\r")
    assert process.wait(30) == 0


def test_zsh_files_where_zdotdir_leads(start_shell: StartShell, tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / "zsh").mkdir()
    (home / ".zshenv").write_text("export ZDOTDIR=~/zsh\n")
    (home / "zsh" / ".zshrc").write_text("OWN=elsewhere\n")
    terminal, process = start_shell("zsh", profiles=True)
    terminal.expect_exact("➤".encode())
    terminal.send(b'echo "own=$OWN. zdotdir=$ZDOTDIR."\r')
    terminal.expect_exact(f"own=elsewhere. zdotdir={home}/zsh.".encode())
    terminal.send(b"exit\r")
    assert process.wait(30) == 0


def test_the_terminal_is_left_as_it_was(start_shell: StartShell) -> None:
    """A shell that is killed leaves a terminal without echo, in the hands of a group that is gone."""
    terminal, process = start_shell("bash")
    before = termios.tcgetattr(terminal.fileno())
    terminal.expect_exact("➤".encode())
    terminal.send(b"stty -echo -icanon; kill -9 $$\r")
    assert process.wait(30) == 128 + signal.SIGKILL
    assert termios.tcgetattr(terminal.fileno()) == before


def test_a_program_that_does_not_end_when_told_is_killed() -> None:
    launch = LAUNCH.replace("True, False", "True, False, child=Child(end_seconds=0.2)")
    command = [sys.executable, "-c", launch, "sh", "-c", "trap '' TERM HUP; echo ready; while :; do sleep 1; done"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.terminate()
        assert process.wait(30) == 128 + signal.SIGKILL


def test_an_interactive_shell_ends_on_sigterm(start_shell: StartShell) -> None:
    terminal, process = start_shell("bash")
    terminal.expect_exact("➤".encode())
    process.terminate()
    assert process.wait(30) == 128 + signal.SIGHUP


def test_hanging_up_before_the_program_starts() -> None:
    child = Child()
    child.hang_up()
    assert launch_shell("h:1", "lab", [], True, False, command=("sleep", "60"), child=child) == 128 + signal.SIGHUP


def test_j_is_found_beside_a_program_called_by_its_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "j").write_text("#!/bin/sh\n")
    (tmp_path / "j").chmod(0o755)
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "jmp")])
    assert with_commands({"PATH": "/usr/bin"}) == {"PATH": f"/usr/bin:{tmp_path}"}
    assert with_commands({"PATH": str(tmp_path)}) == {"PATH": str(tmp_path)}


def test_called_outside_the_main_thread() -> None:
    code = (
        "import threading\nfrom jumpstarter.common.shell import launch_shell\n"
        "result = []\n"
        "run = lambda: result.append(launch_shell('h:1', 'lab', [], True, False, command=('sh', '-c', 'exit 4')))\n"
        "thread = threading.Thread(target=run); thread.start(); thread.join(); raise SystemExit(result[0])\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 4


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a file that is always full")
def test_a_full_disk_is_named(tmp_path: Path) -> None:
    (tmp_path / "bashrc").symlink_to("/dev/full")
    with pytest.raises(OSError, match=re.escape(str(tmp_path / "bashrc"))):
        start("bash", "lab", False, tmp_path, environment())
