"""`python -m benchmarks.batching`: adaptive batching beside fixed batches, in virtual time. Some minutes."""

from __future__ import annotations

import timeit
from collections.abc import Iterator

from benchmarks.batching.models import CURVES, bursty
from benchmarks.batching.search import BASELINES, MAX_BATCH, Setting, judge
from lambent.core.batching import BatchPolicy, Item, due
from lambent.core.latency import LatencyTables


def settings() -> Iterator[tuple[str, Setting]]:
    """Everything that is compared, each with its name."""
    for model in CURVES:
        for ratio in (10, 5):
            yield f"{model}, {ratio} × L(1)", Setting(model=model, target_ratio=ratio)
        yield f"{model}, 10 × L(1), 2 workers", Setting(model=model, target_ratio=10, workers=2)
        yield f"{model}, 10 × L(1), bursts", Setting(model=model, target_ratio=10, arrivals=bursty)


def decision_us(waiting: int, slack_s: float) -> float:
    """Microseconds for one decision with so many waiting, the oldest of whom has so much time left."""
    tables = LatencyTables()
    for size in (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64) * 12:
        tables.of("").observe(size, 0.004 + 0.00005 * size)
    items = [Item(arrived_s=0.0001 * place) for place in range(waiting)]
    policy = BatchPolicy(max_batch=64, latency_target_s=0.02)
    rounds = 50

    def once() -> None:
        due(items, tables, policy, idle_workers=1, now_s=0.02 - slack_s)

    return min(timeit.repeat(once, number=rounds, repeat=200)) / rounds * 1e6


def main() -> None:
    """Print the table, line by line as it is found."""
    print(f"highest rate with 99 % in time, max_batch {MAX_BATCH}; goodput at twice ours / at ours, / most\n")
    for name, setting in settings():
        found = judge(setting)
        beside = "  ".join(f"{baseline} {found.baselines[baseline]:6,.0f}" for baseline in BASELINES)
        print(
            f"{name:42} {setting.target_s * 1e3:5.1f} ms  ours {found.ours:7,.0f}  {beside}  "
            f"ratio {found.ratio:4.2f}  overload {found.overload:4.2f} {found.peak:4.2f}",
            flush=True,
        )
    print()
    for waiting in (1, 8, 64):
        print(f"one decision, {waiting:2} waiting: {decision_us(waiting, 0.018):.1f} µs")
    print(f"one decision, 64 waiting, the oldest nearly late: {decision_us(64, 0.006):.1f} µs")


if __name__ == "__main__":
    main()
