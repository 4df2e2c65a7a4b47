"""From the entries of an exporter's file to a tree of drivers: all is checked before the first one is made."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from jumpstarter.common.exceptions import ConfigurationError
from jumpstarter.driver import Driver

from .document import Document, KeyPath, Mistake, dotted
from .entries import FAULTY, Entry
from .references import References
from .registry import driver_class
from .settings import check_config

GROUP = "Composite"
REFERENCE = "Proxy"

logger = logging.getLogger(__name__)


def plan_tree(entries: Mapping[str, Entry], description: str | None = None) -> tuple[Plan, list[Mistake]]:
    """How to make a group of all entries, and what is wrong with them."""
    planner = _Planner()
    children = {name: planner.plan(entry, ("export", name)) for name, entry in entries.items()}
    root = planner.group((), description, children)
    return root, [*planner.mistakes, *References(entries, ("export",)).mistakes()]


def build_entry(entry: Entry, document: Document | None) -> Driver:
    """One entry with all below it. ConfigurationError for all mistakes, or for the first driver that does not start."""
    document = document or Document("driver configuration")
    planner = _Planner()
    plan = planner.plan(entry, ())
    document.refuse(planner.mistakes)
    return plan.make(document)


@dataclass
class Plan:
    """A driver to be made, and those to be made before it."""

    path: KeyPath
    cls: type[Driver]
    arguments: dict[str, Any] = field(default_factory=dict)
    children: dict[str, Plan] = field(default_factory=dict)

    def make(self, document: Document) -> Driver:
        """The driver; on failure its children are closed again."""
        constructor: Callable[..., Driver] = self.cls
        with ExitStack() as undo:
            children = {}
            for name, plan in self.children.items():
                children[name] = plan.make(document)
                undo.callback(_close, children[name], plan.path)
            try:
                driver = constructor(**self.arguments, **({"children": children} if children else {}))
            except Exception as error:
                raise self._explain(error, document) from error
            undo.pop_all()
            return driver

    def _explain(self, error: Exception, document: Document) -> ConfigurationError:
        line, column = document.position(self.path)
        place = f"{document.source}:{line}:{column}: {dotted(self.path) or 'the root'}"
        kind = "" if isinstance(error, ConfigurationError) else f" ({type(error).__name__})"
        return ConfigurationError(f"{place}: {self.cls.__name__} did not start{kind}")


class _Planner:
    """Finds the class of every entry and checks its `config`."""

    def __init__(self) -> None:
        self.mistakes: list[Mistake] = []
        self._classes: dict[str, type[Driver] | str] = {}

    def plan(self, entry: Entry, path: KeyPath) -> Plan:
        if entry is FAULTY:
            return self.group(path, None, {})
        children = {name: self.plan(child, (*path, "children", name)) for name, child in entry.children.items()}
        if entry.ref is not None:
            return Plan(path, self._class(REFERENCE, path), {"ref": entry.ref})
        if entry.type is None:
            return self.group(path, entry.description, children)
        cls = self._class(entry.type, (*path, "type"))
        arguments: dict[str, Any] = {}
        if cls is not Driver:
            arguments, mistakes = check_config(cls, entry.config, (*path, "config"))
            self.mistakes += mistakes
        given = {"description": entry.description, "methods_description": entry.methods_description}
        return Plan(path, cls, arguments | {key: text for key, text in given.items() if text}, children)

    def group(self, path: KeyPath, description: str | None, children: dict[str, Plan]) -> Plan:
        arguments = {"description": description} if description else {}
        return Plan(path, self._class(GROUP, path), arguments, children)

    def _class(self, reference: str, path: KeyPath) -> type[Driver]:
        """The class, or after a mistake `Driver`, which is never made."""
        if reference not in self._classes:
            self._classes[reference] = _find_class(reference)
        found = self._classes[reference]
        if isinstance(found, str):
            self.mistakes.append(Mistake(path, found))
            return Driver
        return found


def _find_class(reference: str) -> type[Driver] | str:
    """A driver class that can be made, or why there is none."""
    try:
        cls = driver_class(reference)
    except ConfigurationError as error:
        return str(error)
    if inspect.isabstract(cls):
        missing = ", ".join(sorted(cls.__abstractmethods__))
        return f"{reference} is only an interface: it does not implement {missing}"
    return cls


def _close(driver: Driver, path: KeyPath) -> None:
    try:
        driver.close()
    except Exception:
        logger.exception("closing %s (%s) failed", dotted(path), type(driver).__name__)
