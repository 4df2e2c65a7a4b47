"""Compressed byte streams: exact in both directions, bounded, and never short in silence."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import lzma
import random
import struct
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from itertools import cycle
from typing import Any

import pytest
from anyio import (
    BrokenResourceError,
    BusyResourceError,
    ClosedResourceError,
    EndOfStream,
    TypedAttributeSet,
    create_task_group,
    fail_after,
    run_process,
    typed_attribute,
    wait_all_tasks_blocked,
)
from anyio.abc import ObjectStream
from anyio.lowlevel import checkpoint
from backports import zstd
from hypothesis import given
from hypothesis import strategies as st
from jumpstarter.streams.codecs import XZ_MEMORY_BYTES
from jumpstarter.streams.common import create_memory_stream
from jumpstarter.streams.encoding import (
    AutoDecompressIterator,
    CompressedDataError,
    Compression,
    ExpansionLimit,
    ExpansionLimitExceeded,
    compress_stream,
)
from jumpstarter.streams.inflate import PIECE_BYTES

pytestmark = pytest.mark.anyio

GZIP, XZ, BZ2, ZSTD = Compression.GZIP, Compression.XZ, Compression.BZ2, Compression.ZSTD
MIB = 1024 * 1024
COMPRESS: dict[Compression, Callable[[bytes], bytes]] = {
    GZIP: gzip.compress,
    XZ: lzma.compress,
    BZ2: bz2.compress,
    ZSTD: zstd.compress,
}
DECOMPRESS: dict[Compression, Callable[[bytes], bytes]] = {
    GZIP: gzip.decompress,
    XZ: lzma.decompress,
    BZ2: bz2.decompress,
    ZSTD: zstd.decompress,
}
TOOL = {GZIP: "gzip", XZ: "xz", BZ2: "bzip2", ZSTD: "zstd"}
SKIPPABLE_FRAME = struct.pack("<II", 0x184D2A50, 5) + b"hello"

compressions = st.sampled_from(Compression)
sizes = st.lists(st.integers(1, 2000), min_size=1, max_size=8)
every = pytest.mark.parametrize("compression", Compression)


class Name(TypedAttributeSet):
    name: str = typed_attribute()


class Wire(ObjectStream[bytes]):
    """A connection whose other side sends `pieces` and keeps what it gets."""

    def __init__(self, pieces: Iterable[bytes] = ()) -> None:
        self.pieces = iter(pieces)
        self.sent: list[bytes] = []
        self.got_eof = self.closed = False

    async def receive(self) -> bytes:
        await checkpoint()
        for piece in self.pieces:
            return piece
        raise EndOfStream

    async def send(self, item: bytes) -> None:
        await checkpoint()
        self.sent.append(item)

    async def send_eof(self) -> None:
        self.got_eof = True

    async def aclose(self) -> None:
        self.closed = True

    @property
    def extra_attributes(self) -> dict[Any, Callable[[], Any]]:
        return {Name.name: lambda: "wire"}


def split(data: bytes, lengths: Iterable[int]) -> Iterator[bytes]:
    at = 0
    for length in cycle(lengths):
        if at >= len(data):
            return
        yield data[at : at + length]
        at += length


async def decompressed(compression: Compression, data: bytes, lengths: Iterable[int] = (65536,)) -> bytes:
    return await rest_of(compress_stream(Wire(split(data, lengths)), compression))


async def rest_of(stream: ObjectStream[bytes]) -> bytes:
    return b"".join([piece async for piece in stream])


async def count_into(pieces: list[int], stream: ObjectStream[bytes]) -> None:
    """The sizes of what is received, kept also when it ends in an error."""
    async for piece in stream:
        pieces.append(len(piece))


async def one_by_one(data: bytes, lengths: Iterable[int]) -> AsyncIterator[bytes]:
    for piece in split(data, lengths):
        await checkpoint()
        yield piece


def test_published_members() -> None:
    members = {member.name: member.value for member in Compression}
    assert members == {"GZIP": "gzip", "XZ": "xz", "BZ2": "bz2", "ZSTD": "zstd"}


async def test_without_compression_it_is_the_stream_itself() -> None:
    wire = Wire()
    assert compress_stream(wire, None) is wire


@given(compressions, st.binary(max_size=5000), sizes)
async def test_receives_in_any_cut(compression: Compression, data: bytes, lengths: list[int]) -> None:
    assert await decompressed(compression, COMPRESS[compression](data), lengths) == data


@given(compressions, st.binary(max_size=5000), sizes)
async def test_sends_in_any_cut(compression: Compression, data: bytes, lengths: list[int]) -> None:
    wire = Wire()
    async with compress_stream(wire, compression) as stream:
        for piece in split(data, lengths):
            await stream.send(piece)
        await stream.send_eof()
        assert wire.got_eof
        assert DECOMPRESS[compression](b"".join(wire.sent)) == data
    assert wire.closed


@every
async def test_both_directions_at_once(compression: Compression) -> None:
    data = random.Random(1).randbytes(300_000)
    near, far = create_memory_stream()
    a, b = compress_stream(near, compression), compress_stream(far, compression)

    async def send(stream: ObjectStream[bytes]) -> None:
        for piece in split(data, [7, 70_000, 1]):
            await stream.send(piece)
        await stream.send_eof()

    async def receive(stream: ObjectStream[bytes]) -> None:
        assert b"".join([piece async for piece in stream]) == data

    async with a, b:
        with fail_after(20):
            async with create_task_group() as group:
                for stream in (a, b):
                    group.start_soon(send, stream)
                    group.start_soon(receive, stream)


class TestMembers:
    @given(compressions, st.lists(st.binary(max_size=300), min_size=1, max_size=6), sizes)
    async def test_all_are_read(self, compression: Compression, members: list[bytes], lengths: list[int]) -> None:
        data = b"".join(map(COMPRESS[compression], members))
        assert await decompressed(compression, data, lengths) == b"".join(members)

    @pytest.mark.parametrize("lengths", [[1], [3, 40], [65536]])
    async def test_skippable_frames(self, lengths: list[int]) -> None:
        data = SKIPPABLE_FRAME + zstd.compress(b"one") + SKIPPABLE_FRAME * 2 + zstd.compress(b"two") + SKIPPABLE_FRAME
        assert await decompressed(ZSTD, data, lengths) == b"onetwo"

    @pytest.mark.parametrize("compression", [GZIP, XZ])
    @pytest.mark.parametrize("lengths", [[1], [65536]])
    async def test_zeros_may_follow_a_member(self, compression: Compression, lengths: list[int]) -> None:
        one = COMPRESS[compression](b"one")
        assert await decompressed(compression, one + bytes(512), lengths) == b"one"
        assert await decompressed(compression, one + bytes(4) + one + bytes(8), lengths) == b"oneone"

    async def test_very_many_tiny_ones_in_one_piece(self) -> None:
        assert await decompressed(GZIP, gzip.compress(b"") * 100_000 + gzip.compress(b"end"), [10 * MIB]) == b"end"

    async def test_lzma_alone_counts_as_xz(self) -> None:
        assert await decompressed(XZ, lzma.compress(b"old", format=lzma.FORMAT_ALONE)) == b"old"


class TestBadInput:
    @given(compressions, st.binary(min_size=1, max_size=3000), sizes, st.data())
    async def test_cut_short(
        self, compression: Compression, data: bytes, lengths: list[int], choice: st.DataObject
    ) -> None:
        whole = COMPRESS[compression](data)
        cut = whole[: choice.draw(st.integers(0, len(whole) - 1))]
        with pytest.raises(CompressedDataError) as caught:
            await decompressed(compression, cut, lengths)
        assert str(caught.value) == f"{compression} data is cut short: it ends after {len(cut)} bytes"

    @every
    @pytest.mark.parametrize("lengths", [[1], [65536]])
    async def test_something_else_behind(self, compression: Compression, lengths: list[int]) -> None:
        whole = COMPRESS[compression](b"data")
        with pytest.raises(CompressedDataError, match="followed by other data"):
            await decompressed(compression, whole + b"something else altogether", lengths)
        with pytest.raises(CompressedDataError):
            await decompressed(compression, whole + b"x", lengths)

    @pytest.mark.parametrize("compression", [BZ2, ZSTD])
    async def test_zeros_behind(self, compression: Compression) -> None:
        with pytest.raises(CompressedDataError, match="followed by other data"):
            await decompressed(compression, COMPRESS[compression](b"data") + bytes(512))

    @every
    async def test_not_compressed_at_all(self, compression: Compression) -> None:
        with pytest.raises(CompressedDataError, match=f"^{compression} data is corrupt: ") as caught:
            await decompressed(compression, b"a plain text, of some length, as it is\n" * 10)
        assert isinstance(caught.value, ValueError)

    @given(compressions, st.binary(max_size=300), st.data())
    async def test_a_flipped_byte_gives_data_or_the_error(
        self, compression: Compression, data: bytes, choice: st.DataObject
    ) -> None:
        broken = bytearray(COMPRESS[compression](data))
        broken[choice.draw(st.integers(0, len(broken) - 1))] ^= choice.draw(st.integers(1, 255))
        try:
            await decompressed(compression, bytes(broken))
        except CompressedDataError as error:
            assert str(error).startswith(f"{compression} data")  # noqa: PT017 - it may also be intact

    @every
    async def test_the_error_stays(self, compression: Compression) -> None:
        stream = compress_stream(Wire([b"garbage" * 100, COMPRESS[compression](b"good")]), compression)
        for _ in range(3):
            with pytest.raises(CompressedDataError):
                await stream.receive()

    @every
    async def test_the_end_stays(self, compression: Compression) -> None:
        stream = compress_stream(Wire([COMPRESS[compression](b"good")]), compression)
        assert await stream.receive() == b"good"
        for _ in range(3):
            with pytest.raises(EndOfStream):
                await stream.receive()

    async def test_xz_that_wants_gigabytes_of_memory(self) -> None:
        data = bytearray(lzma.compress(b"x"))
        header = slice(12, 12 + (data[12] + 1) * 4 - 4)
        assert data[14:16] == b"\x21\x01"
        data[16] = 40
        data[header.stop : header.stop + 4] = struct.pack("<I", zlib.crc32(data[header]))
        with pytest.raises(CompressedDataError, match=r"[Mm]emory"):
            await decompressed(XZ, bytes(data))
        assert XZ_MEMORY_BYTES < 1024 * MIB

    async def test_zstd_that_wants_gigabytes_of_memory(self) -> None:
        with pytest.raises(CompressedDataError, match=r"[Mm]emory"):
            await decompressed(ZSTD, b"\x28\xb5\x2f\xfd\x00" + bytes([21 << 3]) + bytes(100))


class TestExpansion:
    @every
    async def test_a_bomb_is_stopped_at_the_cap(self, compression: Compression) -> None:
        bomb = COMPRESS[compression](bytes(16 * MIB)) * 64
        stream = compress_stream(Wire([bomb]), compression, limit=ExpansionLimit(free_bytes=24 * MIB, ratio=1))
        pieces: list[int] = []
        with pytest.raises(ExpansionLimitExceeded) as caught:
            await count_into(pieces, stream)
        assert 22 * MIB < sum(pieces) <= 24 * MIB
        assert max(pieces) <= PIECE_BYTES
        assert str(caught.value).startswith(
            f"{len(bomb)} bytes of {compression} data grow to more than the {24 * MIB} "
        )
        assert f"raise the expansion limit (free_bytes {24 * MIB}, ratio 1)" in str(caught.value)

    async def test_the_default_cap_is_a_gibibyte(self) -> None:
        pieces: list[int] = []
        with pytest.raises(ExpansionLimitExceeded, match=str(1024 * MIB)):
            await count_into(pieces, compress_stream(Wire([zstd.compress(bytes(128 * MIB)) * 9]), ZSTD))
        assert sum(pieces) == 1024 * MIB

    async def test_below_the_cap_is_no_bomb(self) -> None:
        data = await decompressed(GZIP, gzip.compress(bytes(32 * MIB)))
        assert len(data) == 32 * MIB

    async def test_the_larger_of_both_bounds_counts(self) -> None:
        data = gzip.compress(bytes(MIB))
        needed = MIB / len(data)
        for enough in (ExpansionLimit(free_bytes=0, ratio=needed * 1.01), ExpansionLimit(free_bytes=MIB, ratio=0)):
            assert await rest_of(compress_stream(Wire([data]), GZIP, limit=enough)) == bytes(MIB)
        too_little = ExpansionLimit(free_bytes=MIB - 1, ratio=needed * 0.99)
        with pytest.raises(ExpansionLimitExceeded):
            await rest_of(compress_stream(Wire([data]), GZIP, limit=too_little))

    @pytest.mark.parametrize("options", [{"free_bytes": -1}, {"ratio": -0.5}, {"ratio": float("nan")}])
    def test_nonsense_limits(self, options: dict[str, Any]) -> None:
        with pytest.raises(ValueError, match=next(iter(options))):
            ExpansionLimit(**options)

    async def test_the_loop_goes_on_meanwhile(self) -> None:
        pieces = turns = 0

        async def other_work() -> None:
            nonlocal turns
            while True:
                await checkpoint()
                turns += 1

        async with create_task_group() as group:
            group.start_soon(other_work)
            async for _ in compress_stream(Wire([bz2.compress(bytes(32 * MIB))]), BZ2):
                pieces += 1
            group.cancel_scope.cancel()
        assert turns > 10 * pieces


class TestSending:
    @every
    async def test_nothing_sent_is_an_empty_file(self, compression: Compression) -> None:
        wire = Wire()
        async with compress_stream(wire, compression) as stream:
            await stream.send_eof()
        assert wire.sent
        assert DECOMPRESS[compression](b"".join(wire.sent)) == b""

    async def test_only_reading_sends_nothing(self) -> None:
        wire = Wire([gzip.compress(b"data")])
        async with compress_stream(wire, GZIP) as stream:
            assert await stream.receive() == b"data"
        assert wire.closed
        assert wire.sent == []

    @every
    async def test_closing_loses_nothing(self, compression: Compression) -> None:
        wire = Wire()
        async with compress_stream(wire, compression) as stream:
            await stream.send(b"one")
            await stream.send(b"two")
        assert wire.closed
        assert DECOMPRESS[compression](b"".join(wire.sent)) == b"onetwo"

    async def test_after_the_end(self) -> None:
        wire = Wire([gzip.compress(b"still read")])
        async with compress_stream(wire, GZIP) as stream:
            await stream.send(b"one")
            await stream.send_eof()
            with pytest.raises(ClosedResourceError):
                await stream.send(b"two")
            assert await stream.receive() == b"still read"
        assert gzip.decompress(b"".join(wire.sent)) == b"one"

    @every
    async def test_pieces_are_bounded(self, compression: Compression) -> None:
        data = random.Random(2).randbytes(5 * MIB + 3)
        wire = Wire()
        async with compress_stream(wire, compression) as stream:
            await stream.send(data)
        assert max(map(len, wire.sent)) <= PIECE_BYTES
        assert DECOMPRESS[compression](b"".join(wire.sent)) == data

    async def test_an_interrupted_send_shows_at_the_other_side(self) -> None:
        near, far = create_memory_stream()
        noise = random.Random(3)

        async def send_until_cancelled(stream: ObjectStream[bytes]) -> None:
            while True:
                await stream.send(noise.randbytes(100_000))

        async with compress_stream(near, GZIP) as stream, compress_stream(far, GZIP) as other:
            async with create_task_group() as group:
                group.start_soon(send_until_cancelled, stream)
                await wait_all_tasks_blocked()
                group.cancel_scope.cancel()
            with pytest.raises(BrokenResourceError, match="interrupted"):
                await stream.send(b"more")
            await stream.aclose()
            with pytest.raises(CompressedDataError, match="cut short"):
                await rest_of(other)

    async def test_a_second_reader_is_refused(self) -> None:
        near, far = create_memory_stream()
        async with far, compress_stream(near, GZIP) as stream, create_task_group() as group:
            group.start_soon(stream.receive)
            await wait_all_tasks_blocked()
            with pytest.raises(BusyResourceError):
                await stream.receive()
            group.cancel_scope.cancel()

    async def test_a_cancelled_receive_loses_nothing(self) -> None:
        near, far = create_memory_stream()
        received = b""

        async def receive_one(stream: ObjectStream[bytes]) -> None:
            nonlocal received
            received += await stream.receive()

        async with far, compress_stream(near, ZSTD) as stream:
            for piece in split(zstd.compress(b"all of it"), [8]):
                async with create_task_group() as group:
                    group.start_soon(receive_one, stream)
                    await wait_all_tasks_blocked()
                    group.cancel_scope.cancel()
                await far.send(piece)
            await far.send_eof()
            assert received + await rest_of(stream) == b"all of it"

    async def test_attributes_pass_through(self) -> None:
        assert compress_stream(Wire(), GZIP).extra(Name.name) == "wire"


def blocks(count: int) -> Iterator[bytes]:
    """`count` times 64 KiB, of which a quarter is noise."""
    noise = random.Random(4)
    for number in range(count):
        yield noise.randbytes(16384) + number.to_bytes(4, "big") * 12288


class TestLarge:
    # xz's own encoder takes 94 MiB.
    @pytest.mark.parametrize(
        ("compression", "size", "memory"), [(GZIP, 64, 32), (ZSTD, 64, 32), (BZ2, 4, 32), (XZ, 8, 160)]
    )
    async def test_there_and_back_in_bounded_memory(self, compression: Compression, size: int, memory: int) -> None:
        near, far = create_memory_stream()
        sender, receiver = compress_stream(near, compression), compress_stream(far, compression)
        sent, received = hashlib.sha256(), hashlib.sha256()

        async def send() -> None:
            for block in blocks(size * 16):
                sent.update(block)
                await sender.send(block)
            await sender.send_eof()

        tracemalloc.start()
        try:
            async with create_task_group() as group, sender, receiver:
                group.start_soon(send)
                async for piece in receiver:
                    received.update(piece)
            assert tracemalloc.get_traced_memory()[1] < memory * MIB
        finally:
            tracemalloc.stop()
        assert received.hexdigest() == sent.hexdigest()


class TestRealTools:
    @pytest.fixture(params=[pytest.param(c, marks=pytest.mark.peer(tool), id=tool) for c, tool in TOOL.items()])
    def compression(self, request: pytest.FixtureRequest) -> Compression:
        return Compression(request.param)

    @pytest.fixture
    def data(self) -> bytes:
        return b"".join(blocks(32))

    async def test_their_files_are_read(self, compression: Compression, data: bytes) -> None:
        file = (await run_process([TOOL[compression], "-c"], input=data)).stdout
        assert await decompressed(compression, file * 2, [997]) == data * 2

    async def test_they_read_what_is_sent(self, compression: Compression, data: bytes) -> None:
        wire = Wire()
        async with compress_stream(wire, compression) as stream:
            await stream.send(data)
        assert (await run_process([TOOL[compression], "-dc"], input=b"".join(wire.sent))).stdout == data


class TestAutoDecompressIterator:
    @given(compressions, st.binary(max_size=2000), sizes)
    async def test_recognised_in_any_cut(self, compression: Compression, data: bytes, lengths: list[int]) -> None:
        source = one_by_one(COMPRESS[compression](data), lengths)
        assert b"".join([piece async for piece in AutoDecompressIterator(source=source)]) == data

    @pytest.mark.parametrize("compression", Compression)
    async def test_byte_by_byte(self, compression: Compression) -> None:
        source = one_by_one(COMPRESS[compression](b"data"), [1])
        assert b"".join([piece async for piece in AutoDecompressIterator(source=source)]) == b"data"

    async def test_a_skippable_frame_first(self) -> None:
        source = one_by_one(SKIPPABLE_FRAME + zstd.compress(b"data"), [5])
        assert b"".join([piece async for piece in AutoDecompressIterator(source=source)]) == b"data"

    @given(
        st.binary(max_size=300).map(lambda data: b"=" + data)
        | st.sampled_from([b"", b"\x1f", b"\x1f\x8b", b"\xfd7zXZ", b"BZh9 is how they begin", b"\x28\xb5"]),
        sizes,
    )
    async def test_the_rest_passes_through(self, data: bytes, lengths: list[int]) -> None:
        pieces = [piece async for piece in AutoDecompressIterator(source=one_by_one(data, lengths))]
        assert b"".join(pieces) == data

    @pytest.mark.parametrize("compression", Compression)
    async def test_cut_short(self, compression: Compression) -> None:
        source = one_by_one(COMPRESS[compression](b"data" * 100)[:-1], [7])
        with pytest.raises(CompressedDataError, match="cut short"):
            async for _ in AutoDecompressIterator(source=source):
                pass

    async def test_has_a_cap(self) -> None:
        source = one_by_one(gzip.compress(bytes(MIB)), [65536])
        with pytest.raises(ExpansionLimitExceeded):
            async for _ in AutoDecompressIterator(source=source, limit=ExpansionLimit(free_bytes=1000, ratio=1)):
                pass

    async def test_an_error_of_the_source_passes_through(self) -> None:
        async def failing() -> AsyncIterator[bytes]:
            yield gzip.compress(b"data")[:5]
            raise ConnectionError("gone")

        with pytest.raises(ConnectionError, match="gone"):
            await anext(AutoDecompressIterator(source=failing()))

    async def test_cancelling_while_it_looks_loses_nothing(self) -> None:
        near, far = create_memory_stream()
        async with near, far:
            pieces = AutoDecompressIterator(source=aiter(near))
            await far.send(b"\x1f\x8b")
            async with create_task_group() as group:
                group.start_soon(anext, pieces)
                await wait_all_tasks_blocked()
                group.cancel_scope.cancel()
            await far.send(gzip.compress(b"data")[2:])
            await far.send_eof()
            assert b"".join([piece async for piece in pieces]) == b"data"
