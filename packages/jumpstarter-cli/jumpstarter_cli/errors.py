"""The one place that turns what a command raises into a message on stderr and an exit code."""

from __future__ import annotations

import gc
import os
import select
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import click

from .interrupts import interruptible

FAILED = 1
USAGE = 2
CANCELLED = 2
# Objects between two looks for garbage. What a command imports is none, and looking takes a tenth of its time.
_GARBAGE_OBJECTS = 50_000


def run_command(command: Callable[[], Any], *, usage_code: int = USAGE) -> NoReturn:
    """Run `command` and end the process: with its result where that is an int, else 0.

    Errors: 1, and `usage_code` for a wrong command line. Ctrl-C and SIGTERM, which let the command clean up first: 2.
    """
    gc.set_threshold(_GARBAGE_OBJECTS)
    _open_closed_streams()
    try:
        with interruptible():
            result = command()
        code = result if isinstance(result, int) and not isinstance(result, bool) else 0
        sys.stdout.flush()
    except BaseException as error:
        code = report(error, usage_code)
    _silence_broken_output()
    # The interpreter looks through all that is left at its end, to free what ends with the process anyway.
    gc.freeze()
    sys.exit(code)


def invoke(command: click.Command, args: Sequence[str] | None, prog_name: str) -> Any:
    """What a click command returns. Errors leave as they are; click's `main` hides broken pipes, a driver's too."""
    try:
        with command.make_context(prog_name, list(sys.argv[1:] if args is None else args)) as ctx:
            return command.invoke(ctx)
    except click.exceptions.Exit as error:
        return error.exit_code


def report(error: BaseException, usage_code: int = USAGE) -> int:
    """Tell the user about `error`; the exit code that goes with it."""
    error = _first(error)
    if isinstance(error, SystemExit):
        return _exit_code(error)
    if isinstance(error, (KeyboardInterrupt, EOFError, click.Abort)):
        # The blank line ends the terminal's ^C.
        tell("\nAborted!" if sys.stderr.isatty() else "Aborted!")
        return CANCELLED
    if isinstance(error, BrokenPipeError) and _is_broken(sys.stdout):
        return FAILED
    if isinstance(error, click.ClickException):
        return _report_click(error, usage_code)
    _show_traceback(error)
    tell(f"Error: {describe(error)}", error=True)
    return FAILED


def _report_click(error: click.ClickException, usage_code: int) -> int:
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        tell(error.format_message())
        return usage_code
    if isinstance(error, click.UsageError) and error.ctx is not None:
        tell(error.ctx.get_usage())
        if error.ctx.command.get_help_option(error.ctx) is not None:
            tell(f"Try '{error.ctx.command_path} --help' for help.")
        tell("")
    tell(f"Error: {error.format_message()}", error=True)
    return usage_code if isinstance(error, click.UsageError) else error.exit_code


def describe(error: BaseException) -> str:
    """An exception as one message for people."""
    grpc = sys.modules.get("grpc")
    if grpc is not None and isinstance(error, grpc.RpcError) and hasattr(error, "code"):
        return f"{error.code().name}: {error.details()}"
    exceptions = sys.modules.get("jumpstarter.common.exceptions")
    if exceptions is not None and isinstance(error, exceptions.JumpstarterException):
        return str(error)
    if isinstance(error, OSError):
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror or str(error)
    if isinstance(error, (NotImplementedError, ImportError, ValueError, TimeoutError, RuntimeError)) and str(error):
        return str(error)
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def tell(message: str, *, error: bool = False) -> None:
    """Write a line to stderr; `error`: in red on a terminal that is to have colours."""
    try:
        sys.stderr.write(f"\033[31m{message}\033[0m\n" if error and wants_colour(sys.stderr) else f"{message}\n")
        sys.stderr.flush()
    except (OSError, ValueError):  # nobody can be told
        return


def wants_colour(file: Any) -> bool:
    """Whether `file` is a terminal that is to have colours."""
    from jumpstarter.config.env import environment

    return file.isatty() and environment().colour


def _first(error: BaseException) -> BaseException:
    """The error itself, or the first one of a group."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _exit_code(error: SystemExit) -> int:
    if isinstance(error.code, str):
        tell(error.code)
        return FAILED
    return error.code or 0


def _show_traceback(error: BaseException) -> None:
    logging = sys.modules.get("logging")
    if logging is not None and logging.getLogger().isEnabledFor(logging.DEBUG):
        logging.getLogger("jumpstarter_cli").debug("traceback of the error below", exc_info=error)


def _open_closed_streams() -> None:
    """A file or socket that is opened must not get the number of a standard stream, and what is written there."""
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        if getattr(sys, name) is None and os.open(os.devnull, os.O_RDWR) == number:
            setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115 - open to the end


def _is_broken(file: Any) -> bool:
    """Whether nobody reads what is written to `file` any more."""
    poll = select.poll()
    try:
        poll.register(file.fileno(), 0)
        return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))
    except (OSError, ValueError, AttributeError):
        return False


def _silence_broken_output() -> None:
    """The interpreter flushes at its end: what still waits for a reader that has gone would be an error there."""
    for file in (sys.stdout, sys.stderr):
        try:
            file.flush()
        except OSError:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, file.fileno())
            os.close(null)
