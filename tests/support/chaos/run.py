"""One run: a server, its load, its faults, and the judgement."""

from __future__ import annotations

import asyncio
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import msgspec

from tests.support.chaos import laws, load, quiet, rude
from tests.support.chaos.faults import Faults
from tests.support.chaos.load import Stage
from tests.support.chaos.plan import Fault, draw
from tests.support.chaos.program import NAMES
from tests.support.chaos.seen import read_notes
from tests.support.server import RunningServer

DISK_BYTES: Final = 192 << 20
NO_DISK: Final = "no full disk in this run: mounting a small file system needs root on Linux"
Say = Callable[[str], None]


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a run: what broke a law, and how much happened."""

    violations: tuple[str, ...]
    counts: dict[str, int]


def run(folder: Path, *, seed: int, seconds: float, say: Say) -> Report:
    """Play the seed's faults for so long against a server in `folder`, then judge."""
    plan = draw(seed, seconds)
    say(f"seed {seed}, {seconds:g} s: the plan, by ticks of a quarter of a second")
    for fault in plan:
        say(str(fault))
    with ExitStack() as closing:
        temporary = folder / "temporary"
        temporary.mkdir()
        disk = closing.enter_context(_disk(folder / "disk", say))
        state_dir = disk / "state"
        state_dir.mkdir()
        # What it says must not be lost while its disk is full.
        (state_dir / "test-server.log").symlink_to(folder / "server.log")
        server = RunningServer(state_dir, {"TMPDIR": str(temporary)}).start()
        closing.callback(_end, server)
        stage = Stage(server, seed=seed)
        faults = Faults(stage, folder, folder / "notes", say)
        for name in NAMES:
            faults.deploy(name)
        asyncio.run(_play(stage, faults, plan))
        say("judging")
        violations = [*stage.seen.violations, *_judge(stage, faults, folder / "notes", temporary)]
        return Report(violations=tuple(violations), counts=dict(_counts(stage)))


async def _play(stage: Stage, faults: Faults, plan: Sequence[Fault]) -> None:
    async with asyncio.TaskGroup() as tasks:
        load.begin(stage, tasks)
        rude.begin(stage, tasks)
        try:
            await faults.run(plan)
        finally:
            stage.over.set()


def _judge(stage: Stage, faults: Faults, notes: Path, temporary: Path) -> Iterator[str]:
    server = stage.server
    tickets = quiet.tickets(server, stage.seen)
    yield from quiet.at_rest(server)
    billed, metered = quiet.billed(server)
    evidence = laws.Evidence(
        seen=stage.seen, runs=read_notes(notes), metered=metered, tickets=tickets, billed=billed
    )
    yield from laws.broken(evidence)
    yield from quiet.slots_free(stage, faults.deploy)
    yield from quiet.at_rest(server)
    yield from quiet.bounded(server)
    yield from quiet.nothing_left(stage, faults.deploy, temporary)
    yield from quiet.log_clean(server)


def _counts(stage: Stage) -> Counter[str]:
    counts = Counter(stage.seen.counts)
    counts.update(f"fault: {one.kind.value}" for one in stage.seen.done)
    counts.update(f"failed: {one.kind.value}" for one in stage.seen.done if one.failed)
    for call in stage.seen.calls:
        counts[f"{call.deployment} {call.status or call.end.value} {call.code}".strip()] += 1
    counts["asynchronous"] = len(stage.seen.acknowledged)
    return counts


@contextmanager
def _disk(folder: Path, say: Say) -> Iterator[Path]:
    """A small disk where we may mount one, else an ordinary folder, which is never full."""
    folder.mkdir()
    size = f"size={DISK_BYTES}"
    try:
        made = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(folder)], capture_output=True, check=False
        )
        mounted = made.returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        say(NO_DISK)
    try:
        yield folder
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", str(folder)], check=False)


def _end(server: RunningServer) -> None:
    if server.process is not None and server.process.poll() is None:
        server.kill()
