"""Frames come out of a stream as they went in, however the stream is cut, and what is no frame is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambent.core.invocation import Asked, Head, Status
from lambent.wire.frames import (
    HEADER_BYTES_MAX,
    PREFIX,
    Answer,
    Batch,
    Begin,
    Call,
    Cancel,
    Chunk,
    Closing,
    Credit,
    Form,
    FrameError,
    FrameReader,
    Hello,
    Input,
    LoadError,
    Progress,
    Stop,
    Took,
    ToServer,
    ToWorker,
    Wake,
    encode,
    parts,
)

sizes = st.integers(min_value=0, max_value=2**40)
ids = st.integers(min_value=0, max_value=2**53)
bodies = st.binary(max_size=200)
pairs = st.lists(st.tuples(st.text(max_size=5), st.text(max_size=5)), max_size=3).map(tuple)
heads = st.builds(Head, st.integers(0, 999), pairs)
to_server = st.one_of(
    st.builds(Hello, st.dictionaries(st.text(max_size=5), st.floats(allow_nan=False), max_size=3)),
    st.just(LoadError()),
    st.builds(Answer, ids, st.sampled_from(Status), st.text(max_size=20), sizes, sizes, sizes, st.booleans()),
    st.builds(Progress, ids),
    st.builds(Begin, ids, st.none() | heads),
    st.builds(Chunk, ids, st.sampled_from(Form), st.booleans()),
    st.builds(Took, ids, sizes),
)
calls = st.builds(
    Call,
    ids,
    st.text(max_size=9),
    st.floats(0, 1e9),
    st.text(max_size=9),
    st.text(max_size=9),
    st.booleans(),
    st.none()
    | st.builds(
        Asked, st.text(max_size=5), st.text(max_size=9), st.text(max_size=9), st.text(max_size=9), pairs
    ),
)
to_worker = st.one_of(
    calls,
    st.builds(Batch, ids, st.lists(calls, max_size=3).map(tuple), st.lists(sizes, max_size=3).map(tuple)),
    st.builds(Input, ids, st.sampled_from(Form), st.booleans()),
    st.builds(Credit, ids, sizes),
    st.builds(Cancel, ids),
    st.just(Stop()),
    st.just(Wake()),
)


@given(st.lists(st.tuples(to_server, bodies), max_size=6), st.lists(st.integers(1, 60), min_size=1))
def test_any_cutting_of_the_stream_gives_the_same_frames(
    frames: list[tuple[ToServer, bytes]], cuts: list[int]
) -> None:
    stream = b"".join(encode(header, body) for header, body in frames)
    reader: FrameReader[ToServer] = FrameReader(ToServer)
    seen: list[tuple[ToServer, bytes]] = []
    turn = 0
    while stream:
        size = cuts[turn % len(cuts)]
        seen += reader.feed(stream[:size])
        stream = stream[size:]
        turn += 1
    assert seen == frames


@given(st.lists(st.tuples(to_worker, bodies), max_size=6), st.lists(st.integers(1, 60), min_size=1))
def test_so_it_is_in_the_other_direction(frames: list[tuple[ToWorker, bytes]], cuts: list[int]) -> None:
    stream = b"".join(encode(header, body) for header, body in frames)
    reader: FrameReader[ToWorker] = FrameReader(ToWorker)
    seen: list[tuple[ToWorker, bytes]] = []
    turn = 0
    while stream:
        size = cuts[turn % len(cuts)]
        seen += reader.feed(stream[:size])
        stream = stream[size:]
        turn += 1
    assert seen == frames


@given(st.integers(0, 65_535), st.text(max_size=50))
def test_how_a_socket_was_closed_is_read_as_it_was_written(code: int, reason: str) -> None:
    assert Closing.of(Closing(code, reason).piece()) == Closing(code, reason)
    assert Closing.of(b"") == Closing.of(b"\x03") == Closing(1005)


def test_the_other_direction_is_another_language() -> None:
    reader: FrameReader[ToWorker] = FrameReader(ToWorker)
    call = Call(1, "id", 100.0)
    assert reader.feed(encode(call, b"x") + encode(Stop())) == [(call, b"x"), (Stop(), b"")]
    with pytest.raises(FrameError, match="cannot be read"):
        reader.feed(encode(Progress(1)))


@pytest.mark.parametrize(
    "stream",
    [
        pytest.param(PREFIX.pack(HEADER_BYTES_MAX + 1, 0), id="a header over the maximum"),
        pytest.param(PREFIX.pack(1, 1001), id="a body over the maximum"),
        pytest.param(PREFIX.pack(2, 0) + b"\xc1\xc1", id="a header that is not msgpack"),
        pytest.param(PREFIX.pack(0, 0), id="no header"),
    ],
)
def test_what_is_no_frame_is_refused_before_it_is_waited_for(stream: bytes) -> None:
    reader: FrameReader[ToServer] = FrameReader(ToServer, body_bytes_max=1000)
    with pytest.raises(FrameError):
        reader.feed(stream)


@given(st.lists(st.integers(1, 90_000), max_size=6), st.integers(0, 3))
def test_large_bodies_are_put_together_however_they_are_cut(cuts: list[int], small: int) -> None:
    body = bytes(range(256)) * 300
    answer = Answer(1, Status.OK, "application/json", 1, 1, 1)
    frames = [(answer, b"x" * small), (answer, body), (Progress(2), b"{}"), (answer, body)]
    sent = b"".join(part for header, said in frames for part in parts(header, said))
    assert sent == b"".join(encode(header, said) for header, said in frames)
    reader: FrameReader[ToServer] = FrameReader(ToServer)
    found: list[tuple[ToServer, bytes]] = []
    for cut in [*cuts, len(sent)]:
        found += reader.feed(sent[:cut])
        sent = sent[cut:]
    assert found == frames
