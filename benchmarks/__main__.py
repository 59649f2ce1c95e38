"""`python -m benchmarks [TOPIC …] [--traces DIR] [--json]`: measure, and print one table."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Final

from benchmarks import (
    chat,
    cold,
    doors,
    echo,
    hops,
    load,
    machine,
    memory,
    neighbours,
    overload,
    programs,
    progress,
    proxied,
    scaling,
    serving,
    simulated,
    tensors,
    training,
    wake,
)
from benchmarks.batching import real as batching
from benchmarks.figures import Measured, Missing, as_record, table

TOPICS: Final[Mapping[str, Callable[[Path], Sequence[Measured]]]] = MappingProxyType(
    {
        "batching": batching.measure,
        "chat": chat.measure,
        "cold": cold.measure,
        "doors": doors.measure,
        "echo": echo.measure,
        "hops": hops.measure,
        "memory": memory.measure,
        "neighbours": neighbours.measure,
        "overload": overload.measure,
        "programs": programs.measure,
        "proxied": proxied.measure,
        "scaling": scaling.measure,
        "serving": serving.measure,
        "tensors": tensors.measure,
        "training": training.measure,
        "wake": wake.measure,
    }
)
# What is measured when nothing is named. `wake` takes gigabytes.
EVERYDAY: Final = ("cold", "echo", "memory")


def main() -> None:
    """Measure what was named, by default what takes no gigabytes. A missed aim is said, and is no failure."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=main.__doc__)
    parser.add_argument("topics", nargs="*", metavar="|".join(TOPICS))
    parser.add_argument("--json", action="store_true", help="every value that was measured, for a program")
    parser.add_argument(
        "--traces",
        metavar="DIR",
        help=f"where traces of others are, for scaling and wake (or {simulated.TRACES})",
    )
    told = parser.parse_args()
    if told.traces:
        os.environ[simulated.TRACES] = told.traces
    if unknown := set(told.topics) - set(TOPICS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    about, started_s = machine.describe(), time.monotonic()
    lines = [line for topic in told.topics or EVERYDAY for line in measured(topic)]
    if told.json:
        json.dump(
            {"machine": about, "load_generator": load.generator(), "lines": [*map(as_record, lines)]},
            sys.stdout,
        )
        print()
        return
    print(
        f"\n{machine.in_words(about)}; load from {load.generator()}; {time.monotonic() - started_s:.0f} s\n"
    )
    print(table(lines))
    print("\nmedians; a ratio is measured / reference, or reference / measured where it says `faster`")


def measured(topic: str) -> Sequence[Measured]:
    """The lines of one topic; one line that says why, where it could not be measured."""
    with tempfile.TemporaryDirectory(prefix="lambent-bench-") as folder:
        try:
            return TOPICS[topic](Path(folder))
        except Exception as error:  # noqa: BLE001  the other topics can still be measured
            progress.say(f"{topic}: {error}")
            return [Missing(topic=topic, what=topic, why=str(error))]


if __name__ == "__main__":
    main()
