"""The board's logic alone: no process, no clock, no pty."""

import itertools
import re

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from jumpstarter_testing.board import BoardConfig, Fault
from jumpstarter_testing.board.line import LineEditor
from jumpstarter_testing.board.machine import TABLE, Machine
from jumpstarter_testing.board.states import Arm, Disarm, Discard, Event, State, Write
from jumpstarter_testing.board.syntax import expand, parse


class Simulation:
    """A machine, its console output and its timer, in simulated time."""

    def __init__(self, **options):
        self.machine = Machine(BoardConfig(**options))
        self.output = b""
        self.armed = None
        self.elapsed = 0.0

    def feed(self, event, data=b""):
        for effect in self.machine.handle(event, data):
            match effect:
                case Write(data=data):
                    self.output += data
                case Arm(seconds=seconds):
                    self.armed = seconds
                case Disarm():
                    self.armed = None
                case Discard():
                    pass

    def on(self):
        self.feed(Event.POWER_ON)

    def tick(self):
        self.elapsed += self.armed
        self.armed = None
        self.feed(Event.TICK)

    def run_until(self, state, limit=1000):
        for _ in range(limit):
            if self.machine.state is state:
                return
            self.tick()
        raise AssertionError(f"still {self.machine.state} after {limit} ticks")

    def type(self, text):
        """The output of typing the text, up to the next prompt."""
        before = len(self.output)
        self.feed(Event.INPUT, text.encode())
        while self.machine.state is State.JOB:
            self.tick()
        return self.output[before:].decode()

    def stop_at_prompt(self):
        self.on()
        self.run_until(State.COUNTDOWN)
        self.type(" ")

    def log_in(self):
        self.on()
        self.run_until(State.LOGIN)
        self.type(f"root\r{self.machine.config.password}\r")


def test_boots_by_itself_after_the_countdown():
    board = Simulation(countdown=3, boot_delay=0.5, line_delay=0)
    board.on()
    board.run_until(State.LOGIN)
    assert board.elapsed == 3.5
    text = board.output.decode()
    assert "U-Boot 2024.01-virtual" in text
    assert "Hit any key to stop autoboot:  3 \b\b\b 2 \b\b\b 1 \b\b\b 0 \r\n" in text
    assert text.index("Starting kernel ...") < text.index("] Linux version") < text.index("board login: ")


def test_log_timestamps_grow():
    board = Simulation(line_delay=0.5)
    board.on()
    board.run_until(State.LOGIN)
    stamps = [float(stamp) for stamp in re.findall(rb"\[ *([\d.]+)\] ", board.output)]
    assert len(stamps) > 10
    assert all(later - earlier >= 0.5 for earlier, later in itertools.pairwise(stamps))


@pytest.mark.parametrize("state", [State.BOOTLOADER, State.COUNTDOWN])
def test_a_key_stops_the_boot(state):
    board = Simulation(countdown=1)
    board.on()
    board.run_until(state)
    board.type(" ")
    board.run_until(State.PROMPT)
    assert b"Hit any key to stop autoboot:" in board.output
    assert board.output.endswith(b"\r\n=> ")
    assert board.armed is None


def test_negative_countdown_stops_at_the_prompt():
    board = Simulation(countdown=-1)
    board.on()
    board.run_until(State.PROMPT)
    assert b"autoboot" not in board.output


def test_bootloader_commands():
    board = Simulation()
    board.stop_at_prompt()
    assert board.type("version\r").startswith("version\r\nU-Boot 2024.01-virtual")
    assert "printenv " in board.type("help\r")
    assert board.type("frob\r") == "frob\r\nUnknown command 'frob' - try 'help'\r\n=> "
    assert board.type("setenv a 1; setenv b ${a}2; printenv b c\r").endswith(
        '\nb=12\r\n## Error: "c" not defined\r\n=> '
    )
    assert board.type("setenv a\r") == "setenv a\r\n=> "
    assert "a=" not in board.type("printenv\r").replace("bootdelay=", "")
    assert "Usage: setenv" in board.type("setenv\r")
    assert "syntax error" in board.type("echo 'x\r")
    assert "<INTERRUPT>" in board.type("half a line\x03")


def test_environment_is_lost_at_power_off_unless_saved():
    board = Simulation(countdown=2)
    board.stop_at_prompt()
    board.type("setenv bootargs quiet\rsaveenv\rsetenv bootargs loud\r")
    board.feed(Event.POWER_OFF)
    board.stop_at_prompt()
    assert "bootargs=quiet\r\n" in board.type("printenv bootargs\r")
    board.type("boot\r")
    board.run_until(State.LOGIN)
    assert b"Kernel command line: quiet\r\n" in board.output


