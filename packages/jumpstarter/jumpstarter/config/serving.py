"""An exporter's file brought to life: its drivers, its hooks, and the leases on them, with no lease service."""

from __future__ import annotations

import asyncio
import getpass
import logging
import signal
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import anyio

from jumpstarter.common.exceptions import ConfigurationError, JumpstarterException
from jumpstarter.driver import Driver
from jumpstarter.driver.decorators import MARKER_DRIVERCALL, is_marked
from jumpstarter.driver.dispatch import Dispatcher
from jumpstarter.driver.workers import Allowance
from jumpstarter.exporter.endpoints import check_address, serve_tcp, serve_unix
from jumpstarter.exporter.lease_life import FINAL, Event, State
from jumpstarter.exporter.lease_run import LeaseRun, LeaseTerms
from jumpstarter.exporter.session import Session
from jumpstarter.streams.common import background_tasks

if TYPE_CHECKING:
    import grpc

    from jumpstarter.exporter.hooks import Hook
    from jumpstarter.exporter.supervisor import Link

    from .exporter import ExporterConfigV1Alpha1, HookInstanceConfigV1Alpha1

logger = logging.getLogger(__name__)

# The clients of a lease get this long, in seconds, to see how it ended and to leave before the next one begins.
_LEAVE_SECONDS = 5.0
_HEEDED = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)


@dataclass(frozen=True)
class Listener:
    """Where a direct exporter listens. `credentials`: None for plain text. Port 0: any free one."""

    host: str
    port: int
    credentials: grpc.ServerCredentials | None = None
    passphrase: str | None = None


@asynccontextmanager
async def local_exporter(config: ExporterConfigV1Alpha1, link: Link | None = None) -> AsyncGenerator[str]:
    """An exporter for one client: gives the path of its private Unix socket while its only lease begins.

    Leaving ends the lease, if that has not happened, and waits for the afterLease hook; cancelling that ends the hook.
    ConfigurationError where the file's drivers cannot be made.
    """
    left = asyncio.Event()
    async with _live(config, link, left.wait) as (session, run):
        async with serve_unix(session.for_clients(), session.limits) as path:
            run.begin("local", _user())
            try:
                yield path
            finally:
                left.set()
                run.post(Event.STOP)
                await run.stopped()


async def run_exporter(
    config: ExporterConfigV1Alpha1,
    listener: Listener,
    link: Link,
    *,
    exit_on_lease_end: bool = False,
    recheck: Callable[[], object] = lambda: None,
    listening: Callable[[int], None] = lambda port: None,
) -> int:
    """Serve on TCP, lease after lease, until SIGTERM, SIGINT, SIGQUIT or a fatal hook; gives the exit code.

    SIGHUP: when `recheck`, in a worker thread, finds no mistakes in the files as they are now, end with the present
    client's lease, to be started anew. `listening` is told the port. ConfigurationError where drivers cannot be made or
    the port cannot be had.
    """
    from jumpstarter.exporter.auth import PassphraseInterceptor

    guards = [PassphraseInterceptor(listener.passphrase)] if listener.passphrase is not None else []
    # Heard from before the first driver starts until the last one is closed.
    with anyio.open_signal_receiver(*_HEEDED) as received, anyio.CancelScope() as beginning:
        exporter: _Direct | None = None

        async def heed() -> None:
            async for number in received:
                if exporter is not None:
                    # Beside this: a look at the files on a slow disk keeps no other signal waiting.
                    group.start_soon(exporter.heed, number)
                    continue
                if number != signal.SIGHUP:
                    link.finish()
                beginning.cancel()

        async with background_tasks() as group:
            group.start_soon(heed)
            await check_address(listener.host, listener.port)
            async with _live(config, link) as (session, run):
                door = serve_tcp(
                    session.for_clients(),
                    session.limits,
                    listener.host,
                    listener.port,
                    tls_credentials=listener.credentials,
                    interceptors=guards,
                )
                async with door as port:
                    exporter = _Direct(recheck, session, run, link, exit_on_lease_end)
                    group.start_soon(_beat, link)
                    listening(port)
                    link.ready()
                    code = await exporter.lease_after_lease()
                    link.stopping()
                    return code
    # A signal came before there was anything to end.
    return 0


