"""One session with an exporter, from connecting to the end of its lease, around the shell of a person."""

from __future__ import annotations

import signal
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import anyio
from jumpstarter.client.client import open_stub
from jumpstarter.client.core import AsyncDriverClient
from jumpstarter.client.status_monitor import StatusMonitor
from jumpstarter.common.enums import HOOK_WARNING_PREFIX, ExporterStatus
from jumpstarter.common.exceptions import ConnectionError, JumpstarterException
from jumpstarter.config.env import environment

from .errors import CANCELLED, FAILED, tell
from .mainthread import MainThread

if TYPE_CHECKING:
    from jumpstarter.common.child import Child
    from jumpstarter.rpc.tls import ClientTls

# For an exporter to be done with a lease, and to be ready where no hook is running, in seconds.
END_SECONDS = 300.0
READY_SECONDS = 300.0
# For an exporter to show that it has heard of the end of a lease, before it is asked again, in seconds.
ASK_SECONDS = 2.0

_RUNNING_HOOK = frozenset({ExporterStatus.BEFORE_LEASE_HOOK, ExporterStatus.AFTER_LEASE_HOOK})
_SETTLED = frozenset({ExporterStatus.LEASE_READY, ExporterStatus.BEFORE_LEASE_HOOK_FAILED, ExporterStatus.OFFLINE})
_ENDED = frozenset({ExporterStatus.AVAILABLE, ExporterStatus.AFTER_LEASE_HOOK_FAILED, ExporterStatus.OFFLINE})
_LEASE_OVER = _ENDED | {ExporterStatus.AFTER_LEASE_HOOK, ExporterStatus.BEFORE_LEASE_HOOK_FAILED}


class LeaseFailed(JumpstarterException):
    """The exporter refused the lease, or ended it badly."""


@dataclass(frozen=True)
class Access:
    """How to reach an exporter. `local`: it runs in this process, and its log is shown here already."""

    address: str
    insecure: bool = False
    passphrase: str | None = None
    tls: ClientTls | None = None
    local: bool = False


class ShellSession:
    """Runs `launch(access, report, child)`, which blocks, while connected to what `open_exporter` gives access to.

    `child`: the program that `launch` runs. `all_logs`: show what drivers and the exporter itself log, too; what hooks
    print is shown always.
    """

    def __init__(
        self,
        open_exporter: Callable[[], AbstractAsyncContextManager[Access]],
        launch: Callable[[Access, Any, Child], int],
        child: Child,
        *,
        all_logs: bool = False,
    ) -> None:
        self._open_exporter = open_exporter
        self._launch = launch
        self._all_logs = all_logs
        self._main = MainThread()
        self._child = child
        self._stage: Callable[[int], object] = lambda number: None
        self._lost = ""
        self._code = CANCELLED

    def run(self) -> int:
        """The exit code; to be called in the main thread."""
        return self._main.serve(self._live, lambda number: self._stage(number))

    async def _live(self) -> int:
        with anyio.CancelScope() as everything:
            self._stage = _canceller(everything)
            async with self._open_exporter() as access:
                try:
                    # Cancelled from here on, the exporter still ends its lease as it should.
                    with anyio.CancelScope() as attached:
                        self._stage = _canceller(attached)
                        await self._attached(access, everything)
                finally:
                    self._stage = _skipper(everything, access)
        return self._code

    async def _attached(self, access: Access, everything: anyio.CancelScope) -> None:
        failure = ""
        async with AsyncExitStack() as stack:
            stub, report = await stack.enter_async_context(
                open_stub(
                    access.address,
                    tls=access.tls,
                    insecure=access.insecure,
                    passphrase=access.passphrase,
                    connect_timeout=environment().connect_timeout,
                )
            )
            client = AsyncDriverClient(stub=stub)
            if not access.local:
                await stack.enter_async_context(client.log_stream_async(self._all_logs))
            monitor = await stack.enter_async_context(StatusMonitor(stub))
            await _ready(monitor)
            code = await self._with_child(monitor, lambda: self._launch(access, report, self._child))
            self._code = FAILED if self._lost else code
            self._stage = _skipper(everything, access)
            if not self._lost:
                failure = await _failure_at_the_end(client, monitor)
        # Now that the log has been shown to its end: the last line is the one that counts.
        if failure:
            tell(f"Error: {failure}", error=True)
            self._code = code or FAILED

    async def _with_child(self, monitor: StatusMonitor, launch: Callable[[], int]) -> int:
        """Run the child in the main thread; when the exporter is lost, it is told to end."""
        async with anyio.create_task_group() as group:
            # The main thread hears signals itself as soon as the child runs; until then they wait for the child.
            self._stage = self._child.pass_on
            group.start_soon(self._watch, monitor)
            with anyio.CancelScope(shield=True):
                code = await self._main.run(launch)
            group.cancel_scope.cancel()
        return code

    async def _watch(self, monitor: StatusMonitor) -> None:
        status = await monitor.wait_for_any_of(_LEASE_OVER)
        if monitor.unsupported:
            return
        if status is None:
            self._lost = "the connection to the exporter is lost"
        else:
            self._lost = f"the exporter has ended the lease: {monitor.status_message or status}"
        tell(f"\nError: {self._lost}", error=True)
        self._child.hang_up()