def test_boot_runs_bootcmd():
    board = Simulation()
    board.stop_at_prompt()
    board.type("setenv bootcmd 'echo one; run two'; setenv two echo two\r")
    assert board.type("boot\r") == "boot\r\none\r\ntwo\r\n=> "
    board.type("setenv two run two\r")
    assert "run each other without end" in board.type("boot\r")
    board.type("setenv bootcmd reset\rboot\r")
    assert board.machine.state is State.BOOTLOADER


def test_login():
    board = Simulation(password="secret", hostname="dut")
    board.on()
    board.run_until(State.LOGIN)
    assert board.type("root\rwrong\r") == "root\r\nPassword: \r\n\r\nLogin incorrect\r\n\r\ndut login: "
    assert board.type("guest\rsecret\r").endswith("Login incorrect\r\n\r\ndut login: ")
    assert board.type("\n").endswith("\r\ndut login: ")
    assert board.type("root\rsecret\r") == "root\r\nPassword: \r\nroot@dut:~# "
    assert board.type("\x04") == "logout\r\n\r\ndut login: "


def test_empty_password_asks_for_none():
    board = Simulation(password="")
    board.on()
    board.run_until(State.LOGIN)
    assert board.type("root\r") == "root\r\nroot@board:~# "


@pytest.mark.parametrize(
    ("line", "output"),
    [
        ("echo hello  'big  world'", "hello big  world"),
        ("false; echo $?", "1"),
        ("true && echo yes || echo no", "yes"),
        ("false && echo yes || echo no", "no"),
        ("uname", "Linux"),
        ("uname -a", "Linux board 6.6.0-virtual #1 SMP PREEMPT aarch64 GNU/Linux"),
        ("uname -x; echo $?", "Usage: uname [-s|-n|-r|-m|-a]\n2"),
        ("cat /etc/hostname /nope; echo $?", "board\ncat: /nope: No such file or directory\n1"),
        ("seq 3", "1\n2\n3"),
        ("seq 2 3", "2\n3"),
        ("seq x", "Usage: seq [FIRST] LAST"),
        ("sleep x; echo $?", "Usage: sleep SECONDS\n2"),
        ("hostname", "board"),
        ("frob; echo ${?}", "sh: frob: not found\n127"),
        ("echo a | cat", "sh: syntax error: unexpected '|'"),
        ("echo a > b", "sh: syntax error: unexpected '>'"),
        ("echo a &&", "sh: syntax error: unexpected end of line"),
        ("&& echo a", "sh: syntax error: unexpected '&&'"),
        ("echo 'a", "sh: syntax error: unterminated quoted string"),
    ],
)
def test_shell_commands(line, output):
    board = Simulation()
    board.log_in()
    assert board.type(f"{line}\r") == f"{line}\n{output}\nroot@board:~# ".replace("\n", "\r\n")


def test_sleep_takes_its_time_and_ctrl_c_ends_it():
    board = Simulation(line_delay=0, boot_delay=0, countdown=0)
    board.log_in()
    board.type("sleep 2.5\r")
    assert board.elapsed == 2.5
    board.feed(Event.INPUT, b"sleep 1000\r")
    assert board.machine.state is State.JOB
    assert board.armed == 1000
    board.feed(Event.INPUT, b"\x03")
    assert board.output.endswith(b"^C\r\nroot@board:~# ")
    assert "130\r\n" in board.type("echo $?\r")


def test_ctrl_c_ends_endless_output_and_drops_what_is_not_sent():
    board = Simulation()
    board.log_in()
    board.feed(Event.INPUT, b"yes no\r")
    for _ in range(10):
        board.tick()
    assert board.output.count(b"no\r\n") > 1000
    assert Discard() in board.machine.handle(Event.INPUT, b"\x03")
    assert board.machine.state is State.SHELL


def test_what_is_typed_during_a_command_is_run_after_it():
    board = Simulation()
    board.log_in()
    board.feed(Event.INPUT, b"sleep 5\recho one\r\necho two\r")
    assert b"one" not in board.output
    while board.machine.state is State.JOB:
        board.tick()
    assert board.output.endswith(b"echo one\r\none\r\nroot@board:~# echo two\r\ntwo\r\nroot@board:~# ")


