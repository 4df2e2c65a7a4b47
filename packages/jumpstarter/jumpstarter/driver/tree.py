"""Walks over a driver tree: children first, one failure keeps no other driver from its turn."""

from __future__ import annotations

from jumpstarter.common.exceptions import ConfigurationError

from .base import Driver, Node, settle
from .workers import as_exception


def nodes(root: Driver) -> list[Node]:
    """Every (uuid, parent, name, driver) of the tree, parents first. ConfigurationError for a driver below itself."""
    _refuse_cycles(root, ())
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


def _refuse_cycles(driver: Driver, above: tuple[Driver, ...]) -> None:
    if any(driver is one for one in above):
        names = " -> ".join(type(one).__name__ for one in (*above, driver))
        raise ConfigurationError(f"driver {type(driver).__name__} is its own descendant: {names}")
    for child in driver.children.values():
        _refuse_cycles(child, (*above, driver))
