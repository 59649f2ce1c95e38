"""Arrays as JSON, CSV, NPY and NPZ: what SageMaker's toolkit reads and writes where user code does not.

After sagemaker-inference 1.10 (`decoder`, `encoder`). One thing is different: a pickle inside of NPY is
refused, since whoever may call a model could run code in it.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

import numpy as np

from lambent.core.invocation import JSON
from lambent.runtimes.faults import Fault

CSV: Final = "text/csv"
NPY: Final = "application/x-npy"
NPZ: Final = "application/x-npz"
ANY: Final = "*/*"
UTF8_TYPES: Final = (JSON, CSV)

UNSUPPORTED: Final = (
    "Content type %s is not supported by this framework.\n\n"
    "Please implement input_fn to to deserialize the request data or an output_fn to\n"
    "serialize the response. For more information, see the SageMaker Python SDK README."
)


def unsupported(content_type: str, status: int) -> Fault:
    """A type that nobody here reads (415) or writes (406). Its name and text are the toolkit's."""
    return Fault("UnsupportedFormatError", UNSUPPORTED % content_type, status=status)


def essence(content_type: str) -> str:
    """A media type without its parameters, in lower case."""
    return content_type.partition(";")[0].strip().lower()


def as_given(content_type: str, body: bytes) -> str | bytes:
    """The body as user code gets it: JSON and CSV as text, all else as bytes. Raises `Fault`."""
    if essence(content_type) not in UTF8_TYPES:
        return body
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        said = f"the body is {content_type} and not UTF-8: {error}"
        raise Fault("UnicodeDecodeError", said, status=400) from error


def decode(given: str | bytes, content_type: str) -> Any:
    """An array, or a sparse matrix from NPZ. Raises `Fault`, and `ValueError` for a damaged body."""
    reader = READERS.get(essence(content_type))
    if reader is None:
        raise unsupported(content_type, 415)
    return reader(given)


def encode(prediction: Any, accept: str) -> tuple[bytes, str]:
    """A prediction as the first type of `accept` that can be written, and that type. Raises `Fault`."""
    for wanted in accept.replace(" ", "").split(","):
        kind = JSON if essence(wanted) == ANY else essence(wanted)
        if writer := WRITERS.get(kind):
            return writer(prediction), kind
    raise unsupported(accept, 406)


def _from_json(given: Any) -> Any:
    return np.array(json.loads(given))


def _from_csv(given: str) -> Any:
    return np.genfromtxt(io.StringIO(given), dtype=None, delimiter=",", encoding="utf-8")


def _from_npy(given: bytes) -> Any:
    return np.load(io.BytesIO(given), allow_pickle=False)


def _from_npz(given: bytes) -> Any:
    try:
        from scipy import sparse  # type: ignore[import-untyped, unused-ignore]  # where the user has it
    except ModuleNotFoundError as error:
        raise unsupported(NPZ, 415) from error
    return sparse.load_npz(io.BytesIO(given))


def _to_json(prediction: Any) -> bytes:
    return json.dumps(prediction, default=_listed).encode()


def _to_csv(prediction: Any) -> bytes:
    text = io.StringIO()
    np.savetxt(text, np.atleast_1d(_array(prediction)), delimiter=",", fmt="%s")
    return text.getvalue().encode()


def _to_npy(prediction: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, _array(prediction), allow_pickle=False)
    return file.getvalue()


def _listed(value: Any) -> Any:
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")


def _array(value: Any) -> Any:
    """Tensors that are part of a graph, or on an accelerator, are no arrays before they are taken off it."""
    return value.detach().cpu().numpy() if hasattr(value, "detach") else np.asarray(value)


READERS: Final[Mapping[str, Callable[[Any], Any]]] = MappingProxyType(
    {JSON: _from_json, CSV: _from_csv, NPY: _from_npy, NPZ: _from_npz}
)
WRITERS: Final[Mapping[str, Callable[[Any], bytes]]] = MappingProxyType(
    {JSON: _to_json, CSV: _to_csv, NPY: _to_npy}
)