def test_reboot_and_poweroff():
    board = Simulation()
    board.log_in()
    board.type("reboot\r")
    board.run_until(State.BOOTLOADER)
    assert b"reboot: Restarting system" in board.output
    board.run_until(State.LOGIN)
    board.type(f"root\r{board.machine.config.password}\rpoweroff\r")
    board.run_until(State.HALTED)
    assert board.output.endswith(b"reboot: Power down\r\n")
    volts, amps = board.machine.reading
    assert volts > 4
    assert 0 < amps < 0.1


def test_dmesg_repeats_the_kernel_log():
    board = Simulation()
    board.log_in()
    log = re.findall(rb"\[ *[\d.]+\] [^\r]+\r\n", board.output)
    assert board.type("dmesg\r").encode() == b"dmesg\r\n" + b"".join(log) + b"root@board:~# "


def test_noise_interrupts_login_and_shell_only():
    board = Simulation(noise=30)
    board.log_in()
    assert board.armed == 30
    board.tick()
    assert board.output.endswith(b"link becomes ready\r\n")
    assert board.armed == 30


@pytest.mark.parametrize(
    ("fault", "last"), [(Fault.HANG_BOOTLOADER, b"Starting kernel ..."), (Fault.HANG_KERNEL, b"(1.07 GB/1.00 GiB)")]
)
def test_hang(fault, last):
    board = Simulation(faults={fault})
    board.on()
    board.run_until(State.HUNG)
    assert board.output.rstrip().endswith(last)
    assert board.type("\r\x03") == ""
    board.feed(Event.POWER_OFF)
    assert board.machine.state is State.OFF


def test_reboot_loop():
    board = Simulation(faults={"reboot-loop"})
    board.on()
    for _ in range(200):
        board.tick()
    assert board.output.count(b"Kernel panic - not syncing") >= 3
    assert b"login:" not in board.output


def test_garbage_is_inserted_and_repeatable():
    def boot(**options):
        board = Simulation(**options)
        board.on()
        board.run_until(State.LOGIN)
        return board.output

    clean, dirty = boot(), boot(faults={"garbage"}, seed=1)
    assert re.sub(rb"[\x80-\xff]", b"", dirty) == clean
    assert len(dirty) > len(clean)
    assert dirty == boot(faults={"garbage"}, seed=1) != boot(faults={"garbage"}, seed=2)


def test_power_reading_follows_the_state():
    board = Simulation()
    assert board.machine.reading == (0.0, 0.0)
    board.on()
    bootloader = board.machine.reading
    board.run_until(State.LOGIN)
    idle = board.machine.reading
    board.type(f"root\r{board.machine.config.password}\r")
    board.feed(Event.INPUT, b"yes\r")
    busy = board.machine.reading
    assert bootloader[0] == idle[0] == busy[0] == 5.0
    assert 0 < bootloader[1] < idle[1] < busy[1]


def test_line_editing():
    editor = LineEditor()
    echo = b""
    for byte in b"helo\x7f\x08llo\x1b\x15hi\x09!\r":
        answer, line = editor.feed(byte)
        echo += answer
    assert line == "hi!"
    assert echo == b"helo\b \b\b \bllo" + b"\b \b" * 5 + b"hi!\r\n"
    assert editor.feed(ord("\n")) == (b"", None)
    assert editor.feed(ord("\n")) == (b"\r\n", "")
    assert editor.feed(0x7F) == (b"", None)


def test_a_line_has_a_limit():
    editor = LineEditor()
    answers = [editor.feed(ord("x"))[0] for _ in range(5000)]
    assert answers.count(b"x") == 4095
    assert answers[-1] == b"\a"


def test_syntax():
    assert parse("a 'b c' && d;; e||f") == [(";", ["a", "'b c'"]), ("&&", ["d"]), (";", ["e"]), ("||", ["f"])]
    values = {"x": "1", "?": "0"}
    assert expand("""a"$x"'$x'${x}$?\\$x""", lambda name: values.get(name, "")) == "a1$x10$x"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"countdown": -2}, "countdown must be -1 or more"),
        ({"line_delay": -1}, "line_delay must be 0 or more"),
        ({"cps": float("nan")}, "cps must be 0 or more"),
        ({"faults": {"smoke"}}, "known faults: hang-bootloader, hang-kernel, reboot-loop, garbage"),
        ({"faults": "garbage"}, "not a plain string"),
    ],
)
def test_configuration_that_makes_no_sense_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        BoardConfig(**options)


