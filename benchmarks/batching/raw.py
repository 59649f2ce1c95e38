"""`python -m benchmarks.batching.raw FOLDER SECONDS`: run times of ideal batches, in a loop without a server.

The model in the folder is opened as a worker opens it; a row as JSON on stdin. Prints for each size of batch
the CPU seconds that each run took, in JSON: a run is one thread that computes, so on a machine that is idle
these are the seconds, and on another what it would have taken there.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from lambent.runtimes.adapters.files import open_model

SIZES: Final = (1, 2, 4, 8, 16, 32, 64)
RUNS_MIN: Final = 3


def times(model: Path, row: object, seconds: float) -> Mapping[int, Sequence[float]]:
    """CPU seconds of each run, by size; so many seconds of runs for each size."""
    predictor = open_model(model)
    taken: dict[int, list[float]] = {}
    for size in SIZES:
        arrays = [np.concatenate([array] * size) for array in predictor.arrays([row])]
        predictor.run(arrays)  # what runs first warms up
        runs: list[float] = []
        while len(runs) < RUNS_MIN or sum(runs) < seconds:
            started_s = time.process_time()
            predictor.run(arrays)
            runs.append(time.process_time() - started_s)
        taken[size] = runs
    return taken


if __name__ == "__main__":
    json.dump(times(Path(sys.argv[1]), json.load(sys.stdin), float(sys.argv[2])), sys.stdout)
