"""The real models whose batches are measured, as ONNX files: their shapes are those of known networks.

The weights are random, which changes no run time. The embedder has the layers of all-MiniLM-L6-v2: 6 of width
384 with 12 heads over 30,522 words, 91 MB, and a mean over the sentence.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper, save

OPSET: Final = 17
IR_VERSION: Final = 8
SEED: Final = 7
Array = NDArray[Any]


class Network(msgspec.Struct, frozen=True):
    """A model file, and one row of its input."""

    path: Path
    row: Array

    @property
    def body(self) -> bytes:
        """The row as a caller sends it."""
        return json.dumps([np.round(self.row.astype("f8"), 3).tolist()]).encode()


class _Graph:
    """Collects nodes and weights; each method adds one operation and returns the name of what comes out."""

    def __init__(self) -> None:
        self.random = np.random.default_rng(SEED)
        self.nodes: list[Any] = []
        self.weights: list[Any] = []

    def constant(self, value: Array) -> str:
        name = f"c{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(value, name))
        return name

    def weight(self, *shape: int) -> str:
        scale = 1 / np.sqrt(shape[0])
        return self.constant((self.random.standard_normal(shape) * scale).astype("f4"))

    def node(self, kind: str, *inputs: str, **attributes: Any) -> str:
        name = f"n{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], **attributes))
        return name

    def dense(self, x: str, width: int, out: int) -> str:
        return self.node("Add", self.node("MatMul", x, self.weight(width, out)), self.weight(out))

    def norm(self, x: str, width: int) -> str:
        ones, zeros = self.constant(np.ones(width, "f4")), self.constant(np.zeros(width, "f4"))
        return self.node("LayerNormalization", x, ones, zeros, axis=-1)

    def heads(self, x: str, width: int, heads: int, order: tuple[int, ...]) -> str:
        shape = self.constant(np.asarray([0, 0, heads, width // heads]))
        return self.node("Transpose", self.node("Reshape", x, shape), perm=order)

    def attention(self, x: str, width: int, heads: int) -> str:
        query = self.heads(self.dense(x, width, width), width, heads, (0, 2, 1, 3))
        key = self.heads(self.dense(x, width, width), width, heads, (0, 2, 3, 1))
        value = self.heads(self.dense(x, width, width), width, heads, (0, 2, 1, 3))
        scale = self.constant(np.asarray((width // heads) ** -0.5, "f4"))
        weights = self.node("Softmax", self.node("Mul", self.node("MatMul", query, key), scale), axis=-1)
        mixed = self.node("Transpose", self.node("MatMul", weights, value), perm=(0, 2, 1, 3))
        flat = self.node("Reshape", mixed, self.constant(np.asarray([0, 0, width])))
        return self.dense(flat, width, width)

    def save(self, path: Path, last: str, *, kind: int, shape: list[Any], out: int) -> None:
        self.nodes.append(helper.make_node("Identity", [last], ["y"]))
        x = helper.make_tensor_value_info("x", kind, ["batch", *shape])
        y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", out])
        graph = helper.make_graph(self.nodes, path.stem, [x], [y], self.weights)
        opset = helper.make_opsetid("", OPSET)
        save(helper.make_model(graph, opset_imports=[opset], ir_version=IR_VERSION), path)


def weight_bound_mlp(path: Path) -> Network:
    """Six layers of 1,536: 57 MB are read for each batch."""
    graph, inputs, width = _Graph(), 32, 1536
    x = graph.node("Relu", graph.dense("x", inputs, width))
    for _ in range(6):
        x = graph.node("Relu", graph.dense(x, width, width))
    graph.save(path, graph.dense(x, width, 10), kind=TensorProto.FLOAT, shape=[inputs], out=10)
    return Network(path, graph.random.standard_normal(inputs).astype("f4").round(3))


def small_cnn(path: Path) -> Network:
    """Three convolutions over 28 × 28 pixels, 58 million multiplications a picture."""
    graph = _Graph()
    x = graph.node("Unsqueeze", "x", graph.constant(np.asarray([1])))
    for before, after in ((1, 64), (64, 64), (64, 64)):
        kernel = graph.constant((graph.random.standard_normal((after, before, 3, 3)) * 0.1).astype("f4"))
        x = graph.node("Relu", graph.node("Conv", x, kernel, pads=[1, 1, 1, 1]))
    x = graph.node("Flatten", graph.node("GlobalAveragePool", x))
    graph.save(path, graph.dense(x, 64, 10), kind=TensorProto.FLOAT, shape=[28, 28], out=10)
    return Network(path, graph.random.random((28, 28)).astype("f4").round(2))


def _transformer(path: Path, *, layers: int, width: int, heads: int, words: int, length: int) -> Network:
    graph = _Graph()
    x = graph.norm(graph.node("Gather", graph.weight(words, width), "x"), width)
    for _ in range(layers):
        x = graph.norm(graph.node("Add", x, graph.attention(x, width, heads)), width)
        inner = graph.dense(x, width, 4 * width)
        inner = graph.node("Mul", inner, graph.node("Sigmoid", inner))
        x = graph.norm(graph.node("Add", x, graph.dense(inner, 4 * width, width)), width)
    x = graph.node("ReduceMean", x, axes=[1], keepdims=0)
    graph.save(path, x, kind=TensorProto.INT64, shape=["words"], out=width)
    return Network(path, graph.random.integers(0, words, length))


def tiny_transformer(path: Path) -> Network:
    """Four layers of width 192 over 32 words."""
    return _transformer(path, layers=4, width=192, heads=6, words=8000, length=32)


def embedder(path: Path) -> Network:
    """A sentence embedder of 91 MB over 16 words, a short sentence."""
    return _transformer(path, layers=6, width=384, heads=12, words=30_522, length=16)


NETWORKS: Final[Mapping[str, Callable[[Path], Network]]] = MappingProxyType(
    {
        "weight-bound-mlp": weight_bound_mlp,
        "small-cnn": small_cnn,
        "tiny-transformer": tiny_transformer,
        "embedder": embedder,
    }
)
