"""The Open Inference Protocol, version 2, over HTTP: JSON, and raw tensors behind it.

Its "Binary Tensor Data Extension": a body whose JSON ends where the header `Inference-Header-Content-Length`
says has the data of its tensors behind that, each as many bytes as its `binary_data_size`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from lambent.core.errors import CallerFault
from lambent.core.tensors import ELEMENT_BYTES, Given, Signature, elements_of
from lambent.wire.tensors import Buffer, Form, Piece, Sheet, Wanted, Wish, pack_pieces, type_of

HEADER: Final = b"inference-header-content-length"
TENSORS_MAX: Final = 4096  # of one request, and as many outputs
OURS: Final = frozenset({"binary_data_output"})  # what is for the server among a request's parameters

Parameter = bool | int | float | str | None


class Rope:
    """A body in the pieces in which it came: what is large is put together once, for the worker."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self._pieces: Final = pieces
        self._size: Final = sum(map(len, pieces))

    def __len__(self) -> int:
        return self._size

    def cut(self, start: int, end: int) -> list[Buffer]:
        """The pieces from `start` to `end`, none of them copied."""
        found: list[Buffer] = []
        at = 0
        for piece in self._pieces:
            low, high = max(start - at, 0), min(end - at, len(piece))
            if low < high:
                found.append(memoryview(piece)[low:high])
            at += len(piece)
        return found


class AskedInput(msgspec.Struct, frozen=True):
    """One input as JSON tells it."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    parameters: dict[str, object] = {}
    data: msgspec.Raw = msgspec.Raw(b"")


class AskedOutput(msgspec.Struct, frozen=True):
    """One output that is asked for."""

    name: str
    parameters: dict[str, object] = {}


class AskedInference(msgspec.Struct, frozen=True):
    """The JSON of a request."""

    inputs: tuple[AskedInput, ...]
    id: str = ""
    parameters: dict[str, object] = {}
    outputs: tuple[AskedOutput, ...] = ()


class Inference(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked of a model, whichever way it came. `buffers` has the data of `given`, each in pieces."""

    given: tuple[Given, ...]
    buffers: tuple[Sequence[Buffer], ...]
    wish: Wish
    id: str = ""
    parameters: Mapping[str, object] = {}

    def body(self) -> bytes:
        """What goes to the worker."""
        pieces = tuple(
            Piece(
                one.name,
                one.datatype,
                one.shape,
                sum(map(len, pieces)),
                Form.JSON if one.size_bytes is None else Form.RAW,
            )
            for one, pieces in zip(self.given, self.buffers, strict=True)
        )
        return pack_pieces(Sheet(pieces), self.buffers)

    def content_type(self, signature: Signature) -> str:
        """What goes beside it: what is to come back."""
        return type_of(msgspec.structs.replace(self.wish, outputs=signature.outputs))


