"""One framework, one model, one answer. Run as a script, so that nothing but the framework is imported.

    inference.py fresh  FRAMEWORK MODEL BODY   load, answer once on stdout, end
    inference.py forker FRAMEWORK MODEL BODY   load, say `ready`; for each line on stdin fork a child that
                                               answers, and say how many milliseconds its first byte took

FRAMEWORK is `onnx` or `keras`; BODY is a file that holds the picture as nested lists in JSON.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

CHILD_TIMEOUT_S = 20.0


def load(framework: str, model: str) -> Callable[[str], str]:
    """JSON in, JSON out, with the model loaded."""
    import numpy as np

    if framework == "onnx":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
        return lambda text: json.dumps(
            session.run(None, {name: np.asarray(json.loads(text), "f4")})[0].tolist()
        )

    import keras

    network = keras.saving.load_model(model, compile=False)
    return lambda text: json.dumps(np.asarray(network(np.asarray(json.loads(text), "f4"))).tolist())


def fork_and_answer(answer: Callable[[str], str], body: str) -> float:
    """Milliseconds from the fork to the first byte of the answer. Raises `TimeoutError` if it hangs."""
    started_s = time.perf_counter()
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(theirs, answer(body).encode())
        os._exit(0)
    try:
        answered = select.select([ours], [], [], CHILD_TIMEOUT_S)[0] and os.read(ours, 1)
        took_ms = (time.perf_counter() - started_s) * 1e3
        if not answered:
            os.kill(pid, signal.SIGKILL)
            raise TimeoutError("the forked child gave no answer")
    finally:
        os.waitpid(pid, 0)
        os.close(ours)
        os.close(theirs)
    return took_ms


def main(mode: str, framework: str, model: str, body_file: str) -> None:
    """See the module's own text."""
    body = Path(body_file).read_text()
    answer = load(framework, model)
    if mode == "fresh":
        print(answer(body), flush=True)
        return
    if framework == "onnx":
        answer(body)  # TensorFlow must not be called before it is forked: its children may hang
    print("ready", flush=True)
    for _ in sys.stdin:
        print(fork_and_answer(answer, body), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
