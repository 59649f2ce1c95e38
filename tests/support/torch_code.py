"""Networks and user code for the tests of torch. Import it only where torch is installed."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Final

from tests.support.patience import PATIENT_S

# `tied` shares one matrix, has types of several widths, a buffer that is not saved, and an empty parameter.
NETWORKS: Final = """
import torch
from torch import nn

def digits():
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10), nn.Softmax(-1))

class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(5000, 64)
        self.norm = nn.BatchNorm1d(64)
        self.out = nn.Linear(64, 5000, bias=False)
        self.out.weight = self.embed.weight
        self.narrow = nn.Parameter(torch.full((3,), 0.5, dtype=torch.bfloat16))
        self.nothing = nn.Parameter(torch.empty(0))
        self.register_buffer("scale", torch.tensor(2.0, dtype=torch.float64))
        self.register_buffer("shift", torch.arange(3), persistent=False)
    def forward(self, x):
        hidden = self.norm(self.embed(x)) * self.scale.float() + self.narrow.float().sum()
        return self.out(hidden) + self.shift.sum()

def tied():
    return Tied()
"""
DIGITS: Final = (
    NETWORKS
    + """
class Digits:
    def load(self, model):
        with torch.device("meta"):
            network = digits()
        self.network = model.load_into(network).eval()
    def predict(self, inputs):
        with torch.inference_mode():
            return {"said": self.network(torch.tensor(inputs)), "threads": torch.get_num_threads(),
                    "random": torch.rand(1).item(), "seed": torch.initial_seed()}
"""
)


def make(script: str, folder: Path) -> None:
    """Run `script` after `NETWORKS`, in a process of its own and in `folder`."""
    code = NETWORKS + textwrap.dedent(script)
    subprocess.run([sys.executable, "-c", code], check=True, cwd=folder, timeout=2 * PATIENT_S)
