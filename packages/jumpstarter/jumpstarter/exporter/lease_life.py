"""The life of a lease on its exporter, as a table without I/O; `lease_run` performs it.

A lease is the time in which one client has the exporter. Before it is ready the beforeLease hook runs, after its end
the afterLease hook. What a failing hook means is in its `onFailure`: `warn` goes on, `endLease` ends this lease, `exit`
ends the exporter too. A client that vanishes gets a grace period to come back; then the board is made safe, and the
lease ends like any other. Stopping the exporter ends its lease first.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import NamedTuple

from jumpstarter.common.enums import ExporterStatus
from jumpstarter.common.transitions import Step, Transitions


class State(Enum):
    """Where a lease's life is."""

    IDLE = auto()
    BEFORE_HOOK = auto()
    READY = auto()
    CLIENT_LOST = auto()
    AFTER_HOOK = auto()
    RELEASING = auto()
    # A hook failed: this lease is over, and in the second of each pair so is the exporter.
    REFUSED = auto()
    REFUSED_FOR_GOOD = auto()
    UNCLEAN = auto()
    UNCLEAN_FOR_GOOD = auto()
    # The afterLease hook of an exporter that is about to stop.
    LAST_HOOK = auto()
    STOPPED = auto()
    FAILED = auto()


class Event(Enum):
    """What happens to a lease."""

    LEASED = auto()
    HOOK_PASSED = auto()
    HOOK_FAILED_WARN = auto()
    HOOK_FAILED_END_LEASE = auto()
    HOOK_FAILED_EXIT = auto()
    ENDED = auto()  # by its client, or by whoever gave it
    CLIENT_GONE = auto()
    CLIENT_BACK = auto()
    GRACE_OVER = auto()
    RELEASED = auto()
    STOP = auto()


class Effect(Enum):
    """What the exporter does on the way into a state."""

    RUN_BEFORE_HOOK = auto()
    RUN_AFTER_HOOK = auto()
    CANCEL_HOOK = auto()
    MAKE_SAFE = auto()
    RELEASE = auto()


class Deadline(Enum):
    """What bounds the stay in a state. A state in which nothing is owed to anybody has REST."""

    HOOK = auto()  # the hook's own time-out, after which it counts as failed
    LEASE = auto()  # whoever gave the lease ends it
    GRACE = auto()  # clientLost.grace of the exporter's file, then GRACE_OVER
    RELEASE = auto()  # then it counts as RELEASED
    REST = auto()


class Stay(NamedTuple):
    """What others see of a state, and what bounds it."""

    status: ExporterStatus
    message: str
    deadline: Deadline


STAYS = {
    State.IDLE: Stay(ExporterStatus.AVAILABLE, "Available for new lease", Deadline.REST),
    State.BEFORE_HOOK: Stay(ExporterStatus.BEFORE_LEASE_HOOK, "Running beforeLease hook", Deadline.HOOK),
    State.READY: Stay(ExporterStatus.LEASE_READY, "Ready for commands", Deadline.LEASE),
    State.CLIENT_LOST: Stay(ExporterStatus.LEASE_READY, "Waiting for a lost client", Deadline.GRACE),
    State.AFTER_HOOK: Stay(ExporterStatus.AFTER_LEASE_HOOK, "Running afterLease hooks", Deadline.HOOK),
    State.RELEASING: Stay(ExporterStatus.AVAILABLE, "Available for new lease", Deadline.RELEASE),
    State.REFUSED: Stay(ExporterStatus.BEFORE_LEASE_HOOK_FAILED, "beforeLease hook failed", Deadline.RELEASE),
    State.REFUSED_FOR_GOOD: Stay(ExporterStatus.BEFORE_LEASE_HOOK_FAILED, "beforeLease hook failed", Deadline.RELEASE),
    State.UNCLEAN: Stay(ExporterStatus.AFTER_LEASE_HOOK_FAILED, "afterLease hook failed", Deadline.RELEASE),
    State.UNCLEAN_FOR_GOOD: Stay(ExporterStatus.AFTER_LEASE_HOOK_FAILED, "afterLease hook failed", Deadline.RELEASE),
    State.LAST_HOOK: Stay(ExporterStatus.AFTER_LEASE_HOOK, "Running afterLease hooks", Deadline.HOOK),
    State.STOPPED: Stay(ExporterStatus.OFFLINE, "Exporter shutting down", Deadline.REST),
    State.FAILED: Stay(ExporterStatus.OFFLINE, "Exporter shutting down", Deadline.REST),
}

# No event leads out of these; the exporter exits, with 0 or with 1.
FINAL = frozenset({State.STOPPED, State.FAILED})

_HERE = {state: Step[State, Effect](state) for state in State}


def _to(state: State, *effects: Effect) -> Step[State, Effect]:
    return Step(state, effects)


