"""The table of a lease's life: every state against every event, and what holds on every way through it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jumpstarter.common.enums import ACCEPTS_CALLS, ExporterStatus
from jumpstarter.common.transitions import NoTransition
from jumpstarter.exporter.lease_life import FINAL, LEASE_LIFE, STAYS, Deadline, Effect, Event, State, diagram

PAIRS = {(state, event): step for state, event, step in LEASE_LIFE}
HOOK_RESULTS = {
    Event.HOOK_PASSED,
    Event.HOOK_FAILED_WARN,
    Event.HOOK_FAILED_END_LEASE,
    Event.HOOK_FAILED_EXIT,
}
HOOK_STATES = {State.BEFORE_HOOK, State.AFTER_HOOK, State.LAST_HOOK}
RELEASING = {state for state in State if STAYS[state].deadline is Deadline.RELEASE}


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("event", Event)
def test_the_whole_product(state: State, event: Event) -> None:
    """A step, or an error that names both; and just those pairs that make sense are steps."""
    sensible = state not in FINAL and (
        event in {Event.STOP, Event.CLIENT_GONE, Event.CLIENT_BACK, Event.ENDED}
        or (event is Event.LEASED and state is State.IDLE)
        or (event in HOOK_RESULTS and state in HOOK_STATES)
        or (event is Event.GRACE_OVER and state is State.CLIENT_LOST)
        or (event is Event.RELEASED and state in RELEASING)
    )
    if sensible:
        assert LEASE_LIFE.step(state, event) == PAIRS[state, event]
    else:
        with pytest.raises(NoTransition, match=f"{event.name} in state {state.name}"):
            LEASE_LIFE.step(state, event)


def test_every_state_has_a_status_and_a_deadline() -> None:
    assert STAYS.keys() == set(State)
    assert {state for state in State if STAYS[state].deadline is Deadline.REST} == {State.IDLE, *FINAL}
    assert {state for state in State if STAYS[state].deadline is Deadline.HOOK} == HOOK_STATES


def test_every_state_can_be_reached_and_stopped() -> None:
    reached = {State.IDLE}
    while new := {step.state for (state, _), step in PAIRS.items() if state in reached} - reached:
        reached |= new
    assert reached == set(State)
    for state in set(State) - FINAL:
        assert LEASE_LIFE.step(state, Event.STOP).state in FINAL | {State.LAST_HOOK}


def test_what_a_deadline_brings_has_a_step() -> None:
    expiry = {Deadline.GRACE: Event.GRACE_OVER, Deadline.RELEASE: Event.RELEASED, Deadline.LEASE: Event.ENDED}
    for state, stay in STAYS.items():
        for event in HOOK_RESULTS if stay.deadline is Deadline.HOOK else {expiry.get(stay.deadline, Event.STOP)}:
            if state not in FINAL:
                LEASE_LIFE.step(state, event)


def test_calls_are_accepted_only_during_a_lease() -> None:
    idle = {STAYS[state].status for state in (State.IDLE, *FINAL, *RELEASING)}
    assert not idle & ACCEPTS_CALLS
    assert STAYS[State.READY].status is STAYS[State.CLIENT_LOST].status is ExporterStatus.LEASE_READY


@given(st.lists(st.sampled_from(Event)))
def test_promises_on_every_way_through(events: list[Event]) -> None:
    """afterLease runs exactly once for each lease that became ready, and each lease is released exactly once."""
    state, seen, done = State.IDLE, {State.IDLE}, list[Effect]()
    for event in events:
        try:
            step = LEASE_LIFE.step(state, event)
        except NoTransition:
            continue
        state = step.state
        seen.add(state)
        done += step.effects
        assert done.count(Effect.RUN_AFTER_HOOK) <= 1
        assert done.count(Effect.RELEASE) <= 1
        if state in {State.IDLE, *FINAL} and Effect.RUN_BEFORE_HOOK in done:
            assert Effect.RELEASE in done
            assert (Effect.RUN_AFTER_HOOK in done) is not bool(seen & {State.REFUSED, State.REFUSED_FOR_GOOD})
            seen, done = {state}, []


def test_a_lost_board_is_safe_before_its_hook_runs() -> None:
    for event in (Event.GRACE_OVER, Event.STOP):
        assert LEASE_LIFE.step(State.CLIENT_LOST, event).effects == (Effect.MAKE_SAFE, Effect.RUN_AFTER_HOOK)


def test_the_diagram_shows_every_state() -> None:
    drawn = diagram()
    for state in State:
        assert f'"{state.name.lower().replace("_", " ")}"' in drawn
