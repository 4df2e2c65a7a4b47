"""Block devices that come and go, such as a card in a multiplexer: filled from a stream, read into one."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Literal

from anyio import current_time, fail_after, move_on_after, sleep, to_thread
from anyio.abc import ByteStream, ObjectStream

_PIECE = 4 << 20  # bytes of one read or write of a device
_INTERVAL = 0.1  # seconds between two looks at a device that is awaited
_CLOSE_LIMIT = 5.0  # seconds; closing a device flushes it, and a broken one may take for ever
# What a device answers when it, or its medium, is not there yet.
_ABSENT = frozenset({errno.ENOENT, errno.ENXIO, errno.ENODEV, errno.ENOMEDIUM, errno.EIO, errno.EBUSY})

StorageDevice = str | os.PathLike[str]
Resource = ObjectStream[bytes] | ByteStream


async def write_to_storage_device(
    storage_device: StorageDevice,
    resource: Resource,
    timeout: int = 10,
    fsync_timeout: int = 900,
    leeway: int = 6,
    *,
    logger: logging.Logger | None = None,
) -> None:
    """Wait for a device, copy a stream onto it, flush it, and then leave it alone for `leeway` seconds.

    `timeout` and `fsync_timeout`: seconds for the device to appear and for the flush, TimeoutError after them.
    An OSError names the device and how far the copy got.
    """
    logger = logger or logging.getLogger(__name__)
    device = await _open(storage_device, "wb", timeout, logger)
    written = 0
    try:
        async with aclosing(_pieces(resource)) as pieces:
            async for piece in pieces:
                await to_thread.run_sync(_write_all, device, piece, storage_device, written)
                written += len(piece)
        await _flush(device, storage_device, fsync_timeout)
    finally:
        await _close(device)
    logger.info("%s: %d bytes written and flushed", storage_device, written)
    await sleep(leeway)


async def read_from_storage_device(
    storage_device: StorageDevice,
    resource: Resource,
    timeout: int = 10,
    *,
    logger: logging.Logger | None = None,
) -> None:
    """Wait for a device, for `timeout` seconds (then TimeoutError), and copy all of it into a stream."""
    logger = logger or logging.getLogger(__name__)
    device = await _open(storage_device, "rb", timeout, logger)
    read = 0
    try:
        while piece := await to_thread.run_sync(os.read, device, _PIECE):
            await resource.send(piece)
            read += len(piece)
    finally:
        await _close(device)
    logger.info("%s: %d bytes read", storage_device, read)


async def wait_for_storage_device(
    storage_device: StorageDevice,
    mode: Literal["wb", "rb"],
    timeout: int = 10,
    *,
    logger: logging.Logger | None = None,
) -> StorageDevice:
    """Wait until a device is there, with a medium in it; TimeoutError after `timeout` seconds."""
    device = await _open(storage_device, mode, timeout, logger or logging.getLogger(__name__))
    await _close(device)
    return storage_device


async def _open(path: StorageDevice, mode: Literal["wb", "rb"], timeout: float, logger: logging.Logger) -> int:
    """A descriptor of the device, once it has a size; any error but absence is raised at once."""
    deadline = current_time() + timeout
    reason: str | None = None
    while True:
        try:
            return await to_thread.run_sync(_open_now, path, mode)
        except OSError as error:
            if error.errno not in _ABSENT:
                raise
            if error.strerror != reason:
                reason = error.strerror
                logger.info("waiting for %s: %s", path, reason)
        if current_time() >= deadline:
            raise TimeoutError(f"storage device {path} is not ready after {timeout} seconds: {reason}")
        await sleep(_INTERVAL)


def _open_now(path: StorageDevice, mode: Literal["wb", "rb"]) -> int:
    # Without O_CREAT: a copy onto a device that is absent must not leave a plain file in its place.
    device = os.open(path, (os.O_WRONLY if mode == "wb" else os.O_RDONLY) | os.O_CLOEXEC)
    try:
        if not os.lseek(device, 0, os.SEEK_END):
            raise OSError(errno.ENOMEDIUM, "it is empty: no medium in it", os.fspath(path))
        os.lseek(device, 0, os.SEEK_SET)
    except BaseException:
        os.close(device)
        raise
    return device


async def _pieces(resource: Resource) -> AsyncGenerator[bytearray, None]:
    """A stream in pieces of `_PIECE` bytes or a little more."""
    piece = bytearray()
    async for data in resource:
        piece += data
        if len(piece) >= _PIECE:
            yield piece
            piece = bytearray()
    if piece:
        yield piece


def _write_all(device: int, data: bytearray, path: StorageDevice, offset: int) -> None:
    done = 0
    try:
        with memoryview(data) as view:
            while done < len(view):
                done += os.write(device, view[done:])
    except OSError as error:
        raise OSError(error.errno, f"{error.strerror}, after {offset + done} bytes", os.fspath(path)) from error


async def _flush(device: int, path: StorageDevice, timeout: float) -> None:
    try:
        with fail_after(timeout):
            await to_thread.run_sync(os.fsync, device, abandon_on_cancel=True)
    except TimeoutError:
        raise TimeoutError(f"storage device {path} is not flushed after {timeout} seconds") from None


async def _close(device: int) -> None:
    with move_on_after(_CLOSE_LIMIT, shield=True):
        await to_thread.run_sync(os.close, device, abandon_on_cancel=True)