def _late(state: State, *events: Event) -> dict[Event, Step[State, Effect]]:
    """Events that may cross with what led into `state`, and change nothing any more."""
    return dict.fromkeys(events, _HERE[state])


_CLIENTS = (Event.CLIENT_GONE, Event.CLIENT_BACK)

LEASE_LIFE: Transitions[State, Event, Effect] = Transitions(
    {
        State.IDLE: {
            Event.LEASED: _to(State.BEFORE_HOOK, Effect.RUN_BEFORE_HOOK),
            Event.STOP: _to(State.STOPPED),
            **_late(State.IDLE, Event.ENDED, *_CLIENTS),
        },
        State.BEFORE_HOOK: {
            Event.HOOK_PASSED: _to(State.READY),
            Event.HOOK_FAILED_WARN: _to(State.READY),
            Event.HOOK_FAILED_END_LEASE: _to(State.REFUSED, Effect.RELEASE),
            Event.HOOK_FAILED_EXIT: _to(State.REFUSED_FOR_GOOD, Effect.RELEASE),
            Event.ENDED: _to(State.AFTER_HOOK, Effect.CANCEL_HOOK, Effect.RUN_AFTER_HOOK),
            Event.STOP: _to(State.LAST_HOOK, Effect.CANCEL_HOOK, Effect.RUN_AFTER_HOOK),
            **_late(State.BEFORE_HOOK, *_CLIENTS),
        },
        State.READY: {
            Event.ENDED: _to(State.AFTER_HOOK, Effect.RUN_AFTER_HOOK),
            Event.CLIENT_GONE: _to(State.CLIENT_LOST),
            Event.STOP: _to(State.LAST_HOOK, Effect.RUN_AFTER_HOOK),
            **_late(State.READY, Event.CLIENT_BACK),
        },
        State.CLIENT_LOST: {
            Event.CLIENT_BACK: _to(State.READY),
            Event.GRACE_OVER: _to(State.AFTER_HOOK, Effect.MAKE_SAFE, Effect.RUN_AFTER_HOOK),
            Event.ENDED: _to(State.AFTER_HOOK, Effect.RUN_AFTER_HOOK),
            Event.STOP: _to(State.LAST_HOOK, Effect.MAKE_SAFE, Effect.RUN_AFTER_HOOK),
            **_late(State.CLIENT_LOST, Event.CLIENT_GONE),
        },
        State.AFTER_HOOK: {
            Event.HOOK_PASSED: _to(State.RELEASING, Effect.RELEASE),
            Event.HOOK_FAILED_WARN: _to(State.RELEASING, Effect.RELEASE),
            Event.HOOK_FAILED_END_LEASE: _to(State.UNCLEAN, Effect.RELEASE),
            Event.HOOK_FAILED_EXIT: _to(State.UNCLEAN_FOR_GOOD, Effect.RELEASE),
            Event.STOP: _to(State.LAST_HOOK),
            **_late(State.AFTER_HOOK, Event.ENDED, *_CLIENTS),
        },
        State.RELEASING: {
            Event.RELEASED: _to(State.IDLE),
            Event.STOP: _to(State.STOPPED),
            **_late(State.RELEASING, Event.ENDED, *_CLIENTS),
        },
        State.REFUSED: {
            Event.RELEASED: _to(State.IDLE),
            Event.STOP: _to(State.STOPPED),
            **_late(State.REFUSED, Event.ENDED, *_CLIENTS),
        },
        State.UNCLEAN: {
            Event.RELEASED: _to(State.IDLE),
            Event.STOP: _to(State.STOPPED),
            **_late(State.UNCLEAN, Event.ENDED, *_CLIENTS),
        },
        State.REFUSED_FOR_GOOD: {
            Event.RELEASED: _to(State.FAILED),
            Event.STOP: _to(State.FAILED),
            **_late(State.REFUSED_FOR_GOOD, Event.ENDED, *_CLIENTS),
        },
        State.UNCLEAN_FOR_GOOD: {
            Event.RELEASED: _to(State.FAILED),
            Event.STOP: _to(State.FAILED),
            **_late(State.UNCLEAN_FOR_GOOD, Event.ENDED, *_CLIENTS),
        },
        State.LAST_HOOK: {
            Event.HOOK_PASSED: _to(State.STOPPED, Effect.RELEASE),
            Event.HOOK_FAILED_WARN: _to(State.STOPPED, Effect.RELEASE),
            Event.HOOK_FAILED_END_LEASE: _to(State.FAILED, Effect.RELEASE),
            Event.HOOK_FAILED_EXIT: _to(State.FAILED, Effect.RELEASE),
            **_late(State.LAST_HOOK, Event.STOP, Event.ENDED, *_CLIENTS),
        },
        State.STOPPED: {},
        State.FAILED: {},
    }
)


def diagram() -> str:
    """The table as a Graphviz digraph, for the documentation."""
    return LEASE_LIFE.dot("lease")
