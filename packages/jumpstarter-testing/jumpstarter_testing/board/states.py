"""The vocabulary of the board's state machine: states, events, effects, and what each state draws."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto


class State(Enum):
    """Where the board is between power-on and power-off; HALTED after `poweroff`, HUNG by a fault."""

    OFF = auto()
    BOOTLOADER = auto()
    COUNTDOWN = auto()
    PROMPT = auto()
    KERNEL = auto()
    LOGIN = auto()
    PASSWORD = auto()
    SHELL = auto()
    JOB = auto()
    STOPPING = auto()
    HALTED = auto()
    HUNG = auto()


class Event(Enum):
    """What can happen to the board."""

    POWER_ON = auto()
    POWER_OFF = auto()
    INPUT = auto()
    TICK = auto()


@dataclass(frozen=True)
class Write:
    """Send these bytes after all earlier ones."""

    data: bytes


@dataclass(frozen=True)
class Arm:
    """Deliver one TICK after so many seconds, instead of any that was armed before."""

    seconds: float


@dataclass(frozen=True)
class Disarm:
    """Deliver no TICK."""


@dataclass(frozen=True)
class Discard:
    """Forget the bytes that are not on the wire yet."""


Effect = Write | Arm | Disarm | Discard

VOLTS = 5.0
AMPS = {
    State.OFF: 0.0,
    State.BOOTLOADER: 0.22,
    State.COUNTDOWN: 0.22,
    State.PROMPT: 0.22,
    State.KERNEL: 0.61,
    State.LOGIN: 0.34,
    State.PASSWORD: 0.34,
    State.SHELL: 0.34,
    State.JOB: 0.55,
    State.STOPPING: 0.55,
    State.HALTED: 0.02,
    State.HUNG: 0.58,
}
