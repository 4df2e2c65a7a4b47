"""Trying the drivers of an exporter's file, each on its own, against the clock."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from typing import TYPE_CHECKING, Any, Literal

from .probe_process import Result, run

if TYPE_CHECKING:
    from jumpstarter.config.entries import Entry
    from jumpstarter.config.exporter import ExporterConfigV1Alpha1

# For a process to start and import what the drivers need, and to close its driver when it is told to end.
_START_SECONDS = 60.0
_CLOSE_SECONDS = 5.0

Status = Literal["group", "not probed", "ok", "error", "skipped"]
Names = tuple[str, ...]


@dataclass(frozen=True)
class Row:
    """One entry of the tree. `detail`: what the driver answered, or why there is no answer."""

    names: Names
    type: str
    client: str | None
    status: Status
    detail: str | None = None

    @property
    def path(self) -> str:
        """The names with dots between them."""
        return ".".join(self.names)

    @property
    def failed(self) -> bool:
        """Whether the entry has a driver that does not work, or that was not tried because of another one."""
        return self.status in ("error", "skipped")


def listed(config: ExporterConfigV1Alpha1) -> list[Row]:
    """All entries of the file, parents first; nothing is tried."""
    return [_row(names, entry) for names, entry in _walk(config.export, ())]


def probed(config: ExporterConfigV1Alpha1, seconds: float) -> list[Row]:
    """All entries of the file, each with what came of it. A driver below another one is tried before it.

    `seconds`: for each step of each driver.
    """
    from jumpstarter.config.references import References

    entries = dict(_walk(config.export, ()))
    rows = {names: _row(names, entry) for names, entry in entries.items()}
    for names, entry in reversed(entries.items()):
        row = rows[names]
        if entry.type is None or row.failed:
            continue
        below = (one for one in rows.values() if one.names[: len(names)] == names and one is not row)
        failed = next((one for one in below if one.failed), None)
        if failed is not None:
            rows[names] = replace(row, status="skipped", detail=f"not tried: {failed.path} below it failed")
        else:
            rows[names] = _outcome(row, _probe(config, names, seconds))
    references = References(config.export, ("export",))
    for names, entry in entries.items():
        if entry.ref is not None:
            place = references.driver(entry.ref)
            rows[names] = replace(rows[names], **_of_target(rows.get(place.names) if place else None))
    return list(rows.values())


def _walk(entries: Mapping[str, Entry], above: Names) -> Iterator[tuple[Names, Entry]]:
    """All entries with the names that lead to them, parents first."""
    for name, entry in entries.items():
        yield (*above, name), entry
        yield from _walk(entry.children, (*above, name))


def _row(names: Names, entry: Entry) -> Row:
    """What there is to say of an entry before it is tried."""
    from jumpstarter.common.exceptions import ConfigurationError
    from jumpstarter.config.registry import driver_class

    from .driver.describe import client_of

    if entry.ref is not None:
        return Row(names, f"-> {entry.ref}", None, "not probed")
    if entry.type is None:
        return Row(names, "(group)", None, "group")
    try:
        return Row(names, entry.type, client_of(driver_class(entry.type)), "not probed")
    except ConfigurationError as error:
        return Row(names, entry.type, None, "error", str(error))


def _outcome(row: Row, result: Result) -> Row:
    """A row with what its probe has found."""
    if result.error is not None:
        return replace(row, status="error", detail=result.error)
    return replace(row, status="ok", client=result.client or row.client, detail=result.answer)


def _of_target(target: Row | None) -> dict[str, Any]:
    """What a reference has from the entry it leads to; one that a driver made by itself is not in the file."""
    if target is None:
        return {"status": "ok", "detail": "made by the driver above it"}
    if target.failed:
        return {"client": target.client, "status": "error", "detail": f"{target.path} failed"}
    return {"client": target.client, "status": target.status}


def _probe(config: ExporterConfigV1Alpha1, names: Names, seconds: float) -> Result:
    """Try one driver in a process of its own, which can hang or crash by itself."""
    # Those that stand in for closed ones too: without them, the pipes of multiprocessing would get their numbers.
    for stream in range(3):
        os.set_inheritable(stream, True)
    context = get_context("forkserver")
    context.set_forkserver_preload([run.__module__])
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=run, args=(sender, _needed(config.export, names), names))
    process.start()
    sender.close()
    done = False
    step, allowed = "starting a process for it", _START_SECONDS
    try:
        while receiver.poll(allowed):
            message = receiver.recv()
            if isinstance(message, Result):
                done = True
                return message
            step, allowed = message, seconds
        return Result(error=f"{step}: no end within {allowed:g} s")
    except EOFError:
        process.join(_CLOSE_SECONDS)
        return Result(error=f"{step}: its process ended {_ending(process.exitcode)}")
    finally:
        receiver.close()
        _end(process, done)


def _needed(entries: Mapping[str, Entry], path: Names) -> dict[str, Entry]:
    """The entries for a tree with one driver in it, in its place: the driver, and what references below it lead to."""
    from jumpstarter.config.entries import Entry

    kept: dict[Names, Entry] = {}
    waiting = [path]
    while waiting:
        place, entry = _follow(entries, waiting.pop())
        if place not in kept:
            kept[place] = entry
            waiting += _references(entry)
    tree: dict[str, Entry] = {}
    for place, entry in sorted(kept.items(), key=lambda one: len(one[0])):
        level = tree
        for name in place[:-1]:
            level = level.setdefault(name, Entry(children={})).children
        level.setdefault(place[-1], entry)
    return tree


def _follow(entries: Mapping[str, Entry], path: Names) -> tuple[Names, Entry]:
    """The last entry on a path that the file has, and its place; references are not followed."""
    place, entry = path[:1], entries[path[0]]
    for name in path[1:]:
        if entry.ref is not None or name not in entry.children:
            break
        place, entry = (*place, name), entry.children[name]
    return place, entry


def _references(entry: Entry) -> Iterator[Names]:
    """The paths that an entry and those below it refer to."""
    if entry.ref is not None:
        yield tuple(entry.ref.split("."))
    for child in entry.children.values():
        yield from _references(child)


def _end(process: BaseProcess, done: bool) -> None:
    """See a probe to its end: by itself where it is `done`, else with a signal, and with all that it has started."""
    if not done:
        process.terminate()
    process.join(_CLOSE_SECONDS)
    if not done or process.exitcode is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid or 0, signal.SIGKILL)
        process.kill()
        process.join()


def _ending(code: int | None) -> str:
    if code is not None and code < 0:
        return f"by {signal.Signals(-code).name}"
    return f"with exit code {code}"