def _canceller(scope: anyio.CancelScope) -> Callable[[int], None]:
    def cancel(number: int) -> None:
        _notice("Cancelled.")
        scope.cancel()

    return cancel


def _skipper(everything: anyio.CancelScope, access: Access) -> Callable[[int], None]:
    """The end of a lease goes on when a service manager hurries, and stops for a person at the keyboard."""

    def skip(number: int) -> None:
        if number == signal.SIGINT or not access.local:
            _notice("Leaving without waiting for the end of the lease.")
            everything.cancel()

    return skip


async def _ready(monitor: StatusMonitor) -> None:
    """Wait until the exporter accepts calls; LeaseFailed where it does not come to that."""
    status = await monitor.wait_for_any_of(ExporterStatus, READY_SECONDS)
    if status is not None and status not in _SETTLED:
        _notice(f"Waiting for the exporter: {monitor.status_message or status}")
    while status is not None and status not in _SETTLED:
        # A hook has a time-out of its own.
        seconds = None if status in _RUNNING_HOOK else READY_SECONDS
        status = await monitor.wait_for_any_of(set(ExporterStatus) - {status}, seconds)
    if monitor.unsupported:
        return
    if status is None:
        lost = "the connection to the exporter is lost"
        raise ConnectionError(
            lost if monitor.connection_lost else f"the exporter was not ready within {READY_SECONDS:g} s"
        )
    if status is not ExporterStatus.LEASE_READY:
        raise LeaseFailed(f"the exporter refused the lease: {monitor.status_message or status}")
    _show_warning(monitor)


async def _failure_at_the_end(client: AsyncDriverClient, monitor: StatusMonitor) -> str:
    """End the lease, where it is this client's to end, and wait until that is done; what went wrong with it."""
    status = None
    told = False
    with anyio.move_on_after(END_SECONDS):
        # Asked again: an exporter that has crashed and started anew knows nothing of the first time.
        while await client.end_session_async():
            status = await monitor.wait_for_any_of(_ENDED | {ExporterStatus.AFTER_LEASE_HOOK}, ASK_SECONDS)
            if status is not None or monitor.connection_lost or monitor.unsupported:
                break
            if not told:
                _notice("Waiting for the exporter to end the lease (Ctrl-C skips it)")
            told = True
        else:
            return ""
    if status is ExporterStatus.AFTER_LEASE_HOOK:
        _notice(f"Waiting for the exporter: {monitor.status_message} (Ctrl-C skips it)")
        status = await monitor.wait_for_any_of(_ENDED, END_SECONDS)
    if status is ExporterStatus.AFTER_LEASE_HOOK_FAILED:
        return monitor.status_message
    if status is None:
        tell("Warning: the exporter did not tell how the lease ended")
    else:
        _show_warning(monitor)
    return ""


def _notice(text: str) -> None:
    if not environment().quiet:
        tell(text)


def _show_warning(monitor: StatusMonitor) -> None:
    text = monitor.status_message
    if text.startswith(HOOK_WARNING_PREFIX):
        _notice(f"Warning: {text.removeprefix(HOOK_WARNING_PREFIX)}")
