"""Block devices filled and read: loop devices where this may make them, else plain files in their place."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import anyio
import pytest
from anyio.abc import ObjectStream
from jumpstarter.common.storage import (
    read_from_storage_device,
    wait_for_storage_device,
    write_to_storage_device,
)
from jumpstarter.streams.common import background_tasks, create_memory_stream

pytestmark = pytest.mark.anyio

MIB = 1 << 20
write = partial(write_to_storage_device, leeway=0)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """A plain file of 16 MiB; a device node behaves alike but for its size, which is fixed."""
    path = tmp_path / "disk.img"
    with path.open("wb") as file:
        file.truncate(16 * MIB)
    return path


@pytest.fixture
def loop_device(image: Path) -> Iterator[Path]:
    """A block device of 16 MiB."""
    if os.geteuid() != 0 or shutil.which("losetup") is None:
        pytest.skip("loop devices need root and losetup")
    made = subprocess.run(["losetup", "--find", "--show", image], capture_output=True, text=True, check=False)
    if made.returncode != 0:
        pytest.skip(f"no loop device: {made.stderr.strip()}")
    device = Path(made.stdout.strip())
    yield device
    subprocess.run(["losetup", "--detach", device], check=True)


async def sent(stream: ObjectStream[bytes], data: bytes, piece: int = 65521) -> None:
    for start in range(0, len(data), piece):
        await stream.send(data[start : start + piece])
    await stream.send_eof()


async def received(stream: ObjectStream[bytes]) -> bytes:
    return b"".join([piece async for piece in stream])


async def copy_in(device: Path, data: bytes, **options: float) -> None:
    """Write `data` to a device through a stream."""
    ours, theirs = create_memory_stream()
    async with ours, theirs, background_tasks() as group:
        group.start_soon(sent, ours, data)
        await write(device, theirs, **options)  # type: ignore[arg-type]


async def copy_out(device: Path) -> bytes:
    ours, theirs = create_memory_stream()

    async def read() -> None:
        async with theirs:
            await read_from_storage_device(device, theirs, timeout=1)

    async with ours, anyio.create_task_group() as group:
        group.start_soon(read)
        data = await received(ours)
    return data


async def test_a_block_device_takes_and_gives_every_byte(loop_device: Path, image: Path) -> None:
    data = os.urandom(9 * MIB + 17)
    await copy_in(loop_device, data)
    assert image.read_bytes()[: len(data)] == data
    assert (await copy_out(loop_device))[: len(data)] == data


async def test_more_than_fits_names_the_device_and_how_far_it_got(loop_device: Path) -> None:
    with pytest.raises(OSError, match=rf"after {16 * MIB} bytes") as caught:
        await copy_in(loop_device, bytes(17 * MIB))
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(loop_device))


async def test_a_flush_that_takes_too_long(loop_device: Path) -> None:
    with pytest.raises(TimeoutError, match=rf"{loop_device} is not flushed after 0 seconds"):
        await copy_in(loop_device, bytes(MIB), fsync_timeout=0)


async def test_what_is_there_is_overwritten_in_place(image: Path) -> None:
    await copy_in(image, b"start")
    assert image.read_bytes()[:6] == b"start\0"
    assert image.stat().st_size == 16 * MIB
    assert len(await copy_out(image)) == 16 * MIB


async def test_a_device_that_is_absent_is_not_made(tmp_path: Path) -> None:
    absent = tmp_path / "sdx"
    with pytest.raises(TimeoutError, match=r"sdx is not ready after 0\.2 seconds: No such file"):
        await copy_in(absent, b"data", timeout=0.2)
    assert not absent.exists()


async def test_a_device_that_comes_later_is_waited_for(tmp_path: Path, image: Path) -> None:
    later = tmp_path / "sdx"
    waiting = anyio.Event()

    class Watcher(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            waiting.set()

    logger = logging.Logger("test")
    logger.addHandler(Watcher())
    ours, theirs = create_memory_stream()
    async with ours, theirs, anyio.create_task_group() as group:
        group.start_soon(partial(write, later, theirs, timeout=30, logger=logger))
        await waiting.wait()
        later.symlink_to(image)
        await sent(ours, b"data")
    assert image.read_bytes()[:5] == b"data\0"


async def test_a_reader_without_a_medium(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.touch()
    with pytest.raises(TimeoutError, match="no medium"):
        await wait_for_storage_device(empty, "rb", timeout=0)
    empty.write_bytes(b"x")
    assert await wait_for_storage_device(empty, "rb", timeout=1) == empty


async def test_other_errors_are_not_waited_out(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError), anyio.fail_after(10):
        await copy_in(tmp_path, b"data", timeout=60)


async def test_the_leeway_comes_after_the_copy(image: Path) -> None:
    ours, theirs = create_memory_stream()
    async with ours, theirs:
        await sent(ours, b"data")
        before = anyio.current_time()
        await write_to_storage_device(image, theirs, leeway=1)
        assert anyio.current_time() - before >= 1
    assert image.read_bytes()[:4] == b"data"


async def test_a_source_that_fails_is_not_taken_for_the_device(image: Path) -> None:
    ours, theirs = create_memory_stream()
    await theirs.aclose()
    with pytest.raises(anyio.ClosedResourceError):
        await write(image, theirs)
    await ours.aclose()