class Output(msgspec.Struct, frozen=True, omit_defaults=True):
    """One output as JSON tells it."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    parameters: dict[str, int] = {}
    data: msgspec.Raw = msgspec.Raw(b"")


class Answer(msgspec.Struct, frozen=True):
    """The JSON of an answer. `parameters` would come here, if there were any."""

    model_name: str
    model_version: str
    outputs: tuple[Output, ...]


class NamedAnswer(Answer, frozen=True):
    """One with the id that the request had."""

    id: str


_requests: Final = msgspec.json.Decoder(AskedInference)
_encoder: Final = msgspec.json.Encoder()


def read_inference(body: Rope, header: bytes | None) -> Inference:
    """The request that a body is; `header` is `Inference-Header-Content-Length`. Raises `CallerFault`."""
    end = len(body) if header is None else _length(header, len(body))
    try:
        asked = _requests.decode(b"".join(body.cut(0, end)))
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise CallerFault(f"failed to parse the request: {error}") from error
    if not asked.inputs or len(asked.inputs) > TENSORS_MAX or len(asked.outputs) > TENSORS_MAX:
        raise CallerFault(f"a request has 1 to {TENSORS_MAX} inputs; this one has {len(asked.inputs)}")
    given: list[Given] = []
    buffers: list[Sequence[Buffer]] = []
    for one in asked.inputs:
        size_bytes = _binary_bytes(one)
        if size_bytes is None:
            buffers.append((_json_data(one),))
        else:
            if header is None:
                raise CallerFault(
                    f"input {one.name!r} is binary: Inference-Header-Content-Length must say where JSON ends"
                )
            if end + size_bytes > len(body):
                raise CallerFault(
                    f"input {one.name!r} has {size_bytes} bytes of binary data; {len(body) - end} are there"
                )
            buffers.append(body.cut(end, end + size_bytes))
            end += size_bytes
        given.append(Given(one.name, one.datatype, one.shape, size_bytes))
    if end != len(body):
        raise CallerFault(f"there are {len(body) - end} bytes behind the inputs")
    parameters = {name: value for name, value in asked.parameters.items() if name not in OURS}
    return Inference(
        given=tuple(given), buffers=tuple(buffers), wish=_wish(asked), id=asked.id, parameters=parameters
    )


def read_object(body: bytes) -> Mapping[str, object]:
    """Whatever object a body is. Raises `CallerFault`."""
    try:
        said = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise CallerFault(f"failed to parse the request: {error}") from error
    if not isinstance(said, dict):
        raise CallerFault("failed to parse the request: it is no JSON object")
    return said


def read_raw(body: bytes, signature: Signature) -> Inference:
    """A body that is nothing but the data of a model's only input. Raises `CallerFault`.

    The extension's "Raw Binary Request": the shape is the model's own, where its data tell the rest.
    """
    if len(signature.inputs) != 1:
        raise CallerFault("a raw request is for a model that is known to have one input")
    (only,) = signature.inputs
    fixed = elements_of([size for size in only.shape if size >= 0]) * (ELEMENT_BYTES[only.datatype] or 1)
    free = sum(size < 0 for size in only.shape)
    if only.datatype == "BYTES" or free > 1 or (free and (not fixed or len(body) % fixed)):
        raise CallerFault(
            f"the shape {list(only.shape)} of {only.name!r} cannot be told from {len(body)} bytes"
        )
    shape = tuple(len(body) // fixed if size < 0 else size for size in only.shape)
    given = Given(only.name, only.datatype, shape, len(body))
    return Inference(given=(given,), buffers=((body,),), wish=Wish(Form.RAW))


def answer(
    model: str, version: str, request_id: str, sheet: Sheet, buffers: Sequence[memoryview]
) -> tuple[bytes, int | None]:
    """The body of an answer, and how much of it is JSON where that is not all of it."""
    outputs = tuple(
        Output(one.name, one.datatype, one.shape, {"binary_data_size": one.size_bytes})
        if one.form is Form.RAW
        else Output(one.name, one.datatype, one.shape, {}, msgspec.Raw(buffer))
        for one, buffer in zip(sheet.pieces, buffers, strict=True)
    )
    said = NamedAnswer(model, version, outputs, request_id) if request_id else Answer(model, version, outputs)
    head = _encoder.encode(said)
    raw = [buffer for one, buffer in zip(sheet.pieces, buffers, strict=True) if one.form is Form.RAW]
    return (b"".join([head, *raw]), len(head)) if raw else (head, None)


def refusal(message: str) -> bytes:
    """The body of an error."""
    return _encoder.encode({"error": message})


def _length(header: bytes, body_bytes: int) -> int:
    text = header.strip()
    if not text.isdigit() or len(text) > 18 or int(text) > body_bytes:
        raise CallerFault(
            f"Inference-Header-Content-Length: {header.decode('latin-1')[:40]!r} is no length of JSON in a "
            f"body of {body_bytes} bytes"
        )
    return int(text)


def _binary_bytes(one: AskedInput) -> int | None:
    parameters = one.parameters
    if "shared_memory_region" in parameters:
        raise CallerFault(f"input {one.name!r}: no memory is shared here, send the data with the request")
    if "binary_data_size" not in parameters:
        return None
    size_bytes = parameters["binary_data_size"]
    if type(size_bytes) is not int or size_bytes < 0:
        raise CallerFault(f"input {one.name!r}: binary_data_size is {size_bytes!r}, which is no size")
    if one.data:
        raise CallerFault(f"input {one.name!r} has both data and binary data")
    return size_bytes


def _json_data(one: AskedInput) -> bytes:
    data = bytes(one.data)
    if not data.startswith(b"["):
        raise CallerFault(f"input {one.name!r} has no data: a list of its elements, or binary_data_size")
    return data


def _wish(asked: AskedInference) -> Wish:
    form = Form.RAW if _says(asked.parameters, "binary_data_output") else Form.JSON
    wanted: list[Wanted] = []
    for one in asked.outputs:
        if "shared_memory_region" in one.parameters:
            raise CallerFault(f"output {one.name!r}: no memory is shared here, it comes with the answer")
        if one.parameters.get("classification"):
            raise CallerFault(
                f"output {one.name!r}: classes are not made of it here, ask the model for what it gives"
            )
        own = Form.RAW if _says(one.parameters, "binary_data") else Form.JSON
        wanted.append(Wanted(one.name, own if "binary_data" in one.parameters else form))
    return Wish(form, tuple(wanted))


def _says(parameters: Mapping[str, object], name: str) -> bool:
    value = parameters.get(name, False)
    if not isinstance(value, bool):
        raise CallerFault(f"the parameter {name} is true or false; this one is {value!r}"[:200])
    return value
