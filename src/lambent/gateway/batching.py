"""One deployment's batches: what waits as `core.batching` sees it, and what is learnt from each that ran."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from lambent.core.batching import BatchPolicy, Decision, Item, due
from lambent.core.invocation import Invocation, PrintTail
from lambent.core.latency import LatencyTables
from lambent.core.spec import DeploymentSpec


class Batching:
    """Mutable: the dispatcher alone writes it."""

    def __init__(self, spec: DeploymentSpec) -> None:
        self._policy: Final = policy_of(spec)
        self._tables: Final = LatencyTables()
        self._ends_s: Final[dict[object, float]] = {}  # when what runs will probably have ended

    def fits(self, spec: DeploymentSpec) -> bool:
        """Whether it is what this specification asks for."""
        return self._policy == policy_of(spec)

    def item(self, invocation: Invocation, arrived_s: float) -> Item:
        """An invocation as one row, beside others whose bodies are of about its size."""
        if invocation.print_tail is PrintTail.KEPT:  # what others print must not get into it
            return Item(arrived_s=arrived_s, group=invocation.id)
        return Item(arrived_s=arrived_s, group=size_class(len(invocation.body)))

    def due(self, waiting: Sequence[Item], *, idle_workers: int, now_s: float) -> Decision:
        """Which go now, and which are refused."""
        busy_until_s = tuple(self._ends_s.values())
        return due(
            waiting, self._tables, self._policy,
            idle_workers=idle_workers, busy_until_s=busy_until_s, now_s=now_s,
        )  # fmt: skip

    def began(self, run: object, group: str, rows: int, now_s: float) -> None:
        """A batch was sent; `run` names it."""
        self._ends_s[run] = now_s + self._tables.of(group).mid_s(rows)

    def ended(self, run: object, group: str, rows: int, run_s: float | None) -> None:
        """It has ended, after `run_s` in the worker; `None` where that tells nothing."""
        self._ends_s.pop(run, None)
        if run_s:
            self._tables.of(group).observe(rows, run_s)


def policy_of(spec: DeploymentSpec) -> BatchPolicy:
    """What the owner of a deployment wants."""
    target_s = spec.latency_target_ms / 1e3 if spec.latency_target_ms else None
    return BatchPolicy(max_batch=spec.max_batch, latency_target_s=target_s)


def size_class(size_bytes: int) -> str:
    """Bodies in one class differ in size by a factor of four at most: they cost about the same."""
    return str((size_bytes.bit_length() + 1) // 2)