class _Direct:
    """One lease after the other on an exporter that clients reach directly."""

    def __init__(
        self, recheck: Callable[[], object], session: Session, run: LeaseRun, link: Link, exit_on_lease_end: bool
    ) -> None:
        self._recheck = recheck
        self._session = session
        self._run = run
        self._link = link
        self._exit_on_lease_end = exit_on_lease_end
        # After the present lease: end for good, or only to be started anew.
        self._stopping = False
        self._draining = False
        session.presence.on_change = self._client_changed

    async def lease_after_lease(self) -> int:
        """Serve lease after lease; gives the exit code when there is to be no other."""
        while True:
            accepted = await self._run.lease("direct")
            if self._run.state in FINAL or self._exit_on_lease_end or not accepted:
                break
            # The files may have changed since they were found to be sound.
            if self._draining and await self._can_start_anew():
                break
        self._run.post(Event.STOP)
        if await self._run.stopped() is State.FAILED or not accepted:
            return 1
        if self._stopping or self._exit_on_lease_end:
            self._link.finish()
        return 0

    async def heed(self, number: int) -> None:
        """Do as a signal says."""
        if number == signal.SIGHUP:
            await self._drain()
        elif not self._stopping:
            logger.info("stopping: %s", signal.Signals(number).name)
            self._stopping = True
            self._run.post(Event.STOP)

    async def _drain(self) -> None:
        self._link.reloading()
        if not await self._can_start_anew():
            return
        logger.info("reloading when the present lease has ended")
        self._draining = True
        # A lost client's grace ends by itself, and in a way of its own.
        if not self._session.presence.anybody and self._run.state is not State.CLIENT_LOST:
            self._run.post(Event.ENDED)

    async def _can_start_anew(self) -> bool:
        """Whether the files are sound; where they are not, the exporter is to go on as it is."""
        try:
            await Allowance().run(self._recheck)
        except (JumpstarterException, OSError) as error:
            logger.error("not reloaded, the exporter goes on as it was: %s", error)
            self._draining = False
            self._link.ready()
            return False
        return True

    def _client_changed(self, present: bool) -> None:
        if self._run.terms.heed_clients:
            self._run.post(Event.CLIENT_BACK if present else Event.CLIENT_GONE)
        elif not present and (self._draining or self._exit_on_lease_end):
            self._run.post(Event.ENDED)


@asynccontextmanager
async def _live(
    config: ExporterConfigV1Alpha1, link: Link | None, left: Callable[[], Awaitable[object]] | None = None
) -> AsyncGenerator[tuple[Session, LeaseRun]]:
    """A session on the file's drivers, and the life of its leases going on in the background.

    `left`: returns when the clients of a lease that is over have seen so; by default, when none reads the log any more.
    """
    root = await Allowance().run(config.build)
    session = Session(root_device=root, motd=config.motd or "")
    hooks = config.hooks
    before = _hook(config, "beforeLease", hooks.before_lease)
    after = _hook(config, "afterLease", hooks.after_lease)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(session)
        host = await stack.enter_async_context(serve_unix(session, session.limits)) if before or after else ""
        lost = config.client_lost
        terms = LeaseTerms(
            before=before,
            after=after,
            hook_host=host,
            safe_calls={name: _safe_call(config, root, name) for name in lost.run},
            grace=lost.grace,
        )

        async def release() -> None:
            with suppress(TimeoutError):
                async with asyncio.timeout(_LEAVE_SECONDS):
                    await (left or session.presence.nobody)()

        run = LeaseRun(session, terms, release=release, link=link)
        session.on_end_session = partial(run.post, Event.ENDED)
        group = await stack.enter_async_context(background_tasks())
        group.start_soon(run.run)
        yield session, run


async def _beat(link: Link) -> None:
    """Show the guard that the event loop is alive, as often as its watchdog wants."""
    while link.watchdog_seconds is not None:
        link.beat()
        await asyncio.sleep(link.watchdog_seconds)


def _hook(config: ExporterConfigV1Alpha1, name: str, given: HookInstanceConfigV1Alpha1 | None) -> Hook | None:
    if given is None:
        return None
    from jumpstarter.exporter.hooks import Hook

    return Hook(name, given.script, given.exec, given.timeout, given.on_failure, config.where("hooks", name))


def _safe_call(config: ExporterConfigV1Alpha1, root: Driver, name: str) -> Callable[[], Awaitable[object]]:
    """The driver call named `path.in.the.tree.method`."""
    *path, method = name.split(".")
    driver = root
    for part in path:
        if part not in driver.children:
            known = ", ".join(driver.children) or "none"
            raise ConfigurationError(f"{config.where('clientLost', 'run')}: {name}: no {part!r} (there are: {known})")
        driver = driver.children[part]
    if not is_marked(getattr(driver, method, None), MARKER_DRIVERCALL):
        raise ConfigurationError(f"{config.where('clientLost', 'run')}: {name}: {method!r} is no exported driver call")
    return partial(Dispatcher(driver).call, method, (), lambda result: None)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # an account without a name, as containers have
        return ""
