"""What a model takes and gives is read from the files of each framework when they are prepared."""

import subprocess
import sys
from pathlib import Path

import pytest

from lambent.core.tensors import Signature, Tensor
from lambent.runtimes.adapters import files
from tests.support.patience import PATIENT_S

KERAS = """
import sys
from pathlib import Path
import keras
from lambent.runtimes.adapters import files
folder = Path(sys.argv[1])
inputs = keras.Input((4,), name="x")
keras.Model(inputs, keras.layers.Dense(3, name="y")(inputs)).save(folder / "model.keras")
files.prepare(folder, "model.keras")
"""


@pytest.mark.frameworks
def test_an_exported_program_says_what_it_takes_and_gives(tmp_path: Path) -> None:
    import torch

    class Network(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return 2 * x, x.sum(1)

    free = {"x": {0: torch.export.Dim("batch")}}
    program = torch.export.export(Network(), (torch.zeros(2, 4),), dynamic_shapes=free)
    torch.export.save(program, tmp_path / "network.pt2")
    serving = files.prepare(tmp_path, "network.pt2")
    assert serving is not None
    outputs = (Tensor("output_0", "FP32", (-1, 4)), Tensor("output_1", "FP32", (-1,)))
    assert serving.signature == Signature((Tensor("x", "FP32", (-1, 4)),), outputs)


@pytest.mark.frameworks
def test_a_keras_model_says_what_its_twin_takes_and_gives(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", KERAS, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=PATIENT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    serving = files.serving_of(tmp_path)
    assert serving is not None
    assert serving.served_by == "onnx", serving.reason
    (taken,), (given,) = serving.signature.inputs, serving.signature.outputs
    assert (taken.name, taken.datatype, taken.shape) == ("x", "FP32", (-1, 4))
    assert (given.datatype, given.shape) == ("FP32", (-1, 3))
