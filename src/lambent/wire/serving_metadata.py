"""What TensorFlow Serving tells of a model: `GetModelMetadataResponse` as JSON, as protobuf writes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from lambent.core.tensors import Signature, Tensor
from lambent.wire.predict_v1 import SIGNATURE_DEFAULT

DTYPES: Final[Mapping[str, str]] = {
    "BOOL": "DT_BOOL",
    "UINT8": "DT_UINT8", "UINT16": "DT_UINT16", "UINT32": "DT_UINT32", "UINT64": "DT_UINT64",
    "INT8": "DT_INT8", "INT16": "DT_INT16", "INT32": "DT_INT32", "INT64": "DT_INT64", "FP16": "DT_HALF",
    "BF16": "DT_BFLOAT16", "FP32": "DT_FLOAT", "FP64": "DT_DOUBLE", "BYTES": "DT_STRING",
}  # fmt: skip
TYPE: Final = "type.googleapis.com/tensorflow.serving.SignatureDefMap"
METHOD: Final = "tensorflow/serving/predict"


def metadata(name: str, version: int, signature: Signature) -> Mapping[str, Any]:
    """A model has one signature; what it takes and gives is told as far as it is known."""
    described = {
        "inputs": _tensors(signature.inputs),
        "outputs": _tensors(signature.outputs),
        "method_name": METHOD,
        "defaults": {},
    }
    return {
        "model_spec": {"name": name, "signature_name": "", "version": str(version)},
        "metadata": {"signature_def": {"@type": TYPE, "signature_def": {SIGNATURE_DEFAULT: described}}},
    }


def _tensors(tensors: Sequence[Tensor]) -> Mapping[str, Any]:
    return {
        one.name: {
            "dtype": DTYPES[one.datatype],
            "tensor_shape": {
                "dim": [{"size": str(size), "name": ""} for size in one.shape],
                "unknown_rank": False,
            },
            "name": f"{one.name}:0",
        }
        for one in tensors
    }
