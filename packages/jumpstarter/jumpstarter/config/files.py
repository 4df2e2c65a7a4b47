"""Text files on disk: read with care for what they may turn out to be, written whole or not at all."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from jumpstarter.common.exceptions import ConfigurationError, FileNotFoundError

MAX_BYTES = 1 << 20

_KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
_WIDE = (b"\xff\xfe", b"\xfe\xff", b"\x00\x00\xfe\xff")
_PRIVATE_FILE = 0o600
_PRIVATE_DIRECTORY = 0o700


def read_text(path: Path) -> str:
    """The text of a regular file; never blocks on anything else.

    Raises FileNotFoundError, and ConfigurationError for what is no UTF-8 text of at most MAX_BYTES or cannot be read.
    """
    with _explained(path, "read"):
        _check_kind(path, path.stat())
        # Another file may have taken the place meanwhile: a named pipe must not block, a terminal not become ours.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
        with open(descriptor, "rb") as file:
            _check_kind(path, os.fstat(descriptor))
            return _decode(path, file.read(MAX_BYTES + 1))


def write_text(path: Path, text: str) -> None:
    """Replace a file, or make it and its directories, readable for its owner only.

    What is there before is whole until the new text is on the disk. A symbolic link stays one: its target is replaced.
    The owner and a mode that is stricter than 0600 are kept. ConfigurationError where that cannot be done.
    """
    data = text.encode()
    with _explained(path, "written"):
        target = Path(os.path.realpath(path))
        _make_directories(target.parent)
        _replace(target, data, _existing(target))


def remove(path: Path) -> None:
    """Remove a file, or a link to one. Raises FileNotFoundError, and ConfigurationError where that cannot be done."""
    with _explained(path, "removed"):
        path.unlink()


@contextmanager
def _explained(path: Path, done: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOENT and done != "written":
            gone = f" (it is a link to {os.readlink(path)})" if path.is_symlink() else ""
            raise FileNotFoundError(f"{path}: there is no such file{gone}") from None
        reason = (error.strerror or str(error)).lower()
        at = error.filename if done == "written" and error.filename not in (None, os.fspath(path)) else None
        where = f" in {Path(os.fsdecode(at)).parent}" if at is not None else ""
        raise ConfigurationError(f"{path}: cannot be {done}: {reason}{where}") from None


def _check_kind(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        kind = _KINDS.get(stat.S_IFMT(status.st_mode), "something else")
        raise ConfigurationError(f"{path}: expected a file, this is {kind}")
    if status.st_size > MAX_BYTES:
        raise _too_large(path)


def _too_large(path: Path) -> ConfigurationError:
    return ConfigurationError(f"{path}: larger than {MAX_BYTES >> 20} MiB: this is no configuration file")


def _decode(path: Path, data: bytes) -> str:
    if len(data) > MAX_BYTES:
        raise _too_large(path)
    if data.startswith(_WIDE):
        raise ConfigurationError(f"{path}: this is text in UTF-16 or UTF-32: save it as UTF-8")
    if b"\x00" in data:
        raise ConfigurationError(f"{path}: not a text file: it holds NUL bytes")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        byte = error.object[error.start]
        raise ConfigurationError(f"{path}:{line}: not a text file in UTF-8: the byte 0x{byte:02x}") from None


def _existing(target: Path) -> os.stat_result | None:
    """What is to be replaced, if anything. PermissionError where its owner has it protected from writing."""
    try:
        status = target.lstat()
    except OSError as error:
        if error.errno == errno.ENOENT:
            return None
        raise
    if stat.S_ISLNK(status.st_mode):
        raise OSError(errno.ELOOP, "it is a link that leads back to itself")
    _check_kind(target, status)
    if not status.st_mode & stat.S_IWUSR:
        raise PermissionError(errno.EACCES, f"it is write-protected (mode {stat.S_IMODE(status.st_mode):04o})")
    return status


def _make_directories(directory: Path) -> None:
    if not directory.exists():
        _make_directories(directory.parent)
        with suppress(FileExistsError):
            directory.mkdir(_PRIVATE_DIRECTORY)


def _replace(target: Path, data: bytes, existing: os.stat_result | None) -> None:
    import tempfile

    descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent)
    try:
        with open(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            if existing is not None:
                os.fchmod(descriptor, _PRIVATE_FILE & existing.st_mode)
                if existing.st_uid != os.geteuid():
                    os.fchown(descriptor, existing.st_uid, existing.st_gid)
            os.fsync(descriptor)
        os.replace(name, target)
    except BaseException:
        os.unlink(name)
        raise
    _sync_directory(target.parent)


def _sync_directory(directory: Path) -> None:
    """The new name of the file is on the disk too; some file systems cannot be asked for that."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        with suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
