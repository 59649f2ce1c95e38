"""A tensor of 4 MB to a model and back, beside the same bytes to a bare uvicorn: what the way costs.

The model returns what it gets, or how much that is, and computes nothing. Beside it, an application without a
framework takes the body and sends back as much. Lambent authenticates, checks shapes, queues, meters, and
crosses to another process, where the bytes become an array.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from benchmarks import load, progress
from benchmarks.echo import KEEP_S, Readings, Side
from benchmarks.figures import Aim, Line, Measured, Note, Sample, Sense, Unit
from benchmarks.http1 import Target
from benchmarks.load import Load
from benchmarks.server import Lambent, lambent, uvicorn

TOPIC: Final = "tensors"
MODEL: Final = """
import numpy as np

class Back:
    def predict(self, inputs):
        return inputs

class Size:
    def predict(self, inputs):
        return np.array([inputs.nbytes])
"""
TENSOR_BYTES: Final = 4_000_000
HEAD: Final = (
    b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1,1000000],'
    b'"parameters":{"binary_data_size":4000000}}],"parameters":{"binary_data_output":true}}'
)
BODY: Final = HEAD + bytes(TENSOR_BYTES)
CONNECTIONS: Final = (1, 4)
REPETITIONS: Final = 5
WARM_UP_S: Final = 1.0
RUN_S: Final = 2.0
WAYS: Final = {"size": "there", "back": "there and back"}
AIM: Final = Aim(Sense.AT_LEAST, 0.5)


def measure(folder: Path) -> Sequence[Measured]:
    """Every line of this topic."""
    (folder / "app.py").write_text(MODEL)
    readings = Readings()
    peer = uvicorn("benchmarks.peers.upload:app", "/", folder)
    with lambent(folder / "state") as server, peer as (peer_pid, bare):
        for name, kind in (("back", "Back"), ("size", "Size")):
            server.deploy(folder / f"app.py:{kind}", name, workers_max=1, keep_alive_s=KEEP_S)
        for number in range(REPETITIONS):
            for name, way in WAYS.items():
                path = "/echo" if name == "back" else "/"
                theirs = msgspec.structs.replace(bare, path=path, body=BODY)
                sides = [Side(f"lambent {way}", server.pid, asked(server, name)), Side(way, peer_pid, theirs)]
                for side in sides if number == 0 else ():
                    load.generate(Load(target=side.target, connections=1, seconds=WARM_UP_S))
                for connections in CONNECTIONS:
                    for side in sides:
                        progress.say(f"tensors: {side.name}, {number + 1} of {REPETITIONS}")
                        readings.take(side, connections, RUN_S)
    return list(_lines(readings))


def asked(server: Lambent, model: str) -> Target:
    """An inference with the tensor as raw data."""
    target = server.target(f"/v2/models/{model}/infer", BODY)
    headers = {**target.headers, "Inference-Header-Content-Length": str(len(HEAD))}
    return msgspec.structs.replace(target, headers=headers)


def _lines(readings: Readings) -> Iterator[Measured]:
    for way in WAYS.values():
        for connections in CONNECTIONS:
            yield Line(
                topic=TOPIC,
                what=f"4 MB tensor {way}, {connections} connections",
                measured=Sample(tuple(readings.per_s[f"lambent {way}", connections]), Unit.PER_S),
                beside="bare uvicorn",
                against=Sample(tuple(readings.per_s[way, connections]), Unit.PER_S),
                aim=AIM,
            )
        yield Line(
            topic=TOPIC,
            what=f"4 MB tensor {way}, CPU a request",
            measured=Sample(tuple(readings.cpu_us[f"lambent {way}", 1]), Unit.US),
            beside="bare uvicorn",
            against=Sample(tuple(readings.cpu_us[way, 1]), Unit.US),
        )
    if readings.failed:
        yield Note(topic=TOPIC, text=f"{readings.failed} requests failed; they are no throughput")
