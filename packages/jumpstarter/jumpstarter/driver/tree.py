"""Walks over a driver tree: children first, one failure keeps no other driver from its turn."""

from __future__ import annotations

from jumpstarter.common.exceptions import ConfigurationError

from .base import Driver, Node, settle
from .workers import as_exception

# Levels of a tree, far below what Python's own stack allows to the walks here and in clients.
MAX_DEPTH = 512
# Nodes of a tree, a driver counted once for each way that leads to it.
MAX_ENTRIES = 100_000


def nodes(root: Driver) -> list[Node]:
    """Every (uuid, parent, name, driver) of the tree, parents first.

    ConfigurationError for a driver below itself, and for a tree of more than MAX_DEPTH levels or MAX_ENTRIES nodes.
    """
    _check_shape(root)
    return root.enumerate()


def close_tree(root: Driver) -> list[Exception]:
    """Close every driver once, children first. Blocking. The errors, each with a note that names the driver."""
    return _walk(root, "close")


def reset_tree(root: Driver) -> list[Exception]:
    """Reset every driver once, children first. Blocking. The errors, each with a note that names the driver."""
    return _walk(root, "reset")


def _walk(root: Driver, method: str) -> list[Exception]:
    drivers: list[tuple[str, Driver]] = []
    _children_first(root, "root", drivers, set())
    errors = []
    for _, driver in drivers:
        settle(driver, method, False)
    for path, driver in drivers:
        try:
            getattr(driver, method)()
        except BaseException as raised:  # an exit, too, has to wait until every driver had its turn
            error = as_exception(raised)
            error.add_note(f"while calling {method}() of driver {path} ({type(driver).__name__})")
            errors.append(error)
        settle(driver, method, True)
    for _, driver in drivers:
        settle(driver, method, False)
    return errors


def _children_first(driver: Driver, path: str, found: list[tuple[str, Driver]], seen: set[int]) -> None:
    if id(driver) in seen:
        return
    seen.add(id(driver))
    for name, child in driver.children.items():
        _children_first(child, name if path == "root" else f"{path}.{name}", found, seen)
    found.append((path, driver))


def _check_shape(root: Driver) -> None:
    """Refuse what `nodes` does; each driver is looked at once, however many ways lead to it."""
    above = [root]
    unseen = [iter(root.children.values())]
    # The number of levels from a driver down, known once all below it is.
    levels: dict[int, int] = {}
    # What it and all below it become in a report: one that is shared is told once for each way to it.
    entries: dict[int, int] = {}
    while above:
        child = next(unseen[-1], None)
        if child is None:
            done = above.pop()
            unseen.pop()
            levels[id(done)] = 1 + max((levels[id(one)] for one in done.children.values()), default=0)
            entries[id(done)] = 1 + sum(entries[id(one)] for one in done.children.values())
        elif any(child is one for one in above):
            names = " -> ".join(type(one).__name__ for one in (*above, child))
            raise ConfigurationError(f"driver {type(child).__name__} is its own descendant: {names}")
        elif len(above) + levels.get(id(child), 1) > MAX_DEPTH:
            raise ConfigurationError(f"the driver tree is deeper than {MAX_DEPTH} levels, at {type(child).__name__}")
        elif id(child) not in levels:
            above.append(child)
            unseen.append(iter(child.children.values()))
    if entries[id(root)] > MAX_ENTRIES:
        raise ConfigurationError(
            f"{entries[id(root)]} ways lead to the drivers of this tree, more than {MAX_ENTRIES}: share fewer of them"
        )
