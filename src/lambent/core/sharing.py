"""What is fair where projects want more than there is: memory for workers, time of cores, turns in a queue.

A project that asks for little gets what it asks for. What is left is divided among the others equally, and
inside a project in the same way among its deployments: max-min fairness (Bertsekas and Gallager, "Data
Networks", section 6.5.2).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from math import floor, log
from typing import Final, TypeVar

import msgspec

NICE_STEP: Final = 1.25  # between two levels of niceness the kernel gives so much more time
NICE_MAX: Final = 19
ROUNDING: Final = 1e-9
KEPT_SHARE: Final = 0.125  # of the places in a queue's turns, for projects that have none
KEPT_PLACES: Final = 2  # from so many places on one is kept

K = TypeVar("K", bound=Hashable)


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """What one deployment of a project could use."""

    project: str
    deployment: str
    wanted: float


Owner = tuple[str, str]  # a project and its deployment


def shares(wanted: Mapping[K, float], capacity: float) -> Mapping[K, float]:
    """How much of `capacity` each gets: all that it wants, or as much as the largest share of any other."""
    given: dict[K, float] = {}
    left = capacity
    for count, (name, want) in enumerate(sorted(wanted.items(), key=lambda one: one[1])):
        given[name] = max(0.0, min(want, left / (len(wanted) - count)))
        left -= given[name]
    return given


def divide(claims: Iterable[Claim], capacity: float) -> Mapping[Owner, float]:
    """How much of `capacity` each deployment gets: first between projects, then inside each."""
    projects: dict[str, dict[Owner, float]] = {}
    for claim in claims:
        projects.setdefault(claim.project, {})[claim.project, claim.deployment] = claim.wanted
    of_project = shares({name: sum(wanted.values()) for name, wanted in projects.items()}, capacity)
    return {
        owner: share
        for name, wanted in projects.items()
        for owner, share in shares(wanted, of_project[name]).items()
    }


def niceness(busy: Iterable[Claim]) -> Mapping[Owner, int]:
    """How nice each deployment's workers should be to others, 0 to 19, when `wanted` of them are busy.

    The kernel divides a core among those that want it by weight, whoever owns them. With these weights each
    project has the same in sum, and in it each deployment. Who has least workers is not nice at all.
    """
    projects: dict[str, dict[Owner, float]] = {}
    for claim in busy:
        if claim.wanted > 0:
            projects.setdefault(claim.project, {})[claim.project, claim.deployment] = claim.wanted
    # One that is busy a tenth of the time has one worker that is, and that one needs no more than a weight.
    rivals = {
        owner: len(deployments) * max(1.0, wanted)
        for deployments in projects.values()
        for owner, wanted in deployments.items()
    }
    least = min(rivals.values(), default=1.0)
    return {owner: min(NICE_MAX, round(log(count / least, NICE_STEP))) for owner, count in rivals.items()}


def places(*, mine: int, all_taken: int, places_max: int, projects: int) -> int:
    """How many more of the places that so many projects share may be taken by one that has `mine`.

    The last few are kept for projects that have none: who has long work in all the others would make them
    wait for its end. A project that is alone keeps nothing for others, and one place is nobody's own.
    """
    if projects < 2 or places_max < KEPT_PLACES:
        return max(0, places_max - all_taken)
    kept = max(1, int(places_max * KEPT_SHARE))
    return max(int(not mine and all_taken < places_max), places_max - all_taken - kept)


class Need(msgspec.Struct, frozen=True, kw_only=True):
    """The workers of one deployment where there is no memory for all that are wanted.

    It has `have` and could use `wanted`; `least` are its own in any case: promised, or the only one.
    """

    project: str
    deployment: str
    have: int
    wanted: int
    least: int
    worker_bytes: int


def allot(needs: Iterable[Need], *, free_bytes: int) -> Mapping[Owner, int]:
    """How many workers each may have in the memory that all of them have now and in what is free.

    In whole workers. Nobody is told to give up what no other wants.
    """
    known = {(need.project, need.deployment): need for need in needs}
    claims = [
        Claim(
            project=need.project,
            deployment=need.deployment,
            wanted=float(max(need.wanted, need.least) * need.worker_bytes),
        )
        for need in known.values()
    ]
    capacity = free_bytes + sum(need.have * need.worker_bytes for need in known.values())
    return {
        owner: max(known[owner].least, floor(share / known[owner].worker_bytes + ROUNDING))
        for owner, share in divide(claims, capacity).items()
    }
