"""What a model takes and gives is read from the files of each framework when they are prepared."""

from pathlib import Path

import pytest

from lambent.core.tensors import Signature, Tensor
from lambent.runtimes.adapters import files


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
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Keras's own, of numpy
def test_a_keras_model_says_what_its_twin_takes_and_gives(tmp_path: Path) -> None:
    import keras

    inputs = keras.Input((4,), name="x")
    model = keras.Model(inputs, keras.layers.Dense(3, name="y")(inputs))
    model.save(tmp_path / "model.keras")
    serving = files.prepare(tmp_path, "model.keras")
    assert serving is not None
    assert serving.served_by == "onnx"
    (taken,), (given,) = serving.signature.inputs, serving.signature.outputs
    assert (taken.name, taken.datatype, taken.shape) == ("x", "FP32", (-1, 4))
    assert (given.datatype, given.shape) == ("FP32", (-1, 3))
