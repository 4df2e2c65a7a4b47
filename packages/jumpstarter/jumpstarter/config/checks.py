"""What is wrong with an exporter's file as a whole: its tree, and what it wants to run on it. No driver is made."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from pydantic import ValidationError

from jumpstarter.common.exceptions import ConfigurationError
from jumpstarter.driver import Driver
from jumpstarter.driver.decorators import MARKER_DRIVERCALL, is_marked

from .document import KeyPath, Mistake
from .entries import FAULTY, Entry
from .hooks import ClientLostConfigV1Alpha1, missing_interpreter
from .references import Nowhere, References
from .registry import driver_class
from .suggestions import nearest, suggestion
from .tree import plan_tree


def mistakes_around(
    entries: Mapping[str, Entry], interpreters: Mapping[str, str], calls: Mapping[int, str]
) -> list[Mistake]:
    """Mistakes in the interpreters of hooks, by the hook's key, and in the calls that a lost client leads to."""
    references = References(entries, ("export",))
    texts: dict[KeyPath, str | None] = {
        ("hooks", key, "exec"): missing_interpreter(program) for key, program in interpreters.items()
    }
    texts |= {("clientLost", "run", number): _call_mistake(call, references) for number, call in calls.items()}
    return [Mistake(path, text) for path, text in texts.items() if text is not None]


def mistakes_of_faulty(value: Any) -> list[Mistake]:
    """The same and those of the tree, for those parts of a faulty file's value that are sound by themselves."""
    value = value if isinstance(value, dict) else {}
    entries = _sound_entries(value.get("export"))
    interpreters = {
        key: text
        for key, hook in _children(value.get("hooks"))
        for name, text in _children(hook)
        if name == "exec" and isinstance(text, str) and text.strip()
    }
    return plan_tree(entries)[1] + mistakes_around(entries, interpreters, _sound_calls(value.get("clientLost")))


def _sound_calls(value: Any) -> dict[int, str]:
    """The calls after the loss of a client that can be ones, by their place in the list."""
    calls = next((calls for key, calls in _children(value) if key == "run"), None)
    found = {}
    for number, call in enumerate(calls if isinstance(calls, list) else []):
        with suppress(ValidationError):
            found[number] = ClientLostConfigV1Alpha1(run=[call]).run[0]
    return found


def _sound_entries(value: Any) -> dict[str, Entry]:
    """The entries at one level; one that is wrong by itself is FAULTY, but its name is known."""
    return {name: _sound_entry(entry) for name, entry in _children(value)}


def _children(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        yield from ((name, child) for name, child in value.items() if isinstance(name, str))


def _sound_entry(value: Any) -> Entry:
    with suppress(ValidationError):
        return Entry.model_validate(value)
    if isinstance(value, dict) and isinstance(value.get("children"), dict):
        with suppress(ValidationError):
            alone = Entry.model_validate(value | {"children": {}})
            return alone.model_copy(update={"children": _sound_entries(value["children"])})
    return FAULTY


def _call_mistake(call: str, references: References) -> str | None:
    """What is wrong with `path.in.the.tree.method`, as far as the file tells."""
    path, _, method = call.rpartition(".")
    try:
        place = references.driver(path)
    except Nowhere as error:
        return str(error)
    if place is None:
        return None
    if place.entry.type is None:
        return f"{path!r} is a group, which has no methods: name one of its drivers"
    try:
        return _method_mistake(driver_class(place.entry.type), path, method)
    except ConfigurationError:  # told where the type stands
        return None


def _method_mistake(cls: type[Driver], path: str, name: str) -> str | None:
    known = [one for one in dir(cls) if is_marked(inspect.getattr_static(cls, one), MARKER_DRIVERCALL)]
    if name not in known:
        near = suggestion(nearest(name, known)[:1]) or f"; there are: {', '.join(known) or 'none'}"
        return f"{path!r} ({cls.__name__}) exports no driver call {name!r}{near}"
    parameters = list(inspect.signature(getattr(cls, name)).parameters.values())[1:]
    needed = [p.name for p in parameters if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    return f"{path}.{name} needs arguments ({', '.join(needed)}), none can be given here" if needed else None
