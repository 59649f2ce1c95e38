"""Training as a job beside the same loop by itself: what checkpoints cost, and what five kills do.

One script, one seed: a network with 57 MB of weights and Adam's state. Plainly, in a process that only loops;
as a job with a checkpoint every minute; as one with a checkpoint every five steps whose worker gets `kill -9`
at five random steps. The turns alternate, and all must end with the same weights to the bit. Time is that of
the loop, from the run's start to its end, without the import of torch, which the template has done; CPU time
is that of the server and all of its processes. torch has one thread: several wait for each other by spinning,
which on a machine that others use measures the others.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from benchmarks import processes, progress
from benchmarks.figures import Aim, Line, Measured, Missing, Sample, Sense, Unit
from benchmarks.server import Lambent, lambent

TOPIC: Final = "training"
ROUNDS: Final = 3
LASTS_S: Final = 65.0  # the plain loop
LASTS_S_OF: Final = "LAMBENT_TRAINING_S"  # environment variable: a shorter one, while one develops
STEPS_TO_TRY: Final = 60
KILLS: Final = 5
SEED: Final = 11
LOOK_S: Final = 0.002
RUN_S_MAX: Final = 900.0
COMMITS: Final = 15
AIM_MINUTE: Final = Aim(Sense.AT_MOST, 1.03)
AIM_KILLED: Final = Aim(Sense.AT_MOST, 1.10)
AIM_COMMIT: Final = Aim(Sense.AT_MOST, 2)
JOB: Final = """
import hashlib, json, os, sys, time
import lambent
import torch
from lambent.training import resumable

WIDTH, LAYERS, BATCH = 1090, 4, 64

def parts():
    torch.set_num_threads(1)
    torch.manual_seed(7)
    model = torch.nn.Sequential(*[torch.nn.Linear(WIDTH, WIDTH) for _ in range(LAYERS)])
    return model, torch.optim.Adam(model.parameters(), lr=1e-4)

def step(model, optimizer):
    x = torch.randn(BATCH, WIDTH)
    optimizer.zero_grad()
    (model(x) - x).square().mean().backward()
    optimizer.step()

def digest(model):
    weights = b"".join(each.numpy().tobytes() for each in model.state_dict().values())
    return hashlib.sha256(weights).hexdigest()

app = lambent.App("training")

@app.job(memory="2GiB")
def fit(run):
    at = os.open(run.params.told, os.O_RDWR | os.O_CREAT)
    model, optimizer = parts()
    how = {"every_s": 60} if run.params.every == 0 else {"every_steps": run.params.every}
    for done in resumable(run, run.params.steps, **how, model=model, optimizer=optimizer):
        os.pwrite(at, done.to_bytes(8, "little") + os.getpid().to_bytes(8, "little"), 0)
        step(model, optimizer)
    return {"digest": digest(model)}

if __name__ == "__main__":
    import torch._dynamo  # the first optimiser does; the job's template has it, and neither is measured
    began, used = time.perf_counter(), time.process_time()
    model, optimizer = parts()
    for _ in range(int(sys.argv[1])):
        step(model, optimizer)
    took_s, used_s = time.perf_counter() - began, time.process_time() - used
    print(json.dumps({"took_s": took_s, "cpu_s": used_s, "digest": digest(model)}))
