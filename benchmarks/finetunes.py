"""Eight fine-tunes of one torch model that differ in 5 % of their tensors: memory and disk beside one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from benchmarks import progress, torch_apps
from benchmarks.figures import Aim, Line, Measured, Sample, Sense, Unit
from benchmarks.server import lambent
from benchmarks.torch_apps import Network

TUNES: Final = 8
LAYERS: Final = 40
TUNED_LAYERS: Final = 2  # of 40: 5 % of the tensors, and of the bytes
WIDTH: Final = 1152  # 202 MiB of weights
KEEP_ALIVE_S: Final = 0.5
BLOCK_BYTES: Final = 512  # what `stat` counts in
MIB: Final = 2**20
TIMES_ONE_MAX: Final = 1.5


def lines(topic: str, folder: Path) -> Iterator[Measured]:
    """The rows."""
    tunes = [
        Network(name=f"tune-{number}", layers=LAYERS, width=WIDTH, tuned=number, tuned_layers=TUNED_LAYERS)
        for number in range(1, TUNES + 1)
    ]
    memory, disk = [], []
    state_dir = folder / "state"
    with lambent(state_dir) as server:
        for number, tune in enumerate(tunes, 1):
            progress.say(f"{topic}: fine-tune {number} of {TUNES}")
            torch_apps.deploy(server, tune, tune.write(folder), keep_alive_s=KEEP_ALIVE_S)
            if number in (1, TUNES):
                for primed in tunes[:number]:
                    server.rest(primed.name, "primed")
                memory.append(torch_apps.platform(server))
                disk.append(_disk(state_dir / "artifacts"))
    for what, of in (("memory, all primed", memory), ("disk", disk)):
        one, all_of_them = of
        aim = Aim(Sense.AT_MOST, TIMES_ONE_MAX) if of is memory else None
        yield Line(
            topic=topic,
            what=f"{TUNES} fine-tunes, 5 % of 202 MiB each their own, {what}",
            measured=all_of_them,
            beside="one of them",
            against=one,
            aim=aim,
        )


def _disk(artifacts: Path) -> Sample:
    """What the files take, a file with several names once."""
    stats = (path.lstat() for path in artifacts.rglob("*"))
    found = {stat.st_ino: stat.st_blocks for stat in stats}
    return Sample((sum(found.values()) * BLOCK_BYTES / MIB,), Unit.MIB)
