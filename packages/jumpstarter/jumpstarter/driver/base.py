"""`Driver`: one device, and the tree below it."""

from __future__ import annotations

import logging
from abc import ABCMeta, abstractmethod
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from uuid import UUID

from anyio.abc import ObjectStream
from jumpstarter_protocol.jumpstarter.v1.jumpstarter_pb2 import DriverInstanceReport
from pydantic import ConfigDict

from jumpstarter.common.exceptions import ConfigurationError
from jumpstarter.common.metadata import CLIENT_LABEL, NAME_LABEL, Metadata

from .resources import RESOURCE_SECONDS, open_resource

Node = tuple[UUID, "Driver | None", "str | None", "Driver"]


@dataclass(kw_only=True)
class Driver(Metadata, metaclass=ABCMeta):
    """Base of all drivers; subclasses are keyword-only dataclasses that add fields of their own.

    `children`: the drivers below this one, by name.
    `description`, `methods_description`: help texts that the exporter's owner gives; clients show them.
    `log_level`: of this driver's `logger`.
    `resources`: what clients have opened for this driver; read it through `resource()`.

    A driver may export `probe()`, without arguments, which `jmp exporter check --probe` calls: it finds out whether the
    device answers, changes nothing, and returns what to show, or raises.
    """

    # For subclasses that are pydantic dataclasses.
    __pydantic_config__ = ConfigDict(arbitrary_types_allowed=True)

    children: dict[str, Driver] = field(default_factory=dict)
    resources: dict[UUID, Any] = field(default_factory=dict, init=False, repr=False)
    description: str | None = None
    methods_description: dict[str, str] = field(default_factory=dict)
    log_level: str = "INFO"

    def __post_init__(self) -> None:
        """Subclasses that define their own call this one first."""

    @cached_property
    def logger(self) -> logging.Logger:
        """The logger `driver.<class>`; clients see its records."""
        logger = logging.getLogger(f"driver.{type(self).__name__}")
        logger.setLevel(self.log_level)
        return logger

    @classmethod
    @abstractmethod
    def client(cls) -> str:
        """The full import path of the client class."""

    def extra_labels(self) -> dict[str, str]:
        """Labels a subclass adds to its report."""
        return {}

    def close(self) -> None:
        """Release the device. Called in a worker thread; children first. Overriders call `super().close()`."""
        _each_child(self, "close")

    def reset(self) -> None:
        """Return to the state after construction. Called in a worker thread when a session starts; children first."""
        _each_child(self, "reset")

    def enumerate(
        self, *, root: Driver | None = None, parent: Driver | None = None, name: str | None = None
    ) -> list[Node]:
        """(uuid, parent, name, driver) of this driver and all below it, parents before their children."""
        root = self if root is None else root
        nodes: list[Node] = [(self.uuid, parent, name, self)]
        for child_name, child in self.children.items():
            nodes.extend(child.enumerate(root=root, parent=self, name=child_name))
        return nodes

    def report(self, *, parent: Driver | None = None, name: str | None = None) -> DriverInstanceReport:
        """What a client is told of this driver; ConfigurationError names a label or help text that is no text."""
        labels = {**self.labels, **self.extra_labels(), CLIENT_LABEL: self.client()}
        if name is not None:
            labels[NAME_LABEL] = name
        self._check_texts("label", labels)
        self._check_texts("methods_description", self.methods_description)
        return DriverInstanceReport(
            uuid=str(self.uuid),
            parent_uuid=None if parent is None else str(parent.uuid),
            labels=labels,
            description=self.description or None,
            methods_description=self.methods_description,
        )

    def _check_texts(self, what: str, texts: Mapping[str, str]) -> None:
        for key, value in texts.items():
            if not isinstance(key, str) or not isinstance(value, str):
                raise ConfigurationError(
                    f"driver {type(self).__name__}: {what} {key!r} must be text with a text as its value, got {value!r}"
                )

    @asynccontextmanager
    async def resource(self, handle: Any, timeout: float = RESOURCE_SECONDS) -> AsyncGenerator[ObjectStream[bytes]]:
        """Open what a client passed as `handle`: a file or stream of its own, or a URL that the exporter
        fetches or fills.

        `timeout`: seconds a URL transfer may take in all. ValueError for a handle that is malformed, unknown, or was
        opened before.
        """
        async with open_resource(self.resources, handle, timeout) as stream:
            yield stream


def _each_child(driver: Driver, method: str) -> None:
    run_each([getattr(child, method) for child in driver.children.values() if not is_settled(child, method)], method)


def run_each(actions: list[Callable[[], None]], what: str) -> None:
    """Run every action, whatever the others do; the one error, or an ExceptionGroup of all, afterwards."""
    errors = []
    for action in actions:
        try:
            action()
        except Exception as error:
            errors.append(error)
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise ExceptionGroup(f"{what} failed for {len(errors)} drivers", errors)


def settle(driver: Driver, method: str, done: bool) -> None:
    """Note that a walk over the tree has called `method` already, so that `super().close()` does not do so again."""
    driver.__dict__[f"_{method}_done"] = done


def is_settled(driver: Driver, method: str) -> bool:
    """Whether a walk has called `method` on `driver`."""
    return bool(driver.__dict__.get(f"_{method}_done", False))
