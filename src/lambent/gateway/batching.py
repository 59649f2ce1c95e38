"""One deployment's batches: what waits as `core.batching` sees it, and what is learnt from each that ran."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import inf
from typing import Final

import msgspec

from lambent.core.batching import Aside, BatchPolicy, Decision, Item, Reason, due
from lambent.core.invocation import Invocation, PrintTail
from lambent.core.latency import LatencyTables, Tail
from lambent.core.spec import MIB, DeploymentSpec
from lambent.pool.member import Lease, Member
from lambent.wire.frames import HEADER_BYTES_MAX

ALONE: Final = "alone"  # the group of those who have no company, not even each other
TIMEOUT_SHARE: Final = 0.5  # of the timeout, that a batch may be expected to take: it ends for all of them
BODIES_BYTES_MAX: Final = 64 * MIB  # of one batch
BODIES_SHARE: Final = 0.125  # of a worker's memory, likewise
AHEAD_MAX: Final = 4  # batches that a worker was sent ahead of their turn: short ones, else it is one
HEAD_BYTES: Final = 128  # what a call takes in a frame's header, beside its texts
CHARACTER_BYTES: Final = 4  # at most


class Sent(msgspec.Struct):
    """What a worker was sent, and since when (monotonic) it has been on its way there, or run.

    `at_once`: it found the worker idle.
    """

    expected_s: float
    since_s: float
    at_once: bool


class Batching:
    """Mutable: the dispatcher alone writes it."""

    def __init__(self, spec: DeploymentSpec) -> None:
        self._policy: Final = policy_of(spec)
        self._bodies_bytes_max: Final = bodies_bytes_max(spec)
        self._tables: Final = LatencyTables()
        self._sent: Final[dict[Lease, Sent]] = {}  # what has not ended, in the order in which it was sent
        self._hop: Final = Tail()
        self._tell: Final = Tail()
        self._lag: Final = Tail()
        self.look_s = inf  # when a timer is to ring

    def fits(self, spec: DeploymentSpec) -> bool:
        """Whether it is what this specification asks for."""
        return self._policy == policy_of(spec) and self._bodies_bytes_max == bodies_bytes_max(spec)

    def item(self, invocation: Invocation, since_s: float) -> Item:
        """An invocation as one row, beside others whose bodies are of about its size.

        What others print must not get into the tail that one asks for, and a body that has not arrived as a
        whole cannot be laid beside others: these go alone.
        """
        alone = invocation.print_tail is PrintTail.KEPT or invocation.more
        return Item(
            arrived_s=since_s,
            deadline_s=inf if invocation.deadline_s is None else invocation.deadline_s,
            group=ALONE if alone else size_class(len(invocation.body)),
        )

    def due(self, waiting: Sequence[Item], revision: str, *, idle_workers: int, now_s: float) -> Decision:
        """Which go now to the workers of a revision, and which are refused."""
        if waiting and waiting[0].group == ALONE:
            return Decision(take=(0,), reason=Reason.ALL) if idle_workers else Decision(reason=Reason.BUSY)
        alone = next((place for place, item in enumerate(waiting) if item.group == ALONE), len(waiting))
        ends = self._ends_s(revision, now_s)
        return due(
            waiting[:alone], self._tables, self._policy,
            idle_workers=idle_workers, busy_until_s=tuple(ends.values()), aside=self._aside(), now_s=now_s,
        )  # fmt: skip

    def behind(self, revision: str, now_s: float) -> Lease | None:
        """The right to run next on the worker that will be free first, or None where it takes no more."""
        ends_s = self._ends_s(revision, now_s)
        return min(ends_s, key=ends_s.__getitem__).behind(AHEAD_MAX) if ends_s else None

    def fitting(self, invocations: Sequence[Invocation]) -> int:
        """How many of them, the first ones, go into one frame; one at least."""
        bodies_bytes = head_bytes = 0
        for count, one in enumerate(invocations):
            bodies_bytes += len(one.body)
            head_bytes += HEAD_BYTES + CHARACTER_BYTES * (len(one.content_type) + len(one.client_context))
            if bodies_bytes > self._bodies_bytes_max or head_bytes > HEADER_BYTES_MAX:
                return max(1, count)
        return len(invocations)

    def began(self, lease: Lease, first: Invocation, rows: int, now_s: float) -> Sent:
        """A batch is sent, of `first` and others like it. May be said again where that is not known."""
        if (sent := self._sent.get(lease)) is None:
            at_once = all(before.member is not lease.member for before in self._running(now_s))
            expected_s = self._tables.of(size_class(len(first.body))).mid_s(rows)
            sent = self._sent[lease] = Sent(expected_s, now_s, at_once)
        return sent

    def ended(self, sent: Sent, first: Invocation, rows: int, *, run_s: float, now_s: float) -> None:
        """One has run to its end, or to its timeout, for `run_s` in its worker.

        What passes on the way is not the batch's: a server that is short of time would take each for long.
        """
        if run_s > 0:
            self._tables.of(size_class(len(first.body))).observe(rows, run_s)
            if sent.at_once:
                self._hop.observe(now_s - sent.since_s - run_s)

    def told(self, took_s: float) -> None:
        """So long after a worker's answer had come, the last of its callers had his own."""
        self._tell.observe(took_s)

    def looked(self, now_s: float) -> None:
        """That timer has rung. As late as this a server comes to all that happens, arrivals included."""
        self._lag.observe(now_s - self.look_s)

    def _running(self, now_s: float) -> Iterable[Lease]:
        """What has not ended. What was sent behind something that has just ended runs from now on."""
        for lease in [lease for lease in self._sent if lease.over]:
            del self._sent[lease]
            behind = (sent for after, sent in self._sent.items() if after.member is lease.member)
            if (sent := next(behind, None)) is not None:
                sent.since_s = now_s
        return self._sent

    def _ends_s(self, revision: str, now_s: float) -> dict[Lease, float]:
        """When the answer to all that each busy worker was sent will probably be here, by the last of it."""
        ends_s: dict[Member, tuple[Lease, float]] = {}
        for lease in self._running(now_s):
            if lease.plan.revision == revision:
                sent = self._sent[lease]
                _, since_s = ends_s.get(lease.member, (lease, sent.since_s))
                way_s = self._hop.tail_s if sent.at_once else 0.0
                ends_s[lease.member] = lease, max(now_s, since_s + way_s + sent.expected_s)
        return dict(ends_s.values())

    def _aside(self) -> Aside:
        return Aside(hop_s=self._hop.tail_s, tell_s=self._lag.tail_s + self._tell.tail_s)


def policy_of(spec: DeploymentSpec) -> BatchPolicy:
    """What the owner of a deployment wants."""
    target_s = spec.latency_target_ms / 1e3 if spec.latency_target_ms else None
    run_s_max = spec.timeout_s * TIMEOUT_SHARE
    return BatchPolicy(max_batch=spec.max_batch, latency_target_s=target_s, run_s_max=run_s_max)


def bodies_bytes_max(spec: DeploymentSpec) -> int:
    """How large the bodies of one batch may be together: a worker holds them beside what it makes of them."""
    return min(BODIES_BYTES_MAX, int(spec.memory_bytes * BODIES_SHARE))


def size_class(size_bytes: int) -> str:
    """Bodies in one class differ in size by a factor of four at most: they cost about the same."""
    return str((size_bytes.bit_length() + 1) // 2)
