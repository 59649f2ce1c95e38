"""Frames are found again whatever stands between them, and nothing that is not one is taken for one."""

import hypothesis.strategies as st
import pytest
from hypothesis import given

from lambent.metering.segment import HEAD, MARKER, PAYLOAD_BYTES_MAX, framed, frames

payloads = st.lists(st.binary(min_size=0, max_size=60), max_size=8)


def read(content: bytes, start: int = 0) -> list[bytes]:
    return [bytes(frame.payload) for frame in frames(content, start)]


@given(payloads, st.binary(max_size=20))
def test_what_was_framed_is_read(written: list[bytes], before: bytes) -> None:
    content = before + b"".join(map(framed, written))
    assert read(content, len(before)) == written


@given(payloads, st.data())
def test_a_cut_at_any_byte_costs_the_frame_that_is_cut_and_no_other(
    written: list[bytes], data: st.DataObject
) -> None:
    whole = list(map(framed, written))
    content = b"".join(whole)
    cut = data.draw(st.integers(0, len(content)))
    left = []
    size = 0
    for payload, frame in zip(written, whole, strict=True):
        size += len(frame)
        if size <= cut:
            left.append(payload)
    assert read(content[:cut]) == left


@given(st.lists(st.binary(min_size=8, max_size=60), min_size=1, max_size=6), st.data())
def test_a_changed_byte_costs_one_frame_and_is_noticed_by_the_next(
    written: list[bytes], data: st.DataObject
) -> None:
    content = bytearray(b"".join(map(framed, written)))
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= data.draw(st.integers(1, 255))
    found = list(frames(bytes(content), 0))
    starts = [sum(HEAD.size + len(payload) for payload in written[:turn]) for turn in range(len(written))]
    hit = max(turn for turn, start in enumerate(starts) if start <= place)
    assert [bytes(frame.payload) for frame in found] == written[:hit] + written[hit + 1 :]
    assert [frame.after_damage for frame in found] == [turn == hit for turn in range(len(found))]


@given(st.binary(max_size=400))
def test_noise_is_no_frame(noise: bytes) -> None:
    assert read(noise) == []


def test_zeros_are_no_frames() -> None:
    # A file system may leave a stretch of zeros where a power cut took the data.
    content = framed(b"one") + bytes(5000) + framed(b"two")
    assert read(content) == [b"one", b"two"]


def test_a_marker_inside_a_payload_does_not_confuse() -> None:
    payload = MARKER + framed(b"inner") + MARKER
    assert read(framed(payload) + framed(b"next")) == [payload, b"next"]


def test_a_frame_takes_so_much_and_no_more() -> None:
    largest = bytes(PAYLOAD_BYTES_MAX)
    assert read(framed(largest)) == [largest]
    with pytest.raises(ValueError, match="over the maximum"):
        framed(largest + b"!")
