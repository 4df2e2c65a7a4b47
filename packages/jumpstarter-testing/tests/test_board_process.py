"""The board as its users meet it: a process with a console on a pty and a power input worked by commands."""

import contextlib
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
import serial
from jumpstarter_testing.board import BoardError, VirtualBoard
from pexpect import fdpexpect

FAST = {"boot_delay": 0, "line_delay": 0}
BOARD = [sys.executable, "-m", "jumpstarter_testing.board"]


@contextlib.contextmanager
def open_console(board, **options):
    with serial.Serial(board.console, **options) as port:
        yield fdpexpect.fdspawn(port, timeout=20)


def power(board, word):
    done = subprocess.run(board.power_commands[f"power_{word}"], capture_output=True, text=True, timeout=20)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_the_main_job():
    with VirtualBoard(countdown=5, password="secret", **FAST) as board, open_console(board) as console:
        assert power(board, "read") == "0.00 V 0.00 A\n"
        assert power(board, "on") == ""
        console.expect_exact("stop autoboot")
        console.send(" ")
        console.expect_exact("=> ")
        assert power(board, "read") == "5.00 V 0.22 A\n"
        console.send("version\r")
        console.expect_exact("\r\nU-Boot 2024.01-virtual")
        console.send("boot\r")
        console.expect_exact("board login: ")
        console.send("root\r")
        console.expect_exact("Password: ")
        console.send("secret\r")
        console.expect_exact("root@board:~# ")
        console.send("cat /proc/version\r")
        console.expect_exact("\r\nLinux version 6.6.0-virtual")
        assert board.state == "shell"
        assert power(board, "off") == ""
        assert board.read() == (0.0, 0.0)


def test_the_console_outlives_power_cycles_and_is_deaf_while_off():
    with VirtualBoard(countdown=-1, **FAST) as board, open_console(board) as console:
        for _ in range(3):
            console.send("setenv lost yes\r")
            assert board.state == "off"
            board.on()
            console.expect_exact("=> ")
            assert b"lost" not in console.before
            board.off()


def test_the_console_can_be_closed_and_opened_again():
    with VirtualBoard(countdown=-1, **FAST) as board:
        with open_console(board) as console:
            board.on()
            console.expect_exact("=> ")
        for _ in range(20):
            with open_console(board) as console:
                console.send("echo 1 2 3\r")
                console.expect_exact("\r\n1 2 3\r\n=> ")


def test_what_is_sent_to_nobody_is_lost():
    with VirtualBoard(countdown=0, **FAST) as board:
        with open_console(board) as console:
            board.on()
            console.expect_exact("login: ")
            console.send("root\rjumpstarter\r")
            console.expect_exact("# ")
            console.send("seq 1000000\r")
            console.expect_exact("1000\r\n")
            assert board.state == "job"
        with open_console(board) as console:
            console.send("\recho back\r")
            console.expect_exact("\r\nback\r\n")


def test_a_slow_reader_loses_nothing():
    with VirtualBoard(countdown=0, **FAST) as board, open_console(board, timeout=20) as console:
        board.on()
        console.expect_exact("login: ")
        console.send("root\rjumpstarter\r")
        console.expect_exact("# ")
        console.send("seq 300000\r")
        expected = b"seq 300000\r\n" + b"".join(b"%d\r\n" % n for n in range(1, 300001)) + b"root@board:~# "
        received = os.read(console.fileno(), 1)
        while len(received) < 20:
            received += os.read(console.fileno(), 1)
        assert board.state == "job"  # it answers although nobody takes its output
        while len(received) < len(expected):
            received += os.read(console.fileno(), 65536)
        assert received == expected


def test_ctrl_c_is_prompt_under_full_output():
    with VirtualBoard(countdown=0, password="", **FAST) as board, open_console(board) as console:
        board.on()
        console.expect_exact("login: ")
        console.send("root\r")
        console.expect_exact("# ")
        console.send("yes\r")
        console.expect_exact("y\r\ny\r\n")
        console.send("\x03")
        console.expect_exact("^C\r\nroot@board:~# ")


def test_a_slow_console_takes_its_time():
    with VirtualBoard(countdown=-1, cps=1000, **FAST) as board, open_console(board) as console:
        start = time.monotonic()
        board.on()
        console.expect_exact("=> ")
        assert len(console.before) / (time.monotonic() - start) <= 1100


def test_power_off_cuts_a_slow_console_short():
    with VirtualBoard(countdown=-1, cps=50, **FAST) as board, open_console(board) as console:
        board.on()
        console.expect_exact("U-Boot")
        board.off()
        board.on()
        console.expect_exact("U-Boot")
        assert b"DRAM" not in console.before


