"""Whatever is cut off while a state is committed, the newest whole record speaks of a whole state."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambent.core.errors import StorageBroken
from lambent.wire import arena
from lambent.wire.arena import Commit, Patch

BOOT = "6f0f3c3e-0000-4000-8000-000000000001"
pins = st.sampled_from([None, 0, 1, 2])


def commit(seq: int, slot: int) -> Commit:
    return Commit(seq=seq, slot=slot, size_bytes=seq * 10, step=seq * 100, unix_ms=seq)


def written(head: bytearray, patch: Patch, *, cut: int | None = None) -> None:
    content = patch.content[:cut]
    head[patch.at : patch.at + len(content)] = content


class Pretended:
    """An arena whose slots hold the number of the commit that wrote them; None while it is written."""

    def __init__(self) -> None:
        self.head = bytearray(arena.fresh_head(BOOT))
        self.slots: list[int | None] = [None] * arena.SLOTS

    def steps(self, seq: int) -> Iterator[None]:
        """Commit, and stop after each write that a kill may come after."""
        slot = arena.next_slot(self.head)
        made = commit(seq, slot)
        for patch, before in ((arena.void(slot), None), (arena.record(made), seq)):
            if before:
                self.slots[slot] = None
                yield
                self.slots[slot] = before
                yield
            for cut in range(len(patch.content) + 1):
                written(self.head, patch, cut=cut)
                yield


@given(st.integers(1, 6), pins, st.data())
def test_a_commit_cut_off_at_any_byte_leaves_the_newest_state_whole(
    before: int, pin: int | None, data: st.DataObject
) -> None:
    there = Pretended()
    for seq in range(1, before + 1):
        for _ in there.steps(seq):
            pass
    written(there.head, arena.pinning(pin))
    cut = data.draw(st.integers(0, 170))
    for number, _ in enumerate(there.steps(before + 1)):
        newest = arena.commits(there.head)[0]
        assert newest.seq in {before, before + 1}
        assert there.slots[newest.slot] == newest.seq
        assert newest == commit(newest.seq, newest.slot)
        if number == cut:
            break
    for seq in range(before + 2, before + 4):  # who takes it up again goes on as ever
        for _ in there.steps(seq):
            assert there.slots[arena.commits(there.head)[0].slot] == arena.commits(there.head)[0].seq
    assert arena.commits(there.head)[0].seq == before + 3


@given(st.lists(pins, min_size=1, max_size=20))
def test_what_the_server_reads_and_what_is_newest_is_never_written_to(reads: list[int | None]) -> None:
    head = bytearray(arena.fresh_head(BOOT))
    for seq, pin in enumerate(reads, start=1):
        written(head, arena.pinning(pin))
        newest = arena.commits(head)
        slot = arena.next_slot(head)
        assert slot != pin
        assert not newest or slot != newest[0].slot
        written(head, arena.record(commit(seq, slot)))


def test_two_slots_are_enough_where_nobody_reads() -> None:
    there = Pretended()
    for seq in range(1, 8):
        for _ in there.steps(seq):
            pass
    assert there.slots == [7, 6, None]


@given(st.integers(0, arena.SLOTS - 1), st.integers(0, 43), st.integers(1, 255))
def test_a_record_with_one_wrong_byte_is_none(slot: int, at: int, flip: int) -> None:
    head = bytearray(arena.fresh_head(BOOT))
    patch = arena.record(commit(3, slot))
    wrong = bytearray(patch.content)
    wrong[at % len(wrong)] ^= flip
    written(head, Patch(patch.at, bytes(wrong)))
    assert arena.commits(head) == []


def test_a_record_in_the_place_of_another_slot_is_none() -> None:
    head = bytearray(arena.fresh_head(BOOT))
    written(head, Patch(arena.record(commit(3, 1)).at, arena.record(commit(3, 0)).content))
    assert arena.commits(head) == []


@given(st.binary(max_size=arena.HEAD_BYTES + 8))
def test_anything_else_is_no_head(content: bytes) -> None:
    with pytest.raises(StorageBroken):
        arena.check_head(content)


def test_a_head_of_another_boot_is_known() -> None:
    head = arena.fresh_head(BOOT)
    assert arena.is_of_boot(head, BOOT)
    assert not arena.is_of_boot(head, BOOT[:-1] + "2")
    assert not arena.is_of_boot(b"", BOOT)


def test_being_asked_is_seen_and_can_be_taken_back() -> None:
    head = bytearray(arena.fresh_head(BOOT))
    assert not arena.is_asked(head)
    written(head, arena.asking(to_yield=True))
    assert arena.is_asked(head)
    written(head, arena.asking(to_yield=False))
    assert not arena.is_asked(head)
