"""Tiny real models, made without a framework that trains."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

IR_VERSION = 9
OPSET = 17


def linear(
    path: Path, *, inputs: int = 4, outputs: int = 3, batch: int | str = "batch", bias: float = -1.0
) -> Path:
    """`y = relu(x · W + b)` with W[i, j] = i + j and b = `bias`, for any batch unless one is given."""
    weights = np.add.outer(np.arange(inputs), np.arange(outputs)).astype(np.float32)
    return save(
        path,
        [
            helper.make_node("MatMul", ["x", "w"], ["xw"]),
            helper.make_node("Add", ["xw", "b"], ["sum"]),
            helper.make_node("Relu", ["sum"], ["y"]),
        ],
        inputs=[helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, inputs])],
        outputs=[helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, outputs])],
        constants={"w": weights, "b": np.full(outputs, bias, np.float32)},
    )


def lookup(path: Path) -> Path:
    """Two inputs and two outputs: rows of a table by index, times a scale per row; and the index back."""
    table = np.arange(12, dtype=np.float32).reshape(4, 3)
    return save(
        path,
        [
            helper.make_node("Gather", ["table", "index"], ["rows"]),
            helper.make_node("Mul", ["rows", "scale"], ["scaled"]),
            helper.make_node("Identity", ["index"], ["seen"]),
        ],
        inputs=[
            helper.make_tensor_value_info("index", TensorProto.INT64, ["batch"]),
            helper.make_tensor_value_info("scale", TensorProto.FLOAT, ["batch", 1]),
        ],
        outputs=[
            helper.make_tensor_value_info("scaled", TensorProto.FLOAT, ["batch", 3]),
            helper.make_tensor_value_info("seen", TensorProto.INT64, ["batch"]),
        ],
        constants={"table": table},
    )


def save(
    path: Path, nodes: list[Any], *, inputs: list[Any], outputs: list[Any], constants: dict[str, Any]
) -> Path:
    """Write a graph as a checked ONNX file."""
    initializers = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, path.stem, inputs, outputs, initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    return path


def digits(path: Path) -> Path:
    """A classifier of 28 × 28 images, as MNIST's: 784 → 32 → 10, softmax. Weights are random, and stated."""
    random = np.random.default_rng(7)
    sizes = {"w1": (784, 32), "b1": (32,), "w2": (32, 10), "b2": (10,)}
    weights = {name: random.normal(0, 0.1, size).astype(np.float32) for name, size in sizes.items()}
    return save(
        path,
        [
            helper.make_node("Gemm", ["image", "w1", "b1"], ["hidden"]),
            helper.make_node("Relu", ["hidden"], ["active"]),
            helper.make_node("Gemm", ["active", "w2", "b2"], ["logits"]),
            helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
            helper.make_node("ArgMax", ["probabilities"], ["digit"], axis=1, keepdims=0),
        ],
        inputs=[helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 784])],
        outputs=[
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", 10]),
            helper.make_tensor_value_info("digit", TensorProto.INT64, ["batch"]),
        ],
        constants=weights,
    )