@pytest.mark.parametrize(("fault", "last"), [("hang-bootloader", "Starting kernel"), ("hang-kernel", "virtio_blk")])
def test_a_hung_board_says_no_more(fault, last):
    with VirtualBoard(countdown=0, faults=[fault], **FAST) as board, open_console(board) as console:
        board.on()
        console.expect_exact(last)
        console.expect_exact("\r\n")
        console.send("\r")
        # 1 s of silence is what the test is about.
        assert console.expect(["login", fdpexpect.TIMEOUT], timeout=1) == 1
        assert board.state == "hung"


def test_reboot_loop_and_garbage_over_the_console():
    with VirtualBoard(countdown=0, faults=["reboot-loop", "garbage"], **FAST) as board, open_console(board) as console:
        board.on()
        for _ in range(3):
            console.expect_exact("Kernel panic")
        console.expect(rb"[\x80-\xff]")


def test_timing_is_real():
    with VirtualBoard(countdown=1, boot_delay=0.3, line_delay=0) as board, open_console(board) as console:
        start = time.monotonic()
        board.on()
        console.expect_exact("login: ")
        assert time.monotonic() - start >= 1.3


def test_noise_comes_by_itself():
    with VirtualBoard(countdown=0, noise=0.1, **FAST) as board, open_console(board) as console:
        board.on()
        console.expect_exact("login: ")
        for _ in range(2):
            console.expect_exact("link becomes ready\r\n")


def test_nothing_is_left_behind():
    with VirtualBoard() as board:
        process = psutil.Process(board.pid)
        directory = os.path.dirname(board.console)
        assert process.is_running()
        assert os.stat(directory).st_mode & 0o077 == 0
    assert not process.is_running()
    assert not os.path.exists(directory)
    with pytest.raises(RuntimeError, match="only inside its `with` block"):
        _ = board.console


def test_the_board_dies_with_its_parent():
    script = "import sys; from jumpstarter_testing.board import VirtualBoard\nboard = VirtualBoard().__enter__()\n"
    script += "print(board.pid, board.console, flush=True); sys.stdin.read()"
    parent = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with parent:
        pid, console = parent.stdout.readline().split()
        board = psutil.Process(int(pid))
        parent.send_signal(signal.SIGKILL)
    psutil.wait_procs([board], timeout=10)
    assert not board.is_running() or board.status() == psutil.STATUS_ZOMBIE
    assert not os.path.exists(os.path.dirname(console))


def test_by_hand(tmp_path):
    console, control = tmp_path / "console", tmp_path / "control"
    command = [*BOARD, f"--console={console}", f"--socket={control}", "--countdown=-1", "--fault=garbage"]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as process:
        lines = [process.stdout.readline() for _ in range(3)]
        assert lines == [f"console {console}\n", f"socket {control}\n", "ready\n"]
        assert control.stat().st_mode & 0o077 == 0
        state = subprocess.run([*BOARD, "power", "state", f"--socket={control}"], capture_output=True, text=True)
        assert state.stdout == "off\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["power", "on", "--socket", "nowhere"], "error: no virtual board answers at nowhere: No such file"),
        (["--console=c", "--socket=s", "--countdown=-7"], "error: countdown must be -1 or more, not -7"),
        (["--console=.", "--socket=s"], "error: . exists already: remove it or choose another path for the console"),
        (["--console=c", "--socket=no/s"], "error: cannot put the control socket at no/s: No such file or directory"),
        (["--console=c", "--socket=s", "--fault=smoke"], "invalid choice: 'smoke'"),
    ],
)
def test_clear_refusals(tmp_path, arguments, message):
    done = subprocess.run([*BOARD, *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=20)
    assert done.returncode != 0
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_console_left_by_a_killed_board_is_replaced(tmp_path):
    (tmp_path / "c").symlink_to("/dev/pts/gone")
    command = [*BOARD, f"--console={tmp_path}/c", f"--socket={tmp_path}/s"]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readlines(1) == [f"console {tmp_path}/c\n"]
        process.terminate()


def test_a_board_that_does_not_start_says_why(tmp_path):
    long = tmp_path / ("long" * 30)
    long.mkdir()
    script = "from jumpstarter_testing.board import VirtualBoard\nwith VirtualBoard(): pass"
    environment = {**os.environ, "TMPDIR": str(long)}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=30)
    last = done.stderr.splitlines()[-1]
    assert "BoardError: the virtual board did not start: error: cannot put the control socket at " in last
    assert "too long" in last
    assert list(long.iterdir()) == []


def test_the_control_socket_refuses_what_it_does_not_know():
    from jumpstarter_testing.board.control import request

    with VirtualBoard() as board, pytest.raises(BoardError, match=r"unknown request 'fly', known are on, off"):
        request(board.socket, "fly")


def test_an_open_control_connection_does_not_keep_the_board_alive():
    import socket

    with socket.socket(socket.AF_UNIX) as idle:
        with VirtualBoard() as board:
            idle.connect(board.socket)
            idle.sendall(b"on\n")
            assert idle.recv(10) == b"ok\n"
            process = psutil.Process(board.pid)
            start = time.monotonic()
        assert time.monotonic() - start < 4
    assert not process.is_running()
