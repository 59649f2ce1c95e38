"""What revisions and environments take in memory: measured, and remembered when they are not there.

The kernel counts a shared page in parts, one for each process that maps it. What a plan needs is what would
be free without a process, so a census is read like this: a worker adds what it alone maps; a template takes
what it and its workers map beyond that and beyond their part of the environment; the environment is the rest
of what its whole family takes. So the parts add up to what the kernel counted.

A template has a worker parked beside it while none lives, and that counts to it. The first worker that lives
stands in its place: what lies between primed and hot is what the workers take beyond that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

import msgspec

from lambent.core.memories import Count
from lambent.core.spec import MIB
from lambent.engines.base import ProcessFacts
from lambent.wire.process import RevisionPlan

# Before anything was measured: an interpreter with a package or two, a small model, a worker of it.
ENVIRONMENT_BYTES: Final = 64 * MIB
PRIMED_BYTES: Final = 16 * MIB
WORKER_BYTES: Final = 8 * MIB
# Nothing is free: what shares all its pages still has page tables and a process.
PROCESS_BYTES: Final = MIB // 2


def environment_of(plan: RevisionPlan) -> str:
    """The environment of a plan, named by what its template imports."""
    return ",".join(sorted(set(plan.imports)))


class Typical(msgspec.Struct, frozen=True, kw_only=True):
    """What is assumed of what has not been measured: what the others take."""

    environment_bytes: int = ENVIRONMENT_BYTES
    primed_bytes: int = PRIMED_BYTES
    worker_bytes: int = WORKER_BYTES
    parked_bytes: int = 0  # before any was seen: not every engine parks workers


class SizesMemory(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes by revision and by environment, as measured last."""

    primed: dict[str, Count]
    worker: dict[str, Count]
    environments: dict[str, Count]


class Family(msgspec.Struct, frozen=True, kw_only=True):
    """The processes of one revision in a census."""

    templates: tuple[ProcessFacts, ...] = ()
    parked: tuple[ProcessFacts, ...] = ()
    workers: tuple[ProcessFacts, ...] = ()

    @property
    def all(self) -> tuple[ProcessFacts, ...]:
        """Every process of it."""
        return (*self.templates, *self.parked, *self.workers)


