"""Networks of torch and twins of Keras in batches say what they say to each caller alone."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lambent.wire.process import RevisionPlan, Runtime
from tests.support.batch_frames import together
from tests.support.patience import PATIENT_S
from tests.support.templates import Environment, Worker
from tests.support.user_code import PlanOf, plan_of

pytestmark = [pytest.mark.frameworks, pytest.mark.timeout(300)]

__all__ = ["plan_of"]

ROOM = 4 << 30
TOLERANCE = {"rtol": 1e-4, "atol": 1e-5}

TORCH = """
import torch
from torch import nn

class Network:
    def load(self, model):
        torch.manual_seed(1)
        self.net = nn.Sequential(nn.Linear(4, 64), nn.ReLU(), nn.Linear(64, 3), nn.Softmax(-1)).eval()
        self.rows = []

    def predict(self, inputs):
        if inputs == "runs":
            return {"runs": self.rows}
        self.rows.append(len(inputs))
        with torch.inference_mode():
            said = self.net(torch.tensor(inputs, dtype=torch.float32))
        return {"probabilities": said, "classes": said.argmax(-1)}

class Sentences:
    def load(self, model):
        torch.manual_seed(1)
        self.words = nn.EmbeddingBag(256, 8, mode="mean").eval()

    async def predict(self, inputs):
        numbers = [[ord(letter) % 256 for letter in text] or [0] for text in inputs]
        starts = [0]
        for text in numbers[:-1]:
            starts.append(starts[-1] + len(text))
        flat = torch.tensor([number for text in numbers for number in text])
        with torch.inference_mode():
            return self.words(flat, torch.tensor(starts))
"""

KERAS = """
import sys
import keras
keras.utils.set_random_seed(7)
layers = keras.layers
keras.Sequential([
    keras.Input((12,), dtype="int32"), layers.Embedding(50, 8), layers.Bidirectional(layers.LSTM(6)),
    layers.Dense(3, "softmax"),
]).save(sys.argv[1])
"""


@pytest.fixture(scope="module")
def torch_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Environment]:
    """An environment template that has imported torch."""
    with Environment(tmp_path_factory.mktemp("torch"), imports=["torch"]) as started:
        yield started


def agree(worker: Worker, bodies: list[Any], *, names: tuple[str, ...] = ()) -> None:
    """Whether a batch, when it may run as one, says what a call alone says."""
    alone = [worker.value(body) for body in bodies]
    for _ in range(2):
        for one, other in zip(alone, together(worker, bodies), strict=True):
            for name in names:
                np.testing.assert_allclose(other[name], one[name], **TOLERANCE)
            if not names:
                np.testing.assert_allclose(other, one, **TOLERANCE)


def test_a_torch_network_runs_once_for_all_and_says_the_same(
    torch_environment: Environment, plan_of: PlanOf
) -> None:
    plan = plan_of(TORCH, "app:Network", runtime=Runtime.MODEL, max_batch=64, memory_bytes=ROOM)
    worker = torch_environment.fork_worker(plan)
    bodies = [np.random.default_rng(seed).random((1 + seed % 3, 4)).tolist() for seed in range(12)]
    agree(worker, bodies, names=("probabilities", "classes"))
    assert worker.value("runs")["runs"][-2:] == [23, 24]


def test_texts_of_any_length_go_together_where_the_code_takes_them(
    torch_environment: Environment, plan_of: PlanOf
) -> None:
    plan = plan_of(TORCH, "app:Sentences", runtime=Runtime.MODEL, max_batch=64, memory_bytes=ROOM)
    agree(torch_environment.fork_worker(plan), [["a"], ["a much longer one", "two"], ["b c"], [""]])


def test_a_keras_model_says_the_same_in_batches(tmp_path: Path, plan_of: PlanOf) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "keras").mkdir()
    command = [sys.executable, "-c", KERAS, str(folder / "text.keras")]
    subprocess.run(command, check=True, env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}, timeout=2 * PATIENT_S)
    with Environment(tmp_path / "keras", imports=["keras", "tensorflow"]) as environment:
        plan = RevisionPlan(
            revision="p", deployment="p", project="p", number=1, runtime=Runtime.PREPARE,
            work_dir=str(folder), memory_bytes=ROOM,
        )  # fmt: skip
        environment.fork_worker(plan).call()
        served = plan_of(
            "", "", runtime=Runtime.MODEL, max_batch=64, model_dir=str(folder), memory_bytes=ROOM
        )
        random = np.random.default_rng(3)
        bodies = [{"instances": random.integers(0, 50, (1 + seed % 2, 12)).tolist()} for seed in range(8)]
        agree(environment.fork_worker(served), bodies, names=("predictions",))
