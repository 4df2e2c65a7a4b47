"""Drivers that only arrange others: a group of them, and a second name for one."""

from contextvars import ContextVar
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any
from uuid import UUID

from jumpstarter.common.exceptions import ConfigurationError
from jumpstarter.driver import Driver
from jumpstarter_protocol.jumpstarter.v1.jumpstarter_pb2 import DriverInstanceReport

Node = tuple[UUID, Driver | None, str | None, Driver]

# The proxies whose targets are being listed at this moment, outermost first.
_listing: ContextVar[tuple["Proxy", ...]] = ContextVar("proxies_listing", default=())


class CompositeInterface:
    """For driver authors: stands left of `Driver` in the bases of a driver whose client is its children."""

    @classmethod
    def client(cls) -> str:
        """The full import path of the client class."""
        return "jumpstarter_driver_composite.client.CompositeClient"


@dataclass(kw_only=True)
class Composite(CompositeInterface, Driver):
    """Nothing but its children."""


@dataclass(kw_only=True)
class Proxy(Driver):
    """Stands for another driver of the tree.

    `ref`: its dotted path from the root of the tree, such as `board.power`.

    Clients see the target itself under a second name. On the exporter its attributes are the target's, once the tree
    has been listed; closing and resetting are left to the target's own place in the tree.
    """

    ref: str
    _target: Driver | None = field(init=False, repr=False, default=None)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.ref, str) or not all(self.ref.split(".")):
            raise ConfigurationError(f"proxy: ref must be a dotted path such as board.power, not {self.ref!r}")
        if self.children:
            raise ConfigurationError(f"proxy for {self.ref!r}: a proxy has no children of its own")

    @classmethod
    def client(cls) -> str:
        """That of any driver; clients are told the target's instead."""
        return "jumpstarter.client.DriverClient"

    def enumerate(
        self, *, root: Driver | None = None, parent: Driver | None = None, name: str | None = None
    ) -> list[Node]:
        """The target and all below it, under this parent and name. ConfigurationError when `ref` leads nowhere."""
        if root is None or root is self:
            raise ConfigurationError(f"proxy for {self.ref!r}: the root of a tree cannot be a proxy")
        listing = _listing.get()
        self._refuse_circle(listing, name)
        self._target = self._resolve(root, name, ())
        token = _listing.set((*listing, self))
        try:
            return self._target.enumerate(root=root, parent=parent, name=name)
        finally:
            _listing.reset(token)

    def report(self, *, parent: Driver | None = None, name: str | None = None) -> DriverInstanceReport:
        """The target's report, under this parent and name."""
        return self._resolved().report(parent=parent, name=name)

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith("__"):
            raise AttributeError(attribute)
        return getattr(self._resolved(), attribute)

    def _resolved(self) -> Driver:
        if self._target is None:
            raise AttributeError(f"proxy for {self.ref!r}: not resolved yet; enumerate() of the tree's root does that")
        return self._target

    def _resolve(self, root: Driver, name: str | None, followed: tuple["Proxy", ...]) -> Driver:
        """The driver at `ref`, through other proxies; `followed` are those that led here."""
        self._refuse_circle(followed, name)
        target, passed = root, ""
        for part in self.ref.split("."):
            child = target.children.get(part)
            if child is None:
                raise ConfigurationError(f"proxy {name!r}: ref {self.ref!r}: {_missing(part, passed, target)}")
            if isinstance(child, Proxy):
                child = child._resolve(root, part, (*followed, self))
            target, passed = child, f"{passed}.{part}".lstrip(".")
        return target

    def _refuse_circle(self, entered: tuple["Proxy", ...], name: str | None) -> None:
        if any(proxy is self for proxy in entered):
            path = " -> ".join(proxy.ref for proxy in (*entered, self))
            raise ConfigurationError(f"proxy {name!r}: ref {self.ref!r} leads back to the proxy itself: {path}")


def _missing(part: str, passed: str, parent: Driver) -> str:
    where = repr(passed) if passed else "the root"
    near = get_close_matches(part, parent.children, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    names = ", ".join(map(repr, parent.children)) or "none"
    return f"{where} has no child {part!r}{hint} (children: {names})"
