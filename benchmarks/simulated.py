"""`lambent simulate` on a day of Azure Functions 2019, beside the hybrid histogram at equal memory.

The traces are not part of the repository: `--traces FOLDER` or `LAMBENT_TRACES` says where they are.
Source: Shahrad et al., *Serverless in the Wild*, ATC'20; any sample in the published format will do.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks import progress
from benchmarks.figures import Aim, Line, Measured, Missing, Sample, Sense, Unit

TRACES: Final = "LAMBENT_TRACES"
COUNTS: Final = "*2019*inv*.csv*"
LIMIT_S: Final = 600.0
REPLAYED: Final = re.compile(r"replaying ([\d,]+) invocations")
EQUAL: Final = "price for equal memory"
FITTED: Final = "price of the first half"
COLD_MAX: Final = 0.55
P75_MAX: Final = 1.0
WAKE_MAX: Final = 0.1
EVENTS_MIN: Final = 1e6
WHAT: Final = "simulate, Azure 2019, second half of the day"


def lines(topic: str) -> Iterator[Measured]:
    """The rows of the trace, or one that says where it was looked for."""
    folder = os.environ.get(TRACES, "")
    found = sorted(Path(folder).glob(COUNTS)) if folder else []
    if not found:
        where = f"no {COUNTS} in {folder}" if folder else f"say where traces are: --traces or {TRACES}"
        yield Missing(topic=topic, what=WHAT, why=where)
        return
    progress.say(f"{topic}: simulating {found[0].name}")
    memory = Path(str(found[0]).replace("_inv", "_mem"))
    started_s = time.perf_counter()
    compared, invocations = _simulate(found[0], memory if memory != found[0] and memory.exists() else None)
    took_s = time.perf_counter() - started_s
    yield from _rows(topic, compared)
    speed = Sample((invocations / took_s,), Unit.PER_S)
    note = f"{invocations:,} invocations in {took_s:.1f} s, read, and replayed under every policy"
    yield Line(
        topic=topic, what="simulate, events", measured=speed, aim=Aim(Sense.AT_LEAST, EVENTS_MIN), note=note
    )


def _simulate(trace: Path, memory: Path | None) -> tuple[Any, int]:
    words = [sys.executable, "-m", "lambent.cli.main", "simulate", str(trace), "--json"]
    words += ["--memory", str(memory)] if memory else []
    done = subprocess.run(words, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    replayed = REPLAYED.search(done.stderr)
    if done.returncode or not replayed:
        raise RuntimeError(f"lambent simulate {trace.name}: {done.stderr or done.stdout}")
    return json.loads(done.stdout), int(replayed[1].replace(",", ""))


def _rows(topic: str, compared: Any) -> Iterator[Measured]:
    rows: Sequence[Any] = compared["rows"]
    seen = {(row["policy"], row["knob"]): row["outcome"] for row in rows}
    hybrid = seen["hybrid", "as published"]
    forecast, economic = seen["forecast", EQUAL], seen["economic", EQUAL]
    fitted = seen["forecast", FITTED]
    note = (
        f"memory {forecast['wasted_gb_s'] / hybrid['wasted_gb_s']:.3f}× of the hybrid histogram's; "
        f"at the {FITTED}: {fitted['cold_starts'] / hybrid['cold_starts']:.2f}× of its cold starts with "
        f"{fitted['wasted_gb_s'] / hybrid['wasted_gb_s']:.2f}× of its memory"
    )
    for what, ours, key, unit, most, about in (
        ("cold starts, alive or dead", forecast, "cold_starts", Unit.COUNT, COLD_MAX, note),
        (
            "cold starts of the 75th-percentile app",
            forecast,
            "app_cold_percent_p75",
            Unit.PERCENT,
            P75_MAX,
            "",
        ),
        ("seconds of waking, with temperatures", economic, "wake_s", Unit.S, WAKE_MAX, ""),
    ):
        yield Line(
            topic=topic,
            what=f"simulate, {what}",
            measured=Sample((ours[key],), unit),
            beside="hybrid histogram, equal memory",
            against=Sample((hybrid[key],), unit),
            aim=Aim(Sense.AT_MOST, most),
            note=about,
        )
