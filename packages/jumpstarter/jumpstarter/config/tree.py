"""From the entries of an exporter's file to a tree of drivers: all is checked before the first one is made."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from jumpstarter.common.exceptions import ConfigurationError
from jumpstarter.driver import Driver

from .document import Document, KeyPath, Mistake, dotted
from .registry import driver_class, nearest, suggestion
from .settings import check_config

if TYPE_CHECKING:
    from .exporter import ExporterConfigV1Alpha1DriverInstance as Entry

GROUP = "Composite"
REFERENCE = "Proxy"

logger = logging.getLogger(__name__)


def build_tree(entries: Mapping[str, Entry], description: str | None, document: Document | None) -> Driver:
    """A group of all entries. ConfigurationError for all mistakes, or for the first driver that cannot be made."""
    document = document or Document("exporter configuration")
    planner = _Planner(entries)
    children = {name: planner.plan(entry, ("export", name)) for name, entry in entries.items()}
    root = planner.group((), description, children)
    document.refuse(planner.mistakes)
    return root.make(document)


def build_entry(entry: Entry, document: Document | None) -> Driver:
    """One entry with all below it; the errors of `build_tree`."""
    document = document or Document("driver configuration")
    planner = _Planner(None)
    plan = planner.plan(entry, ())
    document.refuse(planner.mistakes)
    return plan.make(document)


def config_mistakes(entries: Mapping[str, Entry]) -> list[Mistake]:
    """What the drivers of some entries find wrong with their `config`."""
    planner = _Planner(None)
    for name, entry in entries.items():
        planner.plan(entry, ("export", name))
    return planner.mistakes


@dataclass
class _Plan:
    """A driver to be made, and those to be made before it."""

    path: KeyPath
    cls: type[Driver]
    arguments: dict[str, Any] = field(default_factory=dict)
    children: dict[str, _Plan] = field(default_factory=dict)

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
    """Finds the class of every entry and checks its `config`. `top`: what references count from, if known."""

    def __init__(self, top: Mapping[str, Entry] | None) -> None:
        self.mistakes: list[Mistake] = []
        self._top = top

    def plan(self, entry: Entry, path: KeyPath) -> _Plan:
        children = {name: self.plan(child, (*path, "children", name)) for name, child in entry.children.items()}
        if entry.ref is not None:
            self._check_reference(entry.ref, (*path, "ref"))
            return _Plan(path, self._class(REFERENCE, path), {"ref": entry.ref})
        if entry.type is None:
            return self.group(path, entry.description, children)
        cls = self._class(entry.type, (*path, "type"))
        arguments: dict[str, Any] = {}
        if cls is not Driver:
            arguments, mistakes = check_config(cls, entry.config, (*path, "config"))
            self.mistakes += mistakes
        given = {"description": entry.description, "methods_description": entry.methods_description}
        return _Plan(path, cls, arguments | {key: text for key, text in given.items() if text}, children)

    def group(self, path: KeyPath, description: str | None, children: dict[str, _Plan]) -> _Plan:
        arguments = {"description": description} if description else {}
        return _Plan(path, self._class(GROUP, path), arguments, children)

    def _class(self, reference: str, path: KeyPath) -> type[Driver]:
        """The class, or after a mistake `Driver`, which is never made."""
        try:
            cls = driver_class(reference)
        except ConfigurationError as error:
            self.mistakes.append(Mistake(path, str(error)))
            return Driver
        if inspect.isabstract(cls):
            missing = ", ".join(sorted(cls.__abstractmethods__))
            self.mistakes.append(Mistake(path, f"{reference} is only an interface: it does not implement {missing}"))
            return Driver
        return cls

    def _check_reference(self, ref: str, path: KeyPath) -> None:
        """Follow a reference as far as the file tells: drivers may add children by themselves."""
        entries = self._top
        for name in ref.split("."):
            if entries is None:
                return
            if name not in entries:
                near = suggestion(nearest(name, entries)[:1])
                self.mistakes.append(Mistake(path, f"there is no entry {name!r} on the way to {ref!r}{near}"))
                return
            entry = entries[name]
            entries = entry.children if entry.type is None and entry.ref is None else None


def _close(driver: Driver, path: KeyPath) -> None:
    try:
        driver.close()
    except Exception:
        logger.exception("closing %s (%s) failed", dotted(path), type(driver).__name__)
