"""The messages of the gRPC service as what is asked, and what came of it as messages."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from lambent.core.errors import CallerFault
from lambent.core.tensors import BYTES, Given
from lambent.wire.inference_proto import DATA_TYPES, MESSAGES
from lambent.wire.open_inference import TENSORS_MAX, Inference
from lambent.wire.tensors import Sheet, Wanted, Wish, joined_elements

FINAL: Final = "triton_final_response"
WANTS_EMPTY_FINAL: Final = "triton_enable_empty_final_response"

# In which field the elements of each datatype come, and how `array` calls them.
CONTENTS: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {
        "BOOL": ("bool_contents", "B"),
        "INT8": ("int_contents", "b"),
        "INT16": ("int_contents", "h"),
        "INT32": ("int_contents", "i"),
        "INT64": ("int64_contents", "q"),
        "UINT8": ("uint_contents", "B"),
        "UINT16": ("uint_contents", "H"),
        "UINT32": ("uint_contents", "I"),
        "UINT64": ("uint64_contents", "Q"),
        "FP32": ("fp32_contents", "f"),
        "FP64": ("fp64_contents", "d"),
        BYTES: ("bytes_contents", ""),
    }
)


def read_inference(request: Any) -> Inference:
    """The inference that a `ModelInferRequest` asks for. Raises `CallerFault`."""
    inputs, raw = request.inputs, request.raw_input_contents
    if not inputs or len(inputs) > TENSORS_MAX or len(request.outputs) > TENSORS_MAX:
        raise CallerFault(f"a request has 1 to {TENSORS_MAX} inputs; this one has {len(inputs)}")
    for one in (*inputs, *request.outputs):
        _check_parameters(one)
    if raw:
        if any(one.HasField("contents") for one in inputs):
            raise CallerFault("contents and raw_input_contents do not mix: give every input in the same way")
        if len(raw) != len(inputs):
            raise CallerFault(f"there are {len(inputs)} inputs and {len(raw)} raw_input_contents")
    buffers = [*raw] if raw else [_typed(one) for one in inputs]
    return Inference(
        given=tuple(
            Given(one.name, one.datatype, tuple(one.shape), len(buffer))
            for one, buffer in zip(inputs, buffers, strict=True)
        ),
        buffers=tuple((buffer,) for buffer in buffers),
        wish=Wish(wanted=tuple(Wanted(one.name) for one in request.outputs)),
        id=request.id,
        parameters=parameters_of(request),
    )


def parameters_of(message: Any) -> dict[str, object]:
    """Its parameters by name."""
    found: dict[str, object] = {}
    for name, value in message.parameters.items():
        kind = value.WhichOneof("parameter_choice")
        found[name] = getattr(value, kind) if kind else None
    return found


def response(model: str, version: str, request_id: str, sheet: Sheet, buffers: Sequence[memoryview]) -> Any:
    """A `ModelInferResponse` with raw contents."""
    found = MESSAGES["ModelInferResponse"](model_name=model, model_version=version, id=request_id)
    for piece, buffer in zip(sheet.pieces, buffers, strict=True):
        found.outputs.add(name=piece.name, datatype=piece.datatype, shape=piece.shape)
        found.raw_output_contents.append(bytes(buffer))
    return found


def streamed(response: Any, *, last: bool) -> Any:
    """A response as one of several."""
    response.parameters[FINAL].bool_param = last
    return MESSAGES["ModelStreamInferResponse"](infer_response=response)


def config(said: Mapping[str, Any]) -> Any:
    """A `ModelConfigResponse` of what is told as JSON elsewhere."""
    tensors = {
        side: [{**one, "data_type": DATA_TYPES[one["data_type"]]} for one in said[side]]
        for side in ("input", "output")
    }
    return MESSAGES["ModelConfigResponse"](config={**said, **tensors})


def statistics(said: Sequence[Mapping[str, Any]]) -> Any:
    """A `ModelStatisticsResponse` of what is told as JSON elsewhere."""
    left_out = ("batch_stats", "memory_usage")
    each = [{name: value for name, value in one.items() if name not in left_out} for one in said]
    return MESSAGES["ModelStatisticsResponse"](model_stats=each)


def _check_parameters(tensor: Any) -> None:
    if not tensor.parameters:
        return
    if "shared_memory_region" in tensor.parameters:
        raise CallerFault(f"tensor {tensor.name!r}: no memory is shared here, the data go with the message")
    if parameters_of(tensor).get("classification"):
        raise CallerFault(
            f"output {tensor.name!r}: classes are not made of it here, ask the model for what it gives"
        )


def _typed(one: Any) -> bytes:
    field, code = CONTENTS.get(one.datatype, ("", ""))
    if not field:
        raise CallerFault(
            f"input {one.name!r} is of {one.datatype!r}, which only raw_input_contents can carry"
        )
    elements = getattr(one.contents, field)
    if not code:
        return joined_elements(elements)
    try:
        return array(code, elements).tobytes()
    except OverflowError as error:
        raise CallerFault(
            f"input {one.name!r}: {one.datatype} does not hold its elements: {error}"
        ) from error
