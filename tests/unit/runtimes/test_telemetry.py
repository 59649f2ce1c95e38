"""Frames of a runtime's log: each message is a line, however the pipe cuts it, and noise stays what it is."""

from hypothesis import given
from hypothesis import strategies as st

from lambent.runtimes.lambda_api.telemetry import PIECE_BYTES_MAX, Telemetry


def frame(text: bytes, kind: int = 0x0003) -> bytes:
    head = b"\xa5\x5a" + kind.to_bytes(2, "big") + len(text).to_bytes(4, "big")
    return head + (b"" if kind in (1, 2) else b"\0" * 8) + text


def test_each_message_ends_its_line() -> None:
    said = Telemetry().feed(frame(b"one\ntwo") + frame(b"three\n", 0x0013) + frame(b"old", 1) + frame(b""))
    assert said == b"one\ntwo\nthree\nold\n"


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=6), st.lists(st.integers(1, 30), max_size=30))
def test_it_does_not_matter_how_the_pipe_cuts(texts: list[bytes], cuts: list[int]) -> None:
    stream, telemetry, said = b"".join(map(frame, texts)), Telemetry(), b""
    for cut in cuts:
        said += telemetry.feed(stream[:cut])
        stream = stream[cut:]
    said += telemetry.feed(stream)
    assert said == b"".join(text if text.endswith(b"\n") else text + b"\n" for text in texts)
    assert telemetry.close() == b""


def test_what_is_no_frame_is_passed_on_as_it_is() -> None:
    telemetry = Telemetry()
    assert telemetry.feed(frame(b"one")) == b"one\n"
    assert telemetry.feed(b"some text that was written there\n") == b"some text that was written there\n"
    assert telemetry.feed(frame(b"later")) == frame(b"later")


def test_a_message_of_any_length_is_held_in_pieces() -> None:
    telemetry, whole = Telemetry(), b"x" * (3 * PIECE_BYTES_MAX)
    stream = frame(whole)
    said = [telemetry.feed(stream[at : at + 1000]) for at in range(0, len(stream), 1000)]
    assert b"".join(said) == whole + b"\n"
    assert max(map(len, said)) <= PIECE_BYTES_MAX + 1


def test_what_its_writer_left_unfinished_is_said() -> None:
    telemetry = Telemetry()
    assert telemetry.feed(frame(b"half of it")[:-6]) == b""
    assert telemetry.close() == b"half\n"