S = State
NEXT = {
    (S.OFF, Event.POWER_ON): {S.BOOTLOADER},
    (S.BOOTLOADER, Event.TICK): {S.BOOTLOADER, S.COUNTDOWN, S.PROMPT},
    (S.COUNTDOWN, Event.TICK): {S.COUNTDOWN, S.KERNEL, S.PROMPT, S.BOOTLOADER},
    (S.COUNTDOWN, Event.INPUT): {S.PROMPT},
    (S.PROMPT, Event.INPUT): {S.PROMPT, S.KERNEL, S.BOOTLOADER},
    (S.KERNEL, Event.TICK): {S.KERNEL, S.LOGIN, S.HUNG, S.BOOTLOADER},
    (S.LOGIN, Event.INPUT): {S.LOGIN, S.PASSWORD, S.SHELL},
    (S.PASSWORD, Event.INPUT): {S.PASSWORD, S.LOGIN, S.SHELL},
    (S.SHELL, Event.INPUT): {S.SHELL, S.JOB, S.LOGIN},
    (S.JOB, Event.TICK): {S.JOB, S.SHELL, S.LOGIN, S.PASSWORD, S.STOPPING},
    (S.JOB, Event.INPUT): {S.JOB, S.SHELL, S.LOGIN, S.STOPPING},
    (S.STOPPING, Event.TICK): {S.STOPPING, S.BOOTLOADER, S.HALTED},
    **{(state, Event.POWER_OFF): {S.OFF} for state in State},
}
"""Where each event may lead; what is not here must leave the state as it is."""

LINES = ["", "root", "jumpstarter", "echo hi", "seq 500", "yes", "sleep 1", "reboot", "poweroff", "exit", "dmesg"]
LINES += ["boot", "reset", "setenv bootcmd reset", "setenv bootcmd", "setenv bootdelay 0", "saveenv", "'", "a | b"]


class BoardModel(RuleBasedStateMachine):
    """Throws events at the machine; its state and its timer must agree with the model at every byte."""

    def __init__(self):
        super().__init__()
        self.board = Simulation()

    @property
    def state(self):
        return self.board.machine.state

    def feed(self, event, data=b""):
        before, sent = self.state, len(self.board.output)
        self.board.feed(event, data)
        assert self.state in NEXT.get((before, event), {before})
        if self.state is State.OFF:
            assert len(self.board.output) == sent

    @initialize(
        countdown=st.integers(-1, 2),
        noise=st.sampled_from([0, 5.0]),
        password=st.sampled_from(["jumpstarter", ""]),
        faults=st.sampled_from([(), (), (), *((fault,) for fault in Fault)]),
    )
    def choose_board(self, **options):
        self.board = Simulation(**options)

    @rule()
    def power_on(self):
        self.feed(Event.POWER_ON)

    @rule()
    def power_off(self):
        self.feed(Event.POWER_OFF)

    @rule(line=st.sampled_from(LINES), end=st.sampled_from(["\r", "\n", "\r\n", "\x03", "\x04", ""]))
    def type_line(self, line, end):
        for byte in (line + end).encode():
            self.feed(Event.INPUT, bytes([byte]))

    @rule(data=st.binary(max_size=5))
    def type_bytes(self, data):
        for byte in data:
            self.feed(Event.INPUT, bytes([byte]))

    @rule(count=st.integers(1, 3) | st.just(40))
    def wait(self, count):
        for _ in range(count):
            if self.board.armed is not None:
                self.board.armed = None
                self.feed(Event.TICK)

    @rule()
    def stop_boot(self):
        self.power_on()
        while self.state is State.BOOTLOADER:
            self.wait(1)
        self.type_line("", "\r")

    @rule()
    def log_in(self):
        self.power_on()
        self.wait(40)
        self.type_line("root", "\r")
        self.type_line(self.board.machine.config.password, "\r")

    @rule(line=st.sampled_from(["sleep 1", "exit", "reboot", "poweroff"]))
    def leave(self, line):
        self.log_in()
        self.type_line(line, "\r")
        self.type_line("root", "\r")
        self.wait(1)

    @invariant()
    def a_tick_is_armed_exactly_where_time_matters(self):
        resting = self.state in (State.LOGIN, State.SHELL)
        needed = bool(self.board.machine.config.noise) if resting else (self.state, Event.TICK) in TABLE
        assert (self.board.armed is not None) == needed

    @invariant()
    def only_a_board_that_is_off_draws_nothing(self):
        assert (self.board.machine.reading == (0.0, 0.0)) == (self.state is State.OFF)


BoardModel.TestCase.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
TestBoardModel = BoardModel.TestCase
