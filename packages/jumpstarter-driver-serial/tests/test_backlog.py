"""The backlog against a model that keeps everything."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from jumpstarter_driver_serial.backlog import FULL_BYTES, KEPT_BYTES, Backlog, Cursor

steps = st.lists(
    st.one_of(
        st.tuples(st.just("attach"), st.just(0)),
        st.tuples(st.just("detach"), st.integers(0, 3)),
        st.tuples(st.just("append"), st.integers(1, KEPT_BYTES // 2)),
        st.tuples(st.just("take"), st.integers(0, 3)),
    ),
    max_size=60,
)


@given(steps)
def test_every_reader_gets_what_arrives_and_the_newest_is_kept_for_the_next(moves: list[tuple[str, int]]) -> None:
    backlog = Backlog()
    arrived = bytearray()
    readers: list[tuple[Cursor, int, bytearray]] = []
    unread_from = 0
    for move, value in moves:
        if move == "attach" and len(readers) < 4:
            kept_from = max(unread_from, len(arrived) - KEPT_BYTES)
            begin = len(arrived) if readers else kept_from
            cursor = Cursor()
            backlog.attach(cursor)
            assert cursor.missed == (0 if readers else kept_from - unread_from)
            readers.append((cursor, begin, bytearray()))
        elif move == "append":
            piece = bytes(n % 251 for n in range(len(arrived), len(arrived) + value))
            backlog.append(piece)
            arrived += piece
        elif move == "take" and value < len(readers):
            cursor, _, taken = readers[value]
            taken += backlog.take(cursor, 50_000)
        elif move == "detach" and value < len(readers):
            cursor, begin, taken = readers.pop(value)
            backlog.detach(cursor)
            if not readers:
                unread_from = begin + len(taken)
        for cursor, begin, taken in readers:
            assert arrived[begin : begin + len(taken)] == taken
            assert backlog.lag(cursor) == len(arrived) - begin - len(taken)
            assert backlog.is_full(cursor) == (backlog.lag(cursor) >= FULL_BYTES)
    for cursor, begin, taken in readers:
        while piece := backlog.take(cursor, 50_000):
            taken += piece
        assert taken == arrived[begin:]
