"""Where the references between the entries of an exporter's file lead."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from jumpstarter.driver.tree import MAX_ENTRIES

from .document import KeyPath, Mistake
from .entries import FAULTY, Entry
from .suggestions import nearest, suggestion

# References one after the other on the way to one driver.
_MAX_FOLLOWED = 50


@dataclass(frozen=True)
class Place:
    """An entry of the tree and where the file has it."""

    path: KeyPath
    entry: Entry

    @property
    def names(self) -> tuple[str, ...]:
        """The names that lead to the entry."""
        return tuple(map(str, self.path[1::2]))

    @property
    def name(self) -> str:
        """The same, as a `ref` would have it."""
        return ".".join(self.names)

    def children(self) -> dict[str, Place]:
        """The entries that the file has below this one."""
        path = (*self.path, "children")
        return {name: Place((*path, name), child) for name, child in self.entry.children.items()}


class Nowhere(Exception):
    """A name on the way leads to no entry; `str()` tells which."""


class Lost(Nowhere):
    """So many references are on the way that it has no end."""


class References:
    """The entries of a file, by the names that references give them.

    `None` for a place: the file does not tell, as drivers may add children by themselves.
    """

    def __init__(self, entries: Mapping[str, Entry], path: KeyPath) -> None:
        self._top = {name: Place((*path, name), entry) for name, entry in entries.items()}
        self._found: dict[str, Place | Nowhere | None] = {}

    def driver(self, name: str) -> Place | None:
        """The entry at a dotted path, or the one it refers to in the end. Raises Nowhere."""
        place = self._find(name, 0)
        return None if place is None else self._behind(place, 0)

    def mistakes(self) -> Iterator[Mistake]:
        """References to nothing, into their own circle, and to more drivers than a tree can have."""
        drivers: dict[int, int] = {}
        for place in self._top.values():
            yield from self._walk(place, drivers)
        if sum(drivers[id(place.entry)] for place in self._top.values()) > MAX_ENTRIES:
            yield Mistake(("export",), f"its references make more than {MAX_ENTRIES} drivers of it")

    def _find(self, name: str, followed: int) -> Place | None:
        """The entry at a dotted path itself; references are followed on the way there only."""
        if name not in self._found:
            try:
                self._found[name] = self._search(name, followed)
            except Nowhere as error:
                self._found[name] = error
        found = self._found[name]
        if isinstance(found, Nowhere):
            raise found
        return found

    def _search(self, name: str, followed: int) -> Place | None:
        places, is_open = self._top, False
        *groups, last = name.split(".")
        for part in groups:
            if part not in places:
                break
            behind = self._behind(places[part], followed)
            if behind is None:
                return None
            places, is_open = behind.children(), behind.entry.type is not None
        else:
            part = last
        if part in places:
            return places[part]
        if is_open:
            return None
        raise Nowhere(f"there is no entry {part!r} on the way to {name!r}{suggestion(nearest(part, places)[:1])}")

    def _behind(self, place: Place, followed: int) -> Place | None:
        """The entry itself, or the one it refers to in the end."""
        found: Place | None = place
        while found is not None and found.entry.ref is not None:
            followed += 1
            if followed > _MAX_FOLLOWED:
                raise Lost(f"the references from {place.name!r} have no end")
            try:
                found = self._find(found.entry.ref, followed)
            except Lost:
                raise
            except Nowhere:  # told where that reference stands
                return None
        return None if found is None or found.entry is FAULTY else found

    def _walk(self, start: Place, drivers: dict[int, int]) -> Iterator[Mistake]:
        """Go through all that is below or behind an entry, each once; `drivers` counts what comes of each."""
        above: dict[int, tuple[Place, list[Place]]] = {}
        unseen = [iter([start])]
        while unseen:
            place = next(unseen[-1], None)
            if place is None:
                unseen.pop()
                if above:
                    done, (finished, following) = above.popitem()
                    itself = int(finished.entry.ref is None)
                    drivers[done] = itself + sum(drivers.get(id(one.entry), 0) for one in following)
            elif id(place.entry) in above:
                yield _circle([one for one, _ in above.values()], place)
            elif id(place.entry) not in drivers:
                try:
                    following = self._next(place)
                except Nowhere as error:
                    yield Mistake((*place.path, "ref"), str(error))
                    following = []
                above[id(place.entry)] = (place, following)
                unseen.append(iter(following))

    def _next(self, place: Place) -> list[Place]:
        """What becomes part of the tree along with an entry."""
        if place.entry.ref is None:
            return list(place.children().values())
        target = self._find(place.entry.ref, 0)
        return [] if target is None else [target]


def _circle(above: list[Place], again: Place) -> Mistake:
    """A circle is told at the last reference in it: children alone make none."""
    begin = next(number for number, place in enumerate(above) if place.entry is again.entry)
    circle = above[begin:]
    last = next(place for place in reversed(circle) if place.entry.ref is not None)
    names = " -> ".join(place.name for place in (*circle, again))
    return Mistake((*last.path, "ref"), f"goes round in a circle: {names}")
