"""Libraries that only some installations need."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def require(module: str, extra: str) -> Any:
    """Import `module`; ImportError saying how to install it where it is absent."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module.partition(".")[0]:
            raise
        raise ImportError(f"{error.name} is not installed: pip install 'jumpstarter-driver-network[{extra}]'") from None
