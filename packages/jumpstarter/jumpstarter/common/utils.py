"""What scripts and tests start from: `serve` and `env`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jumpstarter.utils.env import env
from jumpstarter.utils.serving import serve, serve_async

if TYPE_CHECKING:
    from jumpstarter.common.shell import launch_shell

__all__ = ["env", "launch_shell", "serve", "serve_async"]


def __getattr__(name: str) -> Any:
    if name == "launch_shell":
        from jumpstarter.common.shell import launch_shell

        return launch_shell
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
