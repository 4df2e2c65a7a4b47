"""Performs the life of leases on a session: runs hooks, tells the status, and turns what happens into events."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from jumpstarter.common.enums import HOOK_WARNING_PREFIX, LogSource

from .lease_life import FINAL, LEASE_LIFE, STAYS, Deadline, Effect, Event, State

if TYPE_CHECKING:
    from .hooks import Hook, HookFailed
    from .session import Session
    from .supervisor import Link

logger = logging.getLogger(__name__)

# Beyond a hook's own time-out, for ending its processes, in seconds.
_HOOK_MARGIN = 15.0
_RELEASE_SECONDS = 30.0
# Each of the calls that make the board safe.
_SAFE_SECONDS = 30.0

_LOGGERS = {"beforeLease": LogSource.BEFORE_LEASE_HOOK, "afterLease": LogSource.AFTER_LEASE_HOOK}
_FAILED = {
    "warn": Event.HOOK_FAILED_WARN,
    "endLease": Event.HOOK_FAILED_END_LEASE,
    "exit": Event.HOOK_FAILED_EXIT,
}
_WORK = frozenset({Effect.RUN_BEFORE_HOOK, Effect.RUN_AFTER_HOOK, Effect.MAKE_SAFE, Effect.RELEASE})


async def _no_release() -> None:
    """For leases that nobody but the exporter knows of."""


@dataclass(frozen=True, kw_only=True)
class LeaseTerms:
    """What an exporter does around its leases.

    `hook_host`: the Unix socket for hooks. `safe_calls`: what leaves the board safe, by name, when its client is lost;
    `grace`: seconds a lost client has to come back.
    """

    before: Hook | None = None
    after: Hook | None = None
    hook_host: str = ""
    safe_calls: dict[str, Callable[[], Awaitable[object]]] = field(default_factory=dict)
    grace: float = 10.0

    @property
    def heed_clients(self) -> bool:
        """Whether it matters that a client is gone."""
        return bool(self.before or self.after or self.safe_calls)


class LeaseRun:
    """The leases of one session, one after the other.

    `release`: tells whoever gave the lease that it is over. `link`: to the guard, which ends hooks that this process
    leaves behind.
    """

    def __init__(
        self,
        session: Session,
        terms: LeaseTerms,
        *,
        release: Callable[[], Awaitable[None]] = _no_release,
        link: Link | None = None,
    ) -> None:
        self.state = State.IDLE
        self.failure: HookFailed | None = None
        self.lease_name = self.client_name = ""
        self._session = session
        self.terms = terms
        self._release = release
        self._link = link
        # With the work that an event is the outcome of.
        self._events: asyncio.Queue[tuple[Event, asyncio.Task[None] | None]] = asyncio.Queue()
        self._over = asyncio.Event()
        self._stopped = asyncio.Event()
        self._refused = False
        self._work: asyncio.Task[None] | None = None
        for name, source in _LOGGERS.items():
            session.add_logger_source(f"hook.{name}", source)

    def post(self, event: Event) -> None:
        """Something has happened; on the event loop."""
        self._events.put_nowait((event, None))

    async def stopped(self) -> State:
        """Wait for the end of the life; gives the final state."""
        await self._stopped.wait()
        return self.state

    def begin(self, lease_name: str = "", client_name: str = "") -> None:
        """Begin a lease, whose hooks get to see the names; on the event loop."""
        self.lease_name, self.client_name = lease_name, client_name
        self.failure = None
        self._refused = False
        if self.state not in FINAL:
            self._over.clear()
            self.post(Event.LEASED)

    async def lease(self, lease_name: str = "", client_name: str = "") -> bool:
        """Live through one lease; False when its client was refused."""
        self.begin(lease_name, client_name)
        await self._over.wait()
        return not self._refused

    async def run(self) -> State:
        """Live until stopped; gives the final state. Cancelled, it ends a running hook and leaves the rest."""
        try:
            while self.state not in FINAL:
                await self._take(await self._next_event())
            await self._idle()
        finally:
            await self._cancel_work()
        return self.state

    async def _next_event(self) -> Event:
        deadline = self.terms.grace if STAYS[self.state].deadline is Deadline.GRACE else None
        try:
            async with asyncio.timeout(deadline):
                while True:
                    event, work = await self._events.get()
                    # Work may have been done just before it was cancelled.
                    if work is None or work is self._work:
                        return event
        except TimeoutError:
            return Event.GRACE_OVER

    async def _take(self, event: Event) -> None:
        step = LEASE_LIFE.step(self.state, event)
        if Effect.CANCEL_HOOK in step.effects:
            await self._cancel_work()
        elif step.effects:
            await self._idle()
        work = [effect for effect in step.effects if effect in _WORK]
        if step.state is not self.state:
            self.state = step.state
            self._tell(event, work)
            if step.state in (State.REFUSED, State.REFUSED_FOR_GOOD):
                self._refused = True
            if step.state is State.IDLE or step.state in FINAL:
                # The next client is none of this one's business.
                self._session.log.start_afresh()
                self._over.set()
            if step.state in FINAL:
                self._stopped.set()
        if work:
            self._work = asyncio.ensure_future(self._perform(work))

    def _tell(self, event: Event, work: list[Effect]) -> None:
        """Let clients see the new state; of a hook that there is not, they hear nothing."""
        status, message, deadline = STAYS[self.state]
        if deadline is Deadline.HOOK and Effect.MAKE_SAFE not in work and self._hook(work) is None:
            return
        if self.state in (State.READY, State.RELEASING) and event is Event.HOOK_FAILED_WARN and self.failure:
            message = f"{HOOK_WARNING_PREFIX}{self.failure.hook.name} hook warning: {_told(self.failure)}"
        elif deadline is Deadline.RELEASE and self.failure:
            ending = ", shutting down" if self.failure.hook.on_failure == "exit" else ""
            what = f"(on_failure={self.failure.hook.on_failure}{ending})"
            message = f"{self.failure.hook.name} hook failed {what}: {_told(self.failure)}"
        self._session.update_status(status, message)
        if self._link is not None:
            self._link.status(message)

    def _hook(self, work: list[Effect]) -> Hook | None:
        return self.terms.before if Effect.RUN_BEFORE_HOOK in work else self.terms.after

    async def _perform(self, work: list[Effect]) -> None:
        for effect in work:
            if effect is Effect.MAKE_SAFE:
                await self._make_safe()
            elif effect is Effect.RELEASE:
                await self._tell_release()
            else:
                self._conclude(await self._run_hook(self._hook([effect])))

    async def _run_hook(self, hook: Hook | None) -> Event:
        if hook is None:
            return Event.HOOK_PASSED
        from .hooks import HookFailed, hook_variables, run_hook

        log = logging.getLogger(f"hook.{hook.name}")
        variables = hook_variables(self.terms.hook_host, lease_name=self.lease_name, client_name=self.client_name)
        try:
            async with asyncio.timeout(hook.timeout + _HOOK_MARGIN):
                await run_hook(hook, variables, log, started=self._own, ended=self._disown)
        except HookFailed as error:
            self.failure = error
        except TimeoutError:
            self.failure = HookFailed(hook, None)
        except Exception as error:
            log.debug("the hook could not be run", exc_info=True)
            self.failure = HookFailed(hook, 1, f"{type(error).__name__}: {error}")
        else:
            return Event.HOOK_PASSED
        log.log(logging.WARNING if hook.on_failure == "warn" else logging.ERROR, "%s", self.failure)
        return _FAILED[hook.on_failure]

    def _own(self, pid: int) -> None:
        if self._link is not None:
            self._link.own(pid)

    def _disown(self, pid: int) -> None:
        if self._link is not None:
            self._link.disown(pid)

    async def _make_safe(self) -> None:
        for name, call in self.terms.safe_calls.items():
            try:
                async with asyncio.timeout(_SAFE_SECONDS):
                    await call()
                logger.warning("the client was lost: %s was called", name)
            except Exception as error:
                logger.error("the client was lost, and %s failed: %s: %s", name, type(error).__name__, error)

    async def _tell_release(self) -> None:
        try:
            async with asyncio.timeout(_RELEASE_SECONDS):
                await self._release()
        except Exception as error:
            logger.error("releasing the lease failed: %s: %s", type(error).__name__, error)
        self._conclude(Event.RELEASED)

    def _conclude(self, outcome: Event) -> None:
        self._events.put_nowait((outcome, asyncio.current_task()))

    async def _idle(self) -> None:
        """Wait for the work of earlier steps."""
        if self._work is not None:
            await self._work

    async def _cancel_work(self) -> None:
        work, self._work = self._work, None
        if work is not None:
            work.cancel()
            with suppress(asyncio.CancelledError):
                await work


def _told(failure: HookFailed) -> str:
    place = f" ({failure.hook.where})" if failure.hook.where else ""
    return f"{failure.reason}{place}"
