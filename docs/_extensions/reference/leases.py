"""The life of a lease, from the table that the exporter runs."""

from __future__ import annotations

import shutil
from enum import Enum

from jumpstarter.exporter.lease_life import FINAL, LEASE_LIFE, STAYS, Deadline, State, Stay
from jumpstarter.exporter.lease_life import diagram as digraph

from .markdown import code, table

DEADLINES = {
    Deadline.HOOK: "the hook's `timeout`",
    Deadline.LEASE: "the end of the lease",
    Deadline.GRACE: "`clientLost.grace`",
    Deadline.RELEASE: "30 s",
    Deadline.REST: "nothing",
}


def diagram() -> str:
    """A drawing of the table, where Graphviz is installed."""
    if shutil.which("dot") is None:
        return ""
    return f"```{{graphviz}}\n:alt: States of a lease; the table below tells the same\n\n{digraph()}\n```"


def states() -> str:
    """What clients see of each state, and what bounds the stay in it."""
    rows = ([words(state), code(stay.status.name), stay.message, ending(state, stay)] for state, stay in STAYS.items())
    return table(["state", "status", "message", "ends at the latest with"], rows)


def ending(state: State, stay: Stay) -> str:
    return "it is final" if state in FINAL else DEADLINES[stay.deadline]


def steps() -> str:
    """Every step that changes something."""
    rows = (
        [words(state), words(event), words(step.state), ", ".join(map(words, step.effects))]
        for state, event, step in LEASE_LIFE
        if step.state is not state or step.effects
    )
    return table(["in state", "on", "goes to", "and does"], rows)


def words(member: Enum) -> str:
    return member.name.lower().replace("_", " ")
