"""The arena: a folder in which a run's worker commits its state, and where the server finds it.

`head` is one page that both sides see; `slot.0` to `slot.2` hold states. There is a record of each slot in
the head. A commit takes a slot that holds neither the newest state nor one that the server reads, makes that
slot's record void, writes the state, and writes the record. Whatever is cut off at any point, the newest
record that is whole speaks of a state that is whole. Only a server that reads makes the third slot needed.

The kernel keeps what a killed process has written, and loses it when the machine stops: the head names the
boot that it was made in. A slot that found no room in the arena's memory is in the arena's `spill`.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from typing import Final

import msgspec

from lambent.core.errors import StorageBroken

HEAD: Final = "head"
SPILL: Final = "spill"
HEAD_BYTES: Final = 4096
SLOTS: Final = 3
BOOT_CHARS: Final = 36
VOID: Final = b"\0" * 64

_MAGIC: Final = b"LAMBARN1"
_ASKED_AT: Final = 64
_PINNED_AT: Final = 128
_RECORDS_AT: Final = 256
_RECORD: Final = struct.Struct("<QQqQII")  # seq, bytes, step, unix_ms, spilled, checksum
_WORD: Final = struct.Struct("<Q")

Bytes = bytes | bytearray | memoryview


class Commit(msgspec.Struct, frozen=True, kw_only=True):
    """A state that is whole. `seq` counts the commits of a run, whichever worker made them."""

    seq: int
    slot: int
    size_bytes: int
    step: int
    unix_ms: int
    spilled: int = 0  # 1 where the slot is in `SPILL`


class Patch(msgspec.Struct, frozen=True):
    """Bytes to be written at a place of the head."""

    at: int
    content: bytes


def slot_name(slot: int) -> str:
    """The file of a slot."""
    return f"slot.{slot}"


def fresh_head(boot: str) -> bytes:
    """The head of an arena without commits, made while the machine's boot has this id."""
    named = _MAGIC + boot.encode()[:BOOT_CHARS].ljust(BOOT_CHARS)
    return named.ljust(HEAD_BYTES, b"\0")


def is_of_boot(head: Bytes, boot: str) -> bool:
    """Whether this is a head, and of the boot with this id."""
    return bytes(head[: len(_MAGIC) + BOOT_CHARS]) == fresh_head(boot)[: len(_MAGIC) + BOOT_CHARS]


def check_head(head: Bytes) -> None:
    """Raise `StorageBroken` where this is no head."""
    if len(head) < HEAD_BYTES or bytes(head[: len(_MAGIC)]) != _MAGIC:
        raise StorageBroken("the run's arena has no head that can be read")


def commits(head: Bytes) -> Sequence[Commit]:
    """The states that are whole, the newest first."""
    found = [commit for slot in range(SLOTS) if (commit := _commit(head, slot)) is not None]
    return sorted(found, key=lambda commit: -commit.seq)


def void(slot: int) -> Patch:
    """What makes the record of a slot void."""
    return Patch(_record_at(slot), VOID)


def record(commit: Commit) -> Patch:
    """What makes a slot's state the newest."""
    words = (commit.seq, commit.size_bytes, commit.step, commit.unix_ms, commit.spilled)
    unsigned = _RECORD.pack(*words, 0)
    return Patch(_record_at(commit.slot), _RECORD.pack(*words, _checksum(unsigned, commit.slot)))


def next_slot(head: Bytes) -> int:
    """The slot that the next commit is written to: neither the newest nor the one that is read."""
    newest = commits(head)
    taken = {pinned(head), newest[0].slot if newest else None}
    return next(slot for slot in range(SLOTS) if slot not in taken)


def asking(*, to_yield: bool) -> Patch:
    """What asks the worker to commit and leave, or takes that back."""
    return Patch(_ASKED_AT, _WORD.pack(to_yield))


def is_asked(head: Bytes) -> bool:
    """Whether the worker is to commit and leave."""
    return bool(head[_ASKED_AT])


def pinning(slot: int | None) -> Patch:
    """What keeps a slot from being written to while the server reads it; None lets it go."""
    return Patch(_PINNED_AT, _WORD.pack(0 if slot is None else slot + 1))


def pinned(head: Bytes) -> int | None:
    """The slot that the server reads."""
    word: int = _WORD.unpack_from(head, _PINNED_AT)[0]
    return word - 1 if 1 <= word <= SLOTS else None


def _commit(head: Bytes, slot: int) -> Commit | None:
    raw = bytes(head[_record_at(slot) : _record_at(slot) + _RECORD.size])
    seq, size_bytes, step, unix_ms, spilled, checksum = _RECORD.unpack(raw)
    if not seq or checksum != _checksum(raw, slot):
        return None
    return Commit(seq=seq, slot=slot, size_bytes=size_bytes, step=step, unix_ms=unix_ms, spilled=spilled)


def _record_at(slot: int) -> int:
    return _RECORDS_AT + len(VOID) * slot


def _checksum(record: bytes, slot: int) -> int:
    return zlib.crc32(record[: _RECORD.size - 4], slot + 1)
