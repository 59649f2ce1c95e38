"""Two hops: a function that asks another one, 10 KB there and back, one worker each; beside Ray Serve, tuned.

Ray's published figures are of the same shape: an ingress deployment that calls a second one through a handle.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import lambent as platform
from benchmarks import load, platforms, progress
from benchmarks.echo import KEEP_S
from benchmarks.figures import Aim, Line, Measured, Missing, Note, Sample, Sense, Unit
from benchmarks.load import Load
from benchmarks.server import lambent

TOPIC: Final = "hops"
WHAT: Final = "two hops of 10 KB, 1 worker each"
CONNECTIONS: Final = 64
# What one worker of the first hop has open at once; the peer's tuning allows its replica the same.
CONCURRENCY: Final = 100
ROUNDS: Final = 3
WARM_UP_S: Final = 2.0
RUN_S: Final = 3.0
BODY: Final = b'{"text":"' + b"x" * (10_000 - len(b'{"text":""}')) + b'"}'
INNER: Final = "def handler(event, context):\n    return event\n"
OUTER: Final = """
import lambent

async def handler(event, context):
    return await lambent.call("inner", event)
"""
AIM: Final = Aim(Sense.AT_LEAST, 2)


def measure(folder: Path) -> Sequence[Measured]:
    """Every line of this topic."""
    if not hasattr(platform, "call"):
        return [Missing(topic=TOPIC, what=WHAT, why='there is no `await lambent.call("name", payload)` yet')]
    ours, theirs, failed = list[float](), list[float](), 0
    for name, code in (("inner", INNER), ("outer", OUTER)):
        (folder / f"{name}.py").write_text(code)
    with lambent(folder / "state") as server:
        server.deploy(folder / "inner.py:handler", "inner", workers_max=1, keep_alive_s=KEEP_S)
        server.deploy(
            folder / "outer.py:handler", "outer",
            workers_max=1, keep_alive_s=KEEP_S, concurrency=CONCURRENCY,
        )  # fmt: skip
        target = server.target("/invoke/outer", BODY)
        load.generate(Load(target=target, connections=CONNECTIONS, seconds=WARM_UP_S))
        for number in range(ROUNDS):
            progress.say(f"hops: round {number + 1} of {ROUNDS}")
            result = load.generate(Load(target=target, connections=CONNECTIONS, seconds=RUN_S))
            ours.append(result.per_s)
            failed += result.failed
            try:
                theirs.append(_peer_per_s())
            except (OSError, RuntimeError) as error:
                return [Missing(topic=TOPIC, what=WHAT, why=f"{platforms.TWO_HOPS}: {error}")]
    return [
        Line(
            topic=TOPIC, what=f"{WHAT}, {CONNECTIONS} connections",
            measured=Sample(tuple(ours), Unit.PER_S), beside=str(platforms.TWO_HOPS),
            against=Sample(tuple(theirs), Unit.PER_S), aim=AIM,
        ),
        *([Note(topic=TOPIC, text=f"{failed} requests failed; they are no throughput")] if failed else []),
    ]  # fmt: skip


def _peer_per_s() -> float:
    with platforms.serving(platforms.TWO_HOPS, BODY) as peer:
        load.generate(Load(target=peer.target, connections=CONNECTIONS, seconds=WARM_UP_S))
        return load.generate(Load(target=peer.target, connections=CONNECTIONS, seconds=RUN_S)).per_s
