"""Arrivals for the comparison of autoscalers: published traces, and seeded bursts that need no file.

The traces are not part of the repository; `LAMBENT_TRACES` names their folder. Each gives its second half:
what was chosen by looking at a trace was chosen by looking at the first.

* An hour of an LLM chat service (Azure LLM inference 2023; Patel et al., *Splitwise*, ISCA'24): arrivals and
  tokens. A run is taken as 0.2 ms a prompt token and 20 ms a generated one.
* A day of Azure Functions 2019 (Shahrad et al., *Serverless in the Wild*, ATC'20): calls in each minute and
  quantiles of the run. The functions whose counts vary most; the calls of a minute come within seconds.
"""

from __future__ import annotations

import csv
import gzip
import random
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final, NamedTuple

from benchmarks.scaling_world import Arrival

LLM: Final = "*llm*.csv*"
COUNTS: Final = "*2019*inv*.csv*"
PROMPT_TOKEN_S: Final = 0.0002
TOKEN_S: Final = 0.02
STAMP_CHARACTERS: Final = 26  # a seventh digit of the second is more than Python reads
MINUTE_S: Final = 60.0
CLUMP_S: Final = 5.0
CALLS: Final = range(1_000, 60_000)  # of a function in its day: fewer are no load, more are no bursts
MEDIAN_S_MAX: Final = 5.0  # longer runs are jobs, and nobody waits for them
FUNCTIONS: Final = 4
QUANTILES: Final = (0.0, 0.01, 0.25, 0.5, 0.75, 0.99, 1.0)
SEED: Final = 20240607


class Traffic(NamedTuple):
    """What came to one deployment."""

    name: str
    arrivals: Sequence[Arrival]


def bursts(seed: int = SEED, *, hours: float = 1.0) -> Traffic:
    """Clumps of 3 to 60 calls (Pareto, 1.2) within about a second, 90 s apart on average, 0.2 s each."""
    chance, arrivals, now_s = random.Random(seed), list[Arrival](), 0.0
    while (now_s := now_s + chance.expovariate(1 / 90)) < 3600 * hours:
        for _ in range(min(60, int(3 * chance.paretovariate(1.2)))):
            arrivals.append(Arrival(now_s + chance.expovariate(1.0), chance.lognormvariate(-1.5, 0.7)))
    return Traffic("seeded bursts", sorted(arrivals))


def published(folder: Path) -> Iterator[Traffic]:
    """What is found in `folder`. Raises `OSError`, `ValueError` for a file that is no such trace."""
    for file in sorted(folder.glob(LLM)):
        yield Traffic("LLM chat, Azure 2023", _llm(file))
    for file in sorted(folder.glob(COUNTS)):
        yield from _functions(file)


def _llm(file: Path) -> Sequence[Arrival]:
    rows = _rows(file)[1:]
    stamps_s = [datetime.fromisoformat(row[0][:STAMP_CHARACTERS]).timestamp() for row in rows]
    middle_s = (stamps_s[0] + stamps_s[-1]) / 2
    return [
        Arrival(stamp_s - middle_s, PROMPT_TOKEN_S * float(row[1]) + TOKEN_S * float(row[2]))
        for stamp_s, row in zip(stamps_s, rows, strict=True)
        if stamp_s >= middle_s
    ]


def _functions(file: Path) -> Iterator[Traffic]:
    """The functions whose calls vary most from minute to minute, in the first half of the day."""
    header, *rows = _rows(file)
    first = next(place for place, name in enumerate(header) if name.removeprefix("minute_") == "1")
    runs = _runs(file.with_name(file.name.replace("_inv", "_run")))
    name_at = header.index("HashFunction")
    found: list[tuple[float, str, list[int]]] = []
    for row in rows:
        counts = [int(count) for count in row[first:]]
        if row[name_at] in runs and sum(counts) in CALLS and runs[row[name_at]][3] <= MEDIAN_S_MAX:
            found.append((_dispersion(counts[: len(counts) // 2]), row[name_at], counts))
    found.sort(reverse=True)
    for rank, (_, name, counts) in enumerate(found[:FUNCTIONS], 1):
        arrivals = _minutes(counts[len(counts) // 2 :], runs[name], seed=SEED + rank)
        if arrivals:
            yield Traffic(f"function {name[:6]}, Azure 2019", arrivals)


def _minutes(counts: Sequence[int], run_s: Sequence[float], *, seed: int) -> Sequence[Arrival]:
    chance, arrivals = random.Random(seed), list[Arrival]()
    for minute, count in enumerate(counts):
        began_s = minute * MINUTE_S + chance.uniform(0, MINUTE_S - CLUMP_S)
        for _ in range(count):
            arrivals.append(Arrival(began_s + chance.uniform(0, CLUMP_S), _drawn(run_s, chance.random())))
    return sorted(arrivals)


def _drawn(run_s: Sequence[float], share: float) -> float:
    """The run at a share of all runs, between the quantiles that are known."""
    for place in range(len(QUANTILES) - 1):
        low, high = QUANTILES[place], QUANTILES[place + 1]
        if share <= high:
            part = (share - low) / (high - low)
            return max(0.001, run_s[place] + (run_s[place + 1] - run_s[place]) * part)
    return run_s[-1]


def _runs(file: Path) -> Mapping[str, Sequence[float]]:
    header, *rows = _rows(file)
    name_at = header.index("HashFunction")
    first = next(place for place, name in enumerate(header) if name.startswith("percentile_Average_"))
    return {row[name_at]: [float(ms) / 1e3 for ms in row[first:]] for row in rows}


def _dispersion(counts: Sequence[int]) -> float:
    mean = sum(counts) / len(counts)
    return sum((count - mean) ** 2 for count in counts) / len(counts) / mean if mean else 0.0


def _rows(file: Path) -> list[list[str]]:
    unzip = gzip.open if file.suffix == ".gz" else open
    with unzip(file, "rt", encoding="utf-8", newline="") as text:
        return list(csv.reader(text))
