"""What the exporter's file says about a lease's edges: hooks, a lost client, repeated failures."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, field_validator

from .common import Strict
from .env import PATH
from .suggestions import nearest, suggestion

_INTERPRETERS = ("sh", "bash", "dash", "zsh", "fish", "ksh", "python3", "perl", "ruby", "node")


class HookInstanceConfigV1Alpha1(Strict):
    """A script around a lease.

    `script`: what to run: the script itself, or the path of a file.
    `exec`: the interpreter, by default /bin/sh.
    `timeout`: seconds.
    `onFailure`: what a failure leads to: warn and go on, end the lease, or end the exporter.
    """

    script: str
    exec: str | None = None
    timeout: int = Field(default=120, gt=0)
    on_failure: Literal["warn", "endLease", "exit"] = Field(default="warn", alias="onFailure")

    @field_validator("script", "exec")
    @classmethod
    def _not_empty(cls, text: str | None) -> str | None:
        if text is not None and not text.strip():
            raise ValueError("expected some text, this is empty")
        return text


class HookConfigV1Alpha1(Strict):
    """The scripts around a lease.

    `beforeLease`: before the first client's calls are accepted.
    `afterLease`: at the end, also of a lease that has failed.
    """

    before_lease: HookInstanceConfigV1Alpha1 | None = Field(default=None, alias="beforeLease")
    after_lease: HookInstanceConfigV1Alpha1 | None = Field(default=None, alias="afterLease")


class FailureDetectionConfigV1Alpha1(Strict):
    """When an exporter that fails again and again gives up.

    `maxRapidFailures`: so many failures in a row.
    `rapidFailureWindow`: seconds from a start within which a failure counts.
    """

    max_rapid_failures: int = Field(default=5, ge=0, alias="maxRapidFailures")
    rapid_failure_window: int = Field(default=60, ge=0, alias="rapidFailureWindow")


def _check_call(call: str) -> str:
    parts = call.split(".")
    if len(parts) < 2 or not all(parts):
        raise ValueError(f"expected <path in the tree>.<method>, such as power.off, got {call!r}")
    return call


class ClientLostConfigV1Alpha1(Strict):
    """What leaves the board safe when a client is gone without a word.

    `run`: driver methods to call in this order, each as `<path in the tree>.<method>`. `grace`: seconds before that.
    """

    run: list[Annotated[str, AfterValidator(_check_call)]] = Field(default_factory=list)
    grace: float = Field(default=10, ge=0, allow_inf_nan=False)


def missing_interpreter(program: str) -> str | None:
    """What to say of a hook's `exec` that is not on this machine; None where it is."""
    find = _finder()
    if find(program):
        return None
    directory, _, name = program.rpartition("/")
    here = find(name)
    near = [here] if here else [] if directory else nearest(name, filter(find, _INTERPRETERS))[:1]
    return f"there is no program {program!r} on this machine{suggestion(near)}"


def _finder() -> Callable[[str], str | None]:
    """Finds a program where a hook would."""
    import shutil

    from jumpstarter.exporter.hooks import hook_variables

    return partial(shutil.which, path=hook_variables("")[PATH])