"""


class Turn(msgspec.Struct, frozen=True):
    """One training, to its end."""

    took_s: float
    cpu_s: float
    digest: str


def measure(folder: Path) -> Sequence[Measured]:
    """Every line of this topic."""
    try:
        import torch  # noqa: F401 - whether it is there
    except ImportError:
        return [Missing(topic=TOPIC, what="training", why="`make venv-frameworks` installs torch")]
    job = folder / "job.py"
    job.write_text(JOB)
    draw, steps = random.Random(SEED), _steps(job)
    plain: list[Turn] = []
    minute: list[Turn] = []
    killed: list[Turn] = []
    with lambent(folder / "state") as server:
        server.deploy(job)
        _run(server, folder, STEPS_TO_TRY, every=0)  # the template has its packages then
        for number in range(ROUNDS):
            progress.say(f"training: round {number + 1} of {ROUNDS}")
            plain.append(_plain(job, steps))
            minute.append(_run(server, folder, steps, every=0))
            kills = sorted(draw.sample(range(steps // 20, steps), KILLS))
            killed.append(_run(server, folder, steps, every=5, kills=kills))
    if len({turn.digest for turn in (*plain, *minute, *killed)}) != 1:
        raise RuntimeError("the weights at the end are not those of the plain loop")
    return [
        *_lines("a checkpoint every minute", minute, plain, AIM_MINUTE),
        *_lines(f"a checkpoint every 5 steps, {KILLS} kills", killed, plain, AIM_KILLED),
        _commits(),
    ]


def _steps(job: Path) -> int:
    """How many steps take as long as is wanted."""
    wanted_s = float(os.environ.get(LASTS_S_OF, LASTS_S))
    return max(STEPS_TO_TRY, round(STEPS_TO_TRY * wanted_s / _plain(job, STEPS_TO_TRY).cpu_s))


def _lines(what: str, ours: Sequence[Turn], plain: Sequence[Turn], aim: Aim) -> Sequence[Line]:
    return [
        Line(
            topic=TOPIC,
            what=f"{what}: {name}",
            measured=Sample(tuple(map(read, ours)), Unit.S),
            beside="the plain loop",
            against=Sample(tuple(map(read, plain)), Unit.S),
            aim=aim,
        )
        for name, read in (("time", lambda turn: turn.took_s), ("CPU time", lambda turn: turn.cpu_s))
    ]


def _plain(job: Path, steps: int) -> Turn:
    done = subprocess.run(
        [sys.executable, str(job), str(steps)], capture_output=True, text=True, timeout=RUN_S_MAX, check=True
    )
    return msgspec.json.decode(done.stdout, type=Turn)


def _run(server: Lambent, folder: Path, steps: int, *, every: int, kills: Sequence[int] = ()) -> Turn:
    """A run to its end; its worker is killed when it begins one of the steps `kills`."""
    told, left, client = folder / "told", list(kills), server.client()
    told.write_bytes(bytes(16))
    used_s = processes.cpu_s_ever(server.pid)
    run = client.run("training-fit", {"told": str(told), "steps": steps, "every": every}).run
    until_s, looks = time.monotonic() + RUN_S_MAX, 0
    while (seen := client.show_run(run) if looks % 100 == 0 else None) is None or seen.ended_unix_ms is None:
        if time.monotonic() > until_s:
            raise TimeoutError(f"run {run} has not ended")
        looks += 1
        time.sleep(LOOK_S)
        step, pid = (int.from_bytes(word, "little") for word in _words(told.read_bytes()))
        if left and pid and step >= left[0]:
            os.kill(pid, signal.SIGKILL)
            told.write_bytes(bytes(16))
            del left[0]
    result: Any = seen.result
    if seen.state != "succeeded" or left:
        raise RuntimeError(f"run {run}: {seen.state}: {seen.reason}; {len(left)} kills were not made")
    if kills and seen.slices != KILLS + 1:
        raise RuntimeError(f"run {run} had {seen.slices} slices")
    took_s = (seen.ended_unix_ms - seen.created_unix_ms) / 1e3
    return Turn(took_s, processes.cpu_s_ever(server.pid) - used_s, result["digest"])


def _words(raw: bytes) -> tuple[bytes, bytes]:
    return raw[:8], raw[8:16]


def _commits() -> Line:
    """One commit of this state, beside one copy of as many bytes."""
    done = subprocess.run(
        [sys.executable, "-c", COMMIT], capture_output=True, text=True, timeout=RUN_S_MAX, check=True
    )
    told = json.loads(done.stdout)
    return Line(
        topic=TOPIC,
        what=f"one commit of {told['size_bytes'] / 2**20:.0f} MiB of weights and Adam's state",
        measured=Sample(tuple(told["commits_ms"]), Unit.MS),
        beside="one copy in memory",
        against=Sample(tuple(told["copies_ms"]), Unit.MS),
        aim=AIM_COMMIT,
    )


COMMIT: Final = f"""
import json, tempfile, time
from pathlib import Path
import torch
from lambent.runtimes.slots import Slots, make_arena

model = torch.nn.Sequential(*[torch.nn.Linear(1090, 1090) for _ in range(4)])
optimizer = torch.optim.Adam(model.parameters())
model(torch.randn(2, 1090)).sum().backward()
optimizer.step()
with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
    make_arena(Path(folder))
    slots, commits, copies = Slots(Path(folder)), [], []
    source = bytearray(57 << 20)
    target = memoryview(bytearray(57 << 20))
    for step in range({COMMITS} + 2):
        began = time.perf_counter()
        commit = slots.commit([model.state_dict(), optimizer.state_dict()], step=step, unix_ms=0)
        between = time.perf_counter()
        target[:commit.size_bytes] = memoryview(source)[:commit.size_bytes]
        if step > 1:  # each of both slots has its pages then
            commits.append(1e3 * (between - began))
            copies.append(1e3 * (time.perf_counter() - between))
print(json.dumps({{"commits_ms": commits, "copies_ms": copies, "size_bytes": commit.size_bytes}}))
"""