class Sizes:
    """Bytes by revision and by environment. Bounded: what is not deployed any more is forgotten."""

    def __init__(self) -> None:
        self._primed: dict[str, int] = {}
        self._parked: dict[str, int] = {}
        self._worker: dict[str, int] = {}
        self._workers: dict[str, int] = {}
        self._environments: dict[str, int] = {}
        self._typical = Typical()
        self.used_bytes = 0  # everything that the last census saw
        self.other_bytes = 0  # of it, what belongs to no revision that is planned

    def primed_bytes(self, plan: RevisionPlan) -> int:
        """What its template takes beyond the environment, and the worker parked beside it."""
        template_bytes = self._primed.get(plan.revision, self._typical.primed_bytes + plan.mapped_bytes)
        return template_bytes + self.parked_bytes(plan.revision)

    def parked_bytes(self, revision: str) -> int:
        """What a worker of it takes while it is parked, or the one that stands in its place takes at most."""
        return self._parked.get(revision, self._typical.parked_bytes)

    def worker_bytes(self, revision: str) -> int:
        """What one more worker takes."""
        return self._worker.get(revision, self._typical.worker_bytes)

    def workers_bytes(self, revision: str, workers: int) -> int:
        """What so many workers take: as counted, or so many times one."""
        return max(self._workers.get(revision, 0), workers * self.worker_bytes(revision))

    def environment_bytes(self, environment: str) -> int:
        """What an environment template takes, counted once."""
        return self._environments.get(environment, self._typical.environment_bytes)

    def memory(self) -> SizesMemory:
        """What was measured."""
        return SizesMemory(
            primed=dict(self._primed), worker=dict(self._worker), environments=dict(self._environments)
        )

    def recall(self, memory: SizesMemory) -> None:
        """Know what was measured before."""
        self._primed, self._worker = dict(memory.primed), dict(memory.worker)
        self._environments = dict(memory.environments)
        self._typify()

    def learn(self, census: Sequence[ProcessFacts], plans: Iterable[RevisionPlan]) -> None:
        """Read a census of revisions that are planned, and of others."""
        planned = {plan.revision: environment_of(plan) for plan in plans}
        wanted = frozenset(planned.values())
        families = _families(census, planned)
        homes = {
            name: facts
            for facts in census
            if facts.role == "environment" and (name := ",".join(facts.imports)) in wanted
        }
        taken = dict.fromkeys(homes, 0)
        living = Counter(planned[revision] for revision, family in families.items() for _ in family.all)
        parts = {name: _part_bytes(home, living[name] + 1) for name, home in homes.items()}
        for revision, family in families.items():
            home = homes.get(planned[revision])
            part_bytes = parts.get(planned[revision], 0)
            own_bytes = self._learn_family(revision, family, part_bytes)
            if home is not None:
                taken[planned[revision]] += _pss(family.all) - own_bytes
        for name, home in homes.items():
            self._environments[name] = max(PROCESS_BYTES, home.pss_bytes + taken[name])
        self._forget(planned, families)
        self._typify()
        self.used_bytes = _pss(census)
        known_bytes = sum(_pss(one.all) for one in families.values())
        self.other_bytes = self.used_bytes - known_bytes - _pss(homes.values())

    def _typify(self) -> None:
        self._typical = Typical(
            environment_bytes=_mean(self._environments.values(), ENVIRONMENT_BYTES),
            primed_bytes=min(PRIMED_BYTES, _mean(self._primed.values(), PRIMED_BYTES)),
            worker_bytes=_mean(self._worker.values(), WORKER_BYTES),
            parked_bytes=_mean(self._parked.values(), 0),
        )

    def _learn_family(self, revision: str, family: Family, part_bytes: int) -> int:
        """The bytes that are the revision's own, those of its workers among them."""
        workers_bytes, parked_bytes = _private(family.workers), _private(family.parked)
        if family.workers:
            self._worker[revision] = max(PROCESS_BYTES, workers_bytes // len(family.workers))
            self._workers[revision] = workers_bytes
        if family.parked:
            self._parked[revision] = parked_bytes
        elif family.workers and (before_bytes := self.parked_bytes(revision)):
            least_bytes = min(worker.private_bytes for worker in family.workers)
            self._parked[revision] = min(before_bytes, least_bytes)
        if not family.templates:
            return workers_bytes + parked_bytes
        primed_bytes = _private(family.templates)
        if len(family.all) > 1:
            # What they share with each other is private to none.
            shared = sum(max(0, one.pss_bytes - one.private_bytes - part_bytes) for one in family.all)
            primed_bytes += shared
        self._primed[revision] = max(PROCESS_BYTES, primed_bytes)
        return primed_bytes + parked_bytes + workers_bytes

    def _forget(self, planned: Mapping[str, str], families: Mapping[str, Family]) -> None:
        wanted = frozenset(planned.values())
        self._primed = {name: size for name, size in self._primed.items() if name in planned}
        self._parked = {name: size for name, size in self._parked.items() if name in planned}
        self._worker = {name: size for name, size in self._worker.items() if name in planned}
        self._workers = {
            name: size
            for name, size in self._workers.items()
            if name in planned and name in families and families[name].workers
        }
        self._environments = {key: size for key, size in self._environments.items() if key in wanted}


def _families(census: Sequence[ProcessFacts], planned: Mapping[str, str]) -> dict[str, Family]:
    found: dict[str, Family] = {}
    for facts in census:
        if facts.revision not in planned:
            continue
        family = found.get(facts.revision, Family())
        if facts.role == "worker":
            family = msgspec.structs.replace(family, workers=(*family.workers, facts))
        elif facts.role == "parked":
            family = msgspec.structs.replace(family, parked=(*family.parked, facts))
        else:
            family = msgspec.structs.replace(family, templates=(*family.templates, facts))
        found[facts.revision] = family
    return found


def _part_bytes(home: ProcessFacts, sharers: int) -> int:
    """The part of the environment that each process of it holds: as much as its own template does.

    While a child is young it shares with that template alone what it is about to replace. Half of that is in
    the template's part and in nobody else's. If all is shared either by two or by everybody, the kernel's two
    numbers tell how much it is.
    """
    part_bytes = max(0, home.pss_bytes - home.private_bytes)
    of_all_bytes = home.shared_bytes / sharers
    if sharers <= 2 or not 0 < of_all_bytes < part_bytes:
        return part_bytes
    return max(0, int(part_bytes - (part_bytes - of_all_bytes) / (1 - 2 / sharers)))


def _pss(processes: Iterable[ProcessFacts]) -> int:
    return sum(facts.pss_bytes for facts in processes)


def _private(processes: Iterable[ProcessFacts]) -> int:
    return sum(facts.private_bytes for facts in processes)


def _mean(sizes: Collection[int], otherwise: int) -> int:
    return sum(sizes) // len(sizes) if sizes else otherwise
