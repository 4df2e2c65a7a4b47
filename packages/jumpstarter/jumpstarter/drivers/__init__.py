"""The front door to installed drivers: `jumpstarter.drivers.<Name>` is the class that a package offers as `<Name>`."""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    if name.startswith("_"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from jumpstarter.config import registry

    installed = {offer.name for offer in registry.offers()}
    if name not in installed:
        raise AttributeError(registry.not_installed(name))
    found = registry.driver_class(name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    from jumpstarter.config import registry

    return sorted({offer.name for offer in registry.offers()} | {"mixins"})
