"""Which revision of a deployment answers an invocation: aliases, and splits of their traffic by weight.

An alias stands for one revision, or for two while one of them, the candidate, is on trial. Who gets the
candidate is read off a hash, so that nothing has to be remembered: a caller who is known by a header's value
gets the same revision every time, after a restart, too, and whoever has the candidate keeps it as its share
grows. This is rendezvous hashing with two nodes and weights; the candidate's id salts it, so that it is not
always the same callers on whom something new is tried.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final

import msgspec

from lambent.core.errors import InvalidSpec
from lambent.core.spec import NAME

OWN: Final = ""  # the alias that a deployment's own name stands for
PIN: Final = "@"  # begins what stands for one revision by its id, whatever the aliases say; no alias has it
HEADER: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")  # RFC 9110 section 5.6.2: a token
WEIGHT: Final = re.compile(r"([0-9]{1,9})(?::([0-9]{1,3}(?:\.[0-9]{1,3})?))?")
KEY_BYTES: Final = 6  # a number of 48 bits is exact as a float


class Split(msgspec.Struct, frozen=True, kw_only=True):
    """Who answers, by revision id. `percent` of the traffic, 0 to 100, goes to the `candidate`, if any.

    `sticky_header` names the header, in lower case, whose value a caller is known by; empty where each
    invocation is for itself.
    """

    revision: str
    candidate: str = ""
    percent: float = 0.0
    sticky_header: str = ""


class Weights(msgspec.Struct, frozen=True):
    """What `3:90,4:10` says: by number, who answers, and who gets `percent` of it on trial."""

    number: int
    candidate: int | None = None
    percent: float = 0.0


def pick(split: Split, key: str) -> str:
    """The revision that answers. `key` is the sticky header's value, or else the invocation's id."""
    if split.candidate and place(split.candidate, key) * 100 < split.percent:
        return split.candidate
    return split.revision


def place(candidate: str, key: str) -> float:
    """Where a key stands among all: evenly spread over [0, 1), the same for the same candidate and key."""
    digest = hashlib.blake2b(f"{candidate}\n{key}".encode(), digest_size=KEY_BYTES).digest()
    return int.from_bytes(digest, "big") / (1 << 8 * KEY_BYTES)


def pinned(revision: str) -> str:
    """As an alias: this revision and no other, as long as it is live."""
    return PIN + revision


def read_weights(text: str) -> Weights:
    """`3`, or `3:90,4:10`: the second is the one on trial. Raises `InvalidSpec` that says what is wrong."""
    found = [WEIGHT.fullmatch(one.strip()) for one in text.split(",")]
    if len(found) == 1 and found[0] and found[0][2] is None:
        return Weights(int(found[0][1]))
    if len(found) != 2 or not all(one and one[2] for one in found):
        raise InvalidSpec(
            f"{text!r} is neither a revision's number, such as 3, nor two with their percents, such as "
            "3:90,4:10"
        )
    first, second = ((int(one[1]), float(one[2])) for one in found if one)
    if first[1] + second[1] != 100:
        raise InvalidSpec(f"{text!r}: the percents add up to {first[1] + second[1]:g}, not to 100")
    if first[0] == second[0]:
        raise InvalidSpec(f"{text!r} names revision {first[0]} twice")
    return Weights(first[0], second[0], second[1])


def check_alias(name: str) -> None:
    """Raise `InvalidSpec` unless it can be an alias: like a deployment's name, and no number."""
    if not NAME.fullmatch(name) or name.isdecimal():
        raise InvalidSpec(
            f"{name[:60]!r} is not a name for an alias: use 1 to 64 of A-Z, a-z, 0-9, '-' and '_', not "
            "starting with '-', and not digits alone"
        )


def check_header(name: str) -> None:
    """Raise `InvalidSpec` unless it can be a header's name."""
    if name and not HEADER.fullmatch(name):
        raise InvalidSpec(f"{name[:60]!r} is not the name of a header")
