"""Training that is killed ends with the weights of an unbroken run, to the bit: PyTorch and Keras."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.killed_runs import survived

pytestmark = pytest.mark.frameworks

TORCH = """
import hashlib
import torch
from lambent.training import resumable

def fit(run):
    torch.manual_seed(7)
    model = torch.nn.Sequential(
        torch.nn.Linear(20, 64), torch.nn.Dropout(0.3), torch.nn.ReLU(), torch.nn.Linear(64, 1)
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 40)
    parts = {"model": model, "optimizer": optimizer, "scheduler": scheduler}
    for step in resumable(run, 40, every_steps=3, **parts):
        x = torch.randn(32, 20)
        optimizer.zero_grad()
        (model(x) - x.sum(1, keepdim=True)).square().mean().backward()
        optimizer.step()
        scheduler.step()
    weights = b"".join(tensor.numpy().tobytes() for tensor in model.state_dict().values())
    return hashlib.sha256(weights).hexdigest()
"""
KERAS = """
import hashlib
import keras
import numpy as np
from lambent.training import KerasCheckpoint

def fit(run):
    keras.utils.set_random_seed(7)
    x = np.random.default_rng(1).normal(size=(96, 8)).astype("f4")
    y = x.sum(1, keepdims=True)
    layers = keras.layers
    model = keras.Sequential([
        layers.Input((8,)), layers.Dense(16, "relu"), layers.Dropout(0.3), layers.BatchNormalization(),
        layers.Dense(1),
    ])
    model.compile("adam", "mse", metrics=["mae"])
    keep = KerasCheckpoint(run, every_s=0)
    history = model.fit(x, y, batch_size=16, epochs=4, verbose=0, callbacks=[keep])
    weights = b"".join(np.ascontiguousarray(each).tobytes() for each in model.get_weights())
    return [hashlib.sha256(weights).hexdigest(), history.history, history.epoch]
"""


def told(folder: Path, code: str, *kills: int, backend: str = "tensorflow") -> dict[str, Any]:
    return survived(sys.executable, folder, code, kills, {"KERAS_BACKEND": backend})


def test_a_loop_of_torch_ends_with_the_weights_of_an_unbroken_one(tmp_path: Path) -> None:
    unbroken = told(tmp_path / "unbroken", TORCH)
    killed = told(tmp_path / "killed", TORCH, 4, 4)
    assert killed["began"] == [0, 12, 24]
    assert killed["returned"] == unbroken["returned"]


@pytest.mark.parametrize("backend", ["tensorflow", "torch"])
def test_a_fit_of_keras_ends_with_the_weights_of_an_unbroken_one(tmp_path: Path, backend: str) -> None:
    unbroken = told(tmp_path / "unbroken", KERAS, backend=backend)
    # Six batches an epoch, commits after each and at the ends of epochs: killed in the middle of two of them.
    killed = told(tmp_path / "killed", KERAS, 5, 6, backend=backend)
    assert killed["began"][:2] == [0, 5]
    assert 6 < killed["began"][2] < 12
    assert killed["returned"] == unbroken["returned"]
