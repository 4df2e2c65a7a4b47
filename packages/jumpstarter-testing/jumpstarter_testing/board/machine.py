"""What the virtual board does, without I/O.

Theory of operation. The board is in one `State`. `handle(event)` looks (state, event) up in `TABLE`; the handler may
change the state and returns what the outside has to do, as effects. A pair that is not in the table changes nothing:
bytes sent to a board that is off are lost as on a real UART, and switching on a board that is on does nothing.

Whatever takes time is a script, an iterator of (text, seconds): each TICK plays one step, which arms the next TICK,
and the end of the script leads to the next state. The outside delivers a TICK only when all output before it is sent.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

from . import bootloader, shell
from .bootloader import Bootloader, Step
from .config import BoardConfig, Fault
from .line import END_OF_FILE, INTERRUPT, LineEditor
from .linux import Linux
from .shell import Shell
from .states import AMPS, VOLTS, Arm, Disarm, Discard, Effect, Event, State, Write

_TYPEAHEAD = 4096


class Machine:
    """One board. Not thread-safe."""

    def __init__(self, config: BoardConfig) -> None:
        self.config = config
        self.state = State.OFF
        self._effects: list[Effect] = []
        self._bootloader = Bootloader(config)
        self._linux = self._new_linux()
        self._shell = Shell(self._linux)
        self._editor = LineEditor()
        self._random = random.Random(config.seed)
        self._user = ""
        self._key_pressed = False
        self._typeahead = bytearray()
        self._script: Iterator[Step] = iter(())
        self._then: Callable[[], None] = lambda: None

    @property
    def reading(self) -> tuple[float, float]:
        """Volts and amps at the power input."""
        return (0.0 if self.state is State.OFF else VOLTS), AMPS[self.state]

    def handle(self, event: Event, data: bytes = b"") -> list[Effect]:
        """Takes one event; INPUT comes with its bytes."""
        self._effects = []
        for byte in data if event is Event.INPUT else b"\0":
            if handler := TABLE.get((self.state, event)):
                handler(self, byte)
        return self._effects

    def _write(self, text: str) -> None:
        self._send(text.replace("\n", "\r\n").encode())

    def _send(self, data: bytes) -> None:
        if data:
            self._effects.append(Write(data))

    # States

    def _play(self, state: State, script: Iterator[Step], then: Callable[[], None]) -> None:
        self.state, self._script, self._then = state, script, then
        self._advance()

    def _advance(self, _: int = 0) -> None:
        step = next(self._script, None)
        if step is None:
            self._then()
            return
        text, seconds = step
        self._write(text)
        if text and Fault.GARBAGE in self.config.faults:
            self._send(bytes(self._random.choices(range(0x80, 0x100), k=self._random.randint(1, 6))))
        self._effects.append(Arm(seconds))

    def _rest(self, state: State, text: str = "") -> None:
        self.state = state
        self._write(text)
        noisy = self.config.noise and state in (State.LOGIN, State.SHELL)
        self._effects.append(Arm(self.config.noise) if noisy else Disarm())

    def _power_off(self, _: int = 0) -> None:
        self._effects.append(Discard())
        self._rest(State.OFF)

    def _reset(self, _: int = 0) -> None:
        self._bootloader.reset()
        self._editor.reset()
        self._typeahead.clear()
        self._key_pressed = False
        self._play(State.BOOTLOADER, bootloader.banner(self.config), self._banner_done)

    # Bootloader

    def _press_key(self, _: int) -> None:
        self._key_pressed = True

    def _banner_done(self) -> None:
        seconds = self._bootloader.bootdelay
        if seconds < 0:
            self._rest(State.PROMPT, bootloader.PROMPT)
        elif self._key_pressed:
            self._write("".join(text for text, _ in bootloader.countdown(0)))
            self._rest(State.PROMPT, bootloader.PROMPT)
        else:
            self._play(State.COUNTDOWN, bootloader.countdown(seconds), self._autoboot)

    def _stop_countdown(self, _: int) -> None:
        self._rest(State.PROMPT, bootloader.STOPPED + bootloader.PROMPT)

    def _autoboot(self) -> None:
        self._run_bootloader("boot")

    def _type_command(self, byte: int) -> None:
        if byte == INTERRUPT:
            self._editor.reset()
            self._write("<INTERRUPT>\n" + bootloader.PROMPT)
        elif (line := self._edit(byte)) is not None:
            self._run_bootloader(line)

    def _run_bootloader(self, line: str) -> None:
        output, request = self._bootloader.run(line)
        self._write(output)
        match request:
            case bootloader.Request.BOOT:
                self._start_kernel()
            case bootloader.Request.RESET:
                self._reset()
            case None:
                self._rest(State.PROMPT, bootloader.PROMPT)

    def _edit(self, byte: int, *, echo: bool = True) -> str | None:
        answer, line = self._editor.feed(byte, echo=echo)
        self._send(answer)
        return line

    # Kernel

    def _new_linux(self) -> Linux:
        bootargs = self._bootloader.environment.get("bootargs", "")
        return Linux(hostname=self.config.hostname, bootargs=bootargs, line_delay=self.config.line_delay)

    def _start_kernel(self) -> None:
        self._editor.reset()
        self._linux = self._new_linux()
        script = self._linux.start_kernel()
        if Fault.HANG_BOOTLOADER in self.config.faults:
            self._play(State.KERNEL, iter([next(script)]), self._hang)
        else:
            self._play(State.KERNEL, script, self._mount_root)

    def _mount_root(self) -> None:
        if Fault.HANG_KERNEL in self.config.faults:
            self._hang()
        elif Fault.REBOOT_LOOP in self.config.faults:
            self._play(State.KERNEL, self._linux.panic(), self._reset)
        else:
            self._play(State.KERNEL, self._linux.start_init(), self._ask_login)

    def _hang(self) -> None:
        self._rest(State.HUNG)

    # Login and shell

    def _ask_login(self) -> None:
        self._editor.reset()
        self._rest(State.LOGIN, f"\n{self.config.hostname} login: ")

    def _make_noise(self, _: int) -> None:
        self._write(self._linux.log("virtio_net virtio1 eth0: link becomes ready", self.config.noise))
        self._effects.append(Arm(self.config.noise))

    def _type_user(self, byte: int) -> None:
        if byte == INTERRUPT or (line := self._edit(byte)) == "":
            self._ask_login()
        elif line is not None:
            self._user = line
            if line == "root" and not self.config.password:
                self._open_shell()
            else:
                self._rest(State.PASSWORD, "Password: ")

    def _type_password(self, byte: int) -> None:
        if byte == INTERRUPT:
            self._ask_login()
        elif (line := self._edit(byte, echo=False)) is not None:
            if (self._user, line) == ("root", self.config.password):
                self._open_shell()
            else:
                self._write("\nLogin incorrect\n")
                self._ask_login()

    def _open_shell(self) -> None:
        self._shell = Shell(self._linux)
        self._rest(State.SHELL, self._shell.prompt)

    def _type_line(self, byte: int) -> None:
        if byte == INTERRUPT:
            self._editor.reset()
            self._write("^C\n" + self._shell.prompt)
        elif byte == END_OF_FILE and not self._editor.text:
            self._write("logout\n")
            self._ask_login()
        elif (line := self._edit(byte)) is not None:
            self._play(State.JOB, self._shell.run(line), self._job_done)

    def _type_ahead(self, byte: int) -> None:
        if byte == INTERRUPT:
            self._script = iter(())
            self._typeahead.clear()
            self._effects.append(Discard())
            self._write("^C\n")
            self._job_done()
        elif len(self._typeahead) < _TYPEAHEAD:
            self._typeahead.append(byte)

    def _job_done(self) -> None:
        match self._shell.request:
            case shell.Request.REBOOT:
                self._play(State.STOPPING, self._linux.shut_down("reboot: Restarting system"), self._reset)
            case shell.Request.POWEROFF:
                self._play(State.STOPPING, self._linux.shut_down("reboot: Power down"), self._halt)
            case shell.Request.LOGOUT:
                self._ask_login()
            case None:
                self._rest(State.SHELL, self._shell.prompt)
        self._read_ahead()

    def _read_ahead(self) -> None:
        typed, self._typeahead = self._typeahead, bytearray()
        for byte in typed:
            if handler := TABLE.get((self.state, Event.INPUT)):
                handler(self, byte)

    def _halt(self) -> None:
        self._rest(State.HALTED)


Handler = Callable[[Machine, int], None]

TABLE: dict[tuple[State, Event], Handler] = {
    (State.OFF, Event.POWER_ON): Machine._reset,
    (State.BOOTLOADER, Event.TICK): Machine._advance,
    (State.BOOTLOADER, Event.INPUT): Machine._press_key,
    (State.COUNTDOWN, Event.TICK): Machine._advance,
    (State.COUNTDOWN, Event.INPUT): Machine._stop_countdown,
    (State.PROMPT, Event.INPUT): Machine._type_command,
    (State.KERNEL, Event.TICK): Machine._advance,
    (State.LOGIN, Event.INPUT): Machine._type_user,
    (State.LOGIN, Event.TICK): Machine._make_noise,
    (State.PASSWORD, Event.INPUT): Machine._type_password,
    (State.SHELL, Event.INPUT): Machine._type_line,
    (State.SHELL, Event.TICK): Machine._make_noise,
    (State.JOB, Event.INPUT): Machine._type_ahead,
    (State.JOB, Event.TICK): Machine._advance,
    (State.STOPPING, Event.TICK): Machine._advance,
    **{(state, Event.POWER_OFF): Machine._power_off for state in State if state is not State.OFF},
}
