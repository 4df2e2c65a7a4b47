"""Private directories for sockets. One that its process could not remove is removed by the next that makes one."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import stat
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import TypeVar

from jumpstarter.common.exceptions import ConfigurationError
from jumpstarter.config.env import environment

T = TypeVar("T")

# A socket address holds this many bytes of path on every platform we run on.
PATH_BYTES = 103

_PREFIX = "jumpstarter-"
_NAME = re.compile(rf"{_PREFIX}\w{{8}}", re.ASCII)
_PARENT_BYTES = PATH_BYTES - len(f"/{_PREFIX}XXXXXXXX/socket")
# Held locked for as long as the directory is in use; a directory without one is somebody else's.
_LOCK = "jumpstarter.lock"
# How many entries of the parent one process looks at.
_LOOKED_AT = 4096


@contextmanager
def private_directory() -> Iterator[Path]:
    """A directory of mode 0700 for sockets, removed at the end; in XDG_RUNTIME_DIR where that can be used.

    ConfigurationError when the one for temporary files, in its place, is unfit.
    """
    wanted = environment().runtime_directory
    parent = wanted if _is_short(wanted) and os.access(wanted, os.W_OK | os.X_OK) else Path(tempfile.gettempdir())
    if not _is_short(parent):
        raise ConfigurationError(
            f"the path of the directory {parent} is too long for Unix sockets in it: "
            f"set XDG_RUNTIME_DIR or TMPDIR to a directory whose path has at most {_PARENT_BYTES} bytes"
        )
    _remove_left_behind(parent)
    with tempfile.TemporaryDirectory(prefix=_PREFIX, dir=parent, ignore_cleanup_errors=True) as directory:
        with _in_use(Path(directory)):
            yield Path(directory)


def _is_short(directory: Path) -> bool:
    return len(os.fsencode(directory.absolute())) <= _PARENT_BYTES


@contextmanager
def _in_use(directory: Path) -> Iterator[None]:
    """Show to others that somebody uses the directory; where the file system has no locks, they keep away anyway."""
    new = directory / f"{_LOCK}.new"
    lock = os.open(new, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        with suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # It gets its name only now: nobody finds it before it is locked.
            new.rename(directory / _LOCK)
        yield
    finally:
        os.close(lock)


def _remove_left_behind(parent: Path) -> None:
    """Remove what processes of this user that were killed have left in `parent`."""
    with suppress(OSError), os.scandir(parent) as entries:
        for entry in islice(entries, _LOOKED_AT):
            if _NAME.fullmatch(entry.name):
                with suppress(OSError):
                    _remove_if_unused(entry.path, entry.stat(follow_symlinks=False))


def _remove_if_unused(directory: str, found: os.stat_result) -> None:
    if not stat.S_ISDIR(found.st_mode) or stat.S_IMODE(found.st_mode) != 0o700 or found.st_uid != os.geteuid():
        return
    lock = os.open(os.path.join(directory, _LOCK), os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(directory, ignore_errors=True)
    finally:
        os.close(lock)


@asynccontextmanager
async def in_thread(manager: AbstractContextManager[T]) -> AsyncIterator[T]:
    """`manager`, entered and left in a worker thread because it works on the file system."""
    from anyio import CancelScope, to_thread

    value = await to_thread.run_sync(manager.__enter__)
    try:
        yield value
    finally:
        with CancelScope(shield=True):
            await to_thread.run_sync(manager.__exit__, None, None, None)
