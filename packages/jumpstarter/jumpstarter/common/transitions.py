"""A life cycle as a table: (state, event) -> (next state, effects). The table does nothing itself.

Whoever owns one performs the effects, and feeds what comes of them back as events. A pair that the table does not have
is a fault in the program, never something to be passed over.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Generic, NamedTuple, TypeVar

S = TypeVar("S", bound=Enum)
E = TypeVar("E", bound=Enum)
F = TypeVar("F", bound=Enum)

_LINE_BREAK = r"\n"


class Step(NamedTuple, Generic[S, F]):
    """Where an event leads, and what is to be done on the way, in order."""

    state: S
    effects: tuple[F, ...] = ()


class NoTransition(Exception):
    """An event came in a state that has no place for it."""

    def __init__(self, state: Enum, event: Enum) -> None:
        super().__init__(f"nothing is known to follow from {event.name} in state {state.name}")
        self.state = state
        self.event = event


class Transitions(Generic[S, E, F]):
    """The steps of one life cycle."""

    def __init__(self, table: Mapping[S, Mapping[E, Step[S, F]]]) -> None:
        self._table = table

    def __iter__(self) -> Iterator[tuple[S, E, Step[S, F]]]:
        for state, steps in self._table.items():
            for event, step in steps.items():
                yield state, event, step

    def step(self, state: S, event: E) -> Step[S, F]:
        """What follows from `event` in `state`; NoTransition, naming both, where nothing does."""
        try:
            return self._table[state][event]
        except KeyError:
            raise NoTransition(state, event) from None

    def dot(self, name: str) -> str:
        """The life cycle as a Graphviz digraph; events that lead from one state to another share an arrow."""
        arrows: dict[tuple[S, S], list[str]] = {}
        for state, event, step in self:
            if step.state is state and not step.effects:
                continue  # a late event that changes nothing
            effects = ", ".join(_words(effect) for effect in step.effects)
            label = _words(event) + (f" / {effects}" if effects else "")
            arrows.setdefault((state, step.state), []).append(label)
        lines = [
            f'  "{_words(here)}" -> "{_words(there)}" [label="{_LINE_BREAK.join(labels)}"];'
            for (here, there), labels in arrows.items()
        ]
        return "\n".join([f"digraph {name} {{", "  node [shape=box, style=rounded];", *lines, "}"])


def _words(member: Enum) -> str:
    return member.name.lower().replace("_", " ")
