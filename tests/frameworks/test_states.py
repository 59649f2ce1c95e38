"""States of torch, Keras and TensorFlow come back as they were: tied, viewed, with what they draw next."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lambent.runtimes import randomness
from lambent.runtimes.slots import Slots, make_arena
from lambent.runtimes.states import pack, unpack

pytestmark = pytest.mark.frameworks
LARGE_BYTES = (1 << 31) + 4096


@pytest.fixture(scope="module")
def torch() -> Any:
    return pytest.importorskip("torch")


@pytest.fixture(scope="module")
def keras() -> Any:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    return pytest.importorskip("keras")


@pytest.fixture
def in_memory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        make_arena(Path(folder))
        yield Path(folder)


def through(state: object) -> Any:
    """A state as it comes back."""
    packed = pack(state)
    memory = bytearray(packed.size_bytes)
    packed.copy_to(memoryview(memory))
    return unpack(memoryview(memory))


def test_tensors_of_every_kind_come_back(torch: Any) -> None:
    for tensor in (
        torch.arange(12).reshape(3, 4).t(),
        torch.ones(3, dtype=torch.bfloat16),
        torch.zeros(0, 3),
        torch.tensor(5.0),
        torch.randn(4, dtype=torch.complex64).conj(),
        torch.eye(3).to_sparse(),
        torch.nn.Parameter(torch.randn(2), requires_grad=False),
        torch.randn(2, requires_grad=True),
        torch.arange(10)[3:7],
    ):
        came = through(tensor)
        assert (type(came), came.dtype, came.shape) == (type(tensor), tensor.dtype, tensor.shape)
        assert came.requires_grad == tensor.requires_grad
        assert torch.equal(came.to_dense(), tensor.to_dense())
        if tensor.layout is torch.strided:
            assert came.stride() == tensor.stride()


@pytest.mark.filterwarnings("ignore:.*quantize_per_tensor", "ignore:TypedStorage")  # torch itself uses them
def test_quantised_tensors_come_back(torch: Any) -> None:
    tensor = torch.quantize_per_tensor(torch.randn(4), 0.1, 0, torch.qint8)
    assert torch.equal(through(tensor).dequantize(), tensor.dequantize())


def test_tied_weights_stay_tied_and_views_stay_views(torch: Any) -> None:
    one, other = torch.nn.Linear(3, 3), torch.nn.Linear(3, 3)
    other.weight = one.weight
    base = torch.zeros(10)
    came_one, came_other, came_base, came_view = through([one, other, base, base[2:5]])
    assert came_one.weight is came_other.weight
    came_base[2] = 7
    assert came_view[0] == 7


def test_what_comes_back_can_be_trained_on_and_grown(torch: Any) -> None:
    came = through(torch.arange(6.0))
    came.resize_(12).fill_(1.0)
    layer = through(torch.nn.Linear(2, 1))
    layer(torch.ones(1, 2)).sum().backward()
    assert layer.weight.grad is not None


def test_memory_is_aligned_as_torchs_own(torch: Any) -> None:
    assert all(tensor.data_ptr() % 64 == 0 for tensor in through([torch.zeros(n) for n in range(1, 40)]))


def test_an_optimiser_goes_on_as_it_would_have(torch: Any) -> None:
    def steps(model: Any, optimiser: Any, count: int) -> Any:
        for _ in range(count):
            optimiser.zero_grad()
            model(torch.randn(8, 5)).square().sum().backward()
            optimiser.step()
        return model.weight.detach().clone()

    torch.manual_seed(1)
    model = torch.nn.Linear(5, 5)
    optimiser = torch.optim.Adam(model.parameters())
    steps(model, optimiser, 3)
    state, drawn = (
        through([{"model": model.state_dict(), "optimiser": optimiser.state_dict()}] * 2)[0],
        (randomness.captured()),
    )
    unbroken = steps(model, optimiser, 3)
    again = torch.nn.Linear(5, 5)
    optimiser = torch.optim.Adam(again.parameters())
    again.load_state_dict(state["model"])
    optimiser.load_state_dict(state["optimiser"])
    randomness.put_back(through(drawn))
    assert torch.equal(steps(again, optimiser, 3), unbroken)


def test_variables_of_keras_and_tensorflow_come_back(keras: Any) -> None:
    tensorflow = sys.modules["tensorflow"]
    variable = keras.Variable(np.ones((3, 2), "float32"), name="weight")
    plain, constant = tensorflow.Variable([1.0, 2.0]), tensorflow.constant([3.0])
    came, came_plain, came_constant = through([variable, plain, constant])
    assert came.path == variable.path
    assert np.array_equal(came.numpy(), variable.numpy())
    assert came_plain.numpy().tolist() == [1.0, 2.0]
    assert came_constant.numpy().tolist() == [3.0]


def test_what_keras_and_tensorflow_draw_next_comes_back(keras: Any) -> None:
    tensorflow = sys.modules["tensorflow"]

    def draw() -> list[float]:
        return [float(keras.random.normal(())), float(tensorflow.random.normal(()))]

    keras.utils.set_random_seed(5)
    draw()
    drawn = through(randomness.captured())
    unbroken = draw()
    keras.utils.set_random_seed(6)
    randomness.put_back(drawn)
    assert draw() == unbroken


def test_a_state_of_more_than_two_gigabytes_comes_back(in_memory: Path) -> None:
    slots, state = Slots(in_memory), np.zeros(LARGE_BYTES, dtype="u1")
    state[-1] = 7
    slots.commit(state, step=1, unix_ms=0)
    state[-1] = 8
    came = slots.read(slots.commits()[0])
    assert (came.size, came[-1], int(came[: 1 << 20].max())) == (LARGE_BYTES, 7, 0)
