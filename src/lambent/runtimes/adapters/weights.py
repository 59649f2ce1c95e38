"""torch's state dicts: read without running code, stored as safetensors, and mapped instead of copied.

    .lambent/NAME.weights/model.safetensors.index.json     which file holds which tensor
    .lambent/NAME.weights/model-00001-of-00007.safetensors

It is the layout in which Hugging Face's libraries shard a model. Each large tensor has a file of its own, so
that models that share the tensor share the file, on the disk and in memory.
"""

from __future__ import annotations

import math
import pickle
import shutil
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import msgspec
import torch

from lambent.runtimes.adapters import safetensors
from lambent.runtimes.adapters.files import derived
from lambent.runtimes.adapters.predictor import BadModel
from lambent.wire.oneshot import Serving
from lambent.wire.typed import from_json

NAME: Final = "weights"
INDEX: Final = "model.safetensors.index.json"
OWN_FILE_BYTES_MIN: Final = 1 << 20  # smaller tensors share one file: a mapping each would cost more
DTYPES: Final[Mapping[str, Any]] = MappingProxyType(
    {
        "BOOL": torch.bool, "U8": torch.uint8, "I8": torch.int8, "U16": torch.uint16, "I16": torch.int16,
        "U32": torch.uint32, "I32": torch.int32, "U64": torch.uint64, "I64": torch.int64,
        "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2, "F16": torch.float16,
        "BF16": torch.bfloat16, "F32": torch.float32, "F64": torch.float64, "C64": torch.complex64,
    }
)  # fmt: skip
CODES: Final = MappingProxyType({dtype: code for code, dtype in DTYPES.items()})
TORCHSCRIPT: Final = "constants.pkl"


class View(msgspec.Struct, frozen=True):
    """A tensor that lies within another one: `offset` and `stride` count elements."""

    of: str
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


class Metadata(msgspec.Struct, frozen=True):
    """What an index knows beside places: `views`, and torch's own notes on the `modules`."""

    total_size: int
    views: dict[str, View] = {}
    modules: dict[str, dict[str, Any]] = {}
    program: str = ""  # the file of the network that the weights belong to, beside the index


class Index(msgspec.Struct, frozen=True):
    """`INDEX` as it is written."""

    metadata: Metadata
    weight_map: dict[str, str]


class NotPlain(ValueError):
    """It can be read, and is more than named tensors: it is left as it is."""


def warm_up() -> None:
    """Nothing: the network comes with user code."""


def prepare(folder: Path, file: str) -> Serving:
    """Store the weights of `folder / file` so that they can be mapped. Raises `BadModel`."""
    try:
        tensors = read(folder / file)
        index = store(tensors, derived(folder, file, ".weights"))
    except NotPlain as error:
        reason = f"kept as it is, and read by torch.load: {error}"
        return Serving(
            adapter=NAME, file=file, served_by=NAME, served_file=file, reason=reason, needs_code=True
        )
    return Serving(
        adapter=NAME,
        file=file,
        served_by=NAME,
        served_file=index.relative_to(folder).as_posix(),
        mapped_bytes=sum(path.stat().st_size for path in index.parent.iterdir()),
        needs_code=True,
    )


def open_weights(path: Path) -> OrderedDict[str, Any]:
    """The tensors in an index or in a file of weights, mapped. Raises `BadModel`."""
    try:
        return mapped(path) if path.name == INDEX else read(path)
    except NotPlain as error:
        raise BadModel(
            f"{path.name} is no state dict: {error}. Read it in code with "
            f"torch.load(model.file({path.name!r}), weights_only=True, mmap=True)"
        ) from error


def read(path: Path) -> OrderedDict[str, Any]:
    """A state dict as a user has saved it; no code of the file is run. Raises `BadModel`, `NotPlain`."""
    return plain(_read_safetensors(path) if path.suffix.lower() == ".safetensors" else _read_pickle(path))


def plain(found: object) -> OrderedDict[str, Any]:
    """A state dict that safetensors can hold. Raises `NotPlain`."""
    if not isinstance(found, Mapping) or not found:
        raise NotPlain(f"it holds a {type(found).__name__}" if found else "it holds nothing")
    for name, tensor in found.items():
        if not isinstance(tensor, torch.Tensor):
            raise NotPlain(f"its {name!r} is a {type(tensor).__name__} and no tensor")
        if tensor.layout is not torch.strided or tensor.is_quantized or tensor.dtype not in CODES:
            raise NotPlain(f"its {name!r} is of {tensor.dtype}, {tensor.layout}, which has no place there")
    return _as_state_dict({str(name): tensor.detach() for name, tensor in found.items()}, _modules_of(found))


def store(tensors: Mapping[str, Any], home: Path, *, program: str = "") -> Path:
    """Write tensors to the folder `home` in place of what is there; return the index. Raises `OSError`."""
    views = _views(tensors)
    whole = [(name, tensor) for name, tensor in tensors.items() if name not in views]
    small = [pair for pair in whole if _bytes(pair[1]) < OWN_FILE_BYTES_MIN]
    files = [[pair] for pair in whole if _bytes(pair[1]) >= OWN_FILE_BYTES_MIN] + ([small] if small else [])
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir()
    weight_map: dict[str, str] = {}
    for number, pairs in enumerate(files, 1):
        name = f"model-{number:05}-of-{len(files):05}.safetensors"
        safetensors.write(home / name, [_written(*pair) for pair in pairs])
        weight_map |= dict.fromkeys((pair[0] for pair in pairs), name)
    total = sum(_bytes(tensor) for _, tensor in whole)
    metadata = Metadata(total, views, _modules_of(tensors), program)
    index = home / INDEX
    index.write_bytes(msgspec.json.format(msgspec.json.encode(Index(metadata, weight_map))))
    return index


def mapped(index: Path) -> OrderedDict[str, Any]:
    """The tensors of an index on mapped memory.

    What writes to one gets pages of its own; the files stay as they are. Raises `BadModel`.
    """
    known = read_index(index)
    tensors: dict[str, Any] = {}
    for file in dict.fromkeys(known.weight_map.values()):
        path = index.with_name(file)
        storage = torch.UntypedStorage.from_file(str(path), False, path.stat().st_size)
        for name, place in safetensors.places(path).items():
            tensors[name] = _at(storage, place)
    for name, view in known.metadata.views.items():
        of = tensors[view.of]
        same = (view.offset, view.shape, view.stride) == (0, tuple(of.shape), of.stride())
        offset = of.storage_offset() + view.offset
        tensors[name] = of if same else of.as_strided(view.shape, view.stride, offset)
    return _as_state_dict(tensors, known.metadata.modules)


def read_index(index: Path) -> Index:
    """What is written there. Raises `BadModel`."""
    try:
        return from_json(index.read_bytes(), Index)
    except (OSError, msgspec.DecodeError) as error:
        raise BadModel(f"{index.name} cannot be read: {error}; register the model again") from error


def load_into(module: Any, tensors: Mapping[str, Any]) -> None:
    """Let a module use `tensors` themselves, with their types; its tied parameters stay tied.

    Raises `RuntimeError` as `load_state_dict` does, for names or shapes that do not fit.
    """
    known = dict(tensors)
    own = dict(module.named_parameters(remove_duplicate=False))
    first_names: dict[int, str] = {}
    for name, parameter in own.items():
        if name in tensors:
            first_names.setdefault(id(parameter), name)
    made: dict[tuple[int, int], Any] = {}
    for name, parameter in own.items():
        # Some writers of safetensors leave out the second name of a tied parameter.
        tensor = tensors.get(name, tensors.get(first_names.get(id(parameter), "")))
        if tensor is not None:
            key = (id(parameter), id(tensor))
            if key not in made:
                made[key] = torch.nn.Parameter(tensor, requires_grad=parameter.requires_grad)
            known[name] = made[key]
    module.load_state_dict(_as_state_dict(known, _modules_of(tensors)), assign=True)


def _read_safetensors(path: Path) -> Any:
    import safetensors.torch as reader

    try:
        return reader.load_file(path)
    except Exception as error:  # its own class, and those of a cut file
        raise BadModel(f"{path.name} cannot be read as safetensors: {error}") from error


def _read_pickle(path: Path) -> Any:
    zipped = zipfile.is_zipfile(path)
    if zipped and _is_torchscript(path):
        raise BadModel(
            f"{path.name} is a TorchScript archive, which torch has deprecated: save the program with "
            "torch.export.save as .pt2, or the weights with torch.save(module.state_dict(), ...)"
        )
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except pickle.UnpicklingError as error:
        raise BadModel(
            f"{path.name} holds pickled objects beside tensors, and reading those can run any code: save "
            f"torch.save(module.state_dict(), ...) instead of the module ({_which(error)})"
        ) from error
    except Exception as error:  # a cut archive, an unknown tensor type: each raises its own
        raise BadModel(f"{path.name} cannot be read by torch: {str(error).partition(chr(10))[0]}") from error


def _is_torchscript(path: Path) -> bool:
    with zipfile.ZipFile(path) as archive:
        return any(Path(name).name == TORCHSCRIPT for name in archive.namelist())


def _which(error: pickle.UnpicklingError) -> str:
    """The name of the class that the file asks for, out of a page of advice."""
    _, found, rest = str(error).partition("GLOBAL ")
    return f"it asks for {rest.split()[0]}" if found else "it is no plain pickle"


def _views(tensors: Mapping[str, Any]) -> dict[str, View]:
    """Those tensors that lie within another one, by name: tied weights above all."""
    views: dict[str, View] = {}
    whole: tuple[str, Any] | None = None
    # In the order of their memory, so that what is contained comes right after what contains it.
    for name, tensor in sorted(tensors.items(), key=lambda pair: _extent(pair[1])):
        if whole is not None and _within(tensor, whole[1]):
            offset = (tensor.data_ptr() - whole[1].data_ptr()) // tensor.element_size()
            views[name] = View(whole[0], offset, tuple(tensor.shape), tensor.stride())
        elif tensor.is_contiguous():
            whole = name, tensor
    return views


def _extent(tensor: Any) -> tuple[int, int, bool]:
    return tensor.data_ptr(), -_bytes(tensor), not tensor.is_contiguous()


def _within(tensor: Any, whole: Any) -> bool:
    if not tensor.numel() or tensor.dtype != whole.dtype:
        return False
    last = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    start, end = tensor.data_ptr(), tensor.data_ptr() + (last + 1) * tensor.element_size()
    inside = whole.data_ptr() <= start and end <= whole.data_ptr() + _bytes(whole)
    return bool(inside and (start - whole.data_ptr()) % tensor.element_size() == 0)


def _written(name: str, tensor: Any) -> safetensors.Tensor:
    flat = tensor.contiguous().reshape(-1).view(torch.uint8).numpy()
    return safetensors.Tensor(name, CODES[tensor.dtype], tuple(tensor.shape), memoryview(flat))


def _at(storage: Any, place: safetensors.Place) -> Any:
    dtype = DTYPES[place.dtype]
    count = math.prod(place.shape)
    flat = torch.empty(0, dtype=dtype).set_(storage, place.start // dtype.itemsize, (count,), (1,))
    return flat.view(place.shape)


def _bytes(tensor: Any) -> int:
    return int(tensor.numel() * tensor.element_size())


def _as_state_dict(tensors: Mapping[str, Any], modules: Mapping[str, Any]) -> OrderedDict[str, Any]:
    """`load_state_dict` converts what older versions of a module saved by the notes in `_metadata`."""
    found = OrderedDict(tensors)
    if modules:
        found._metadata = OrderedDict(modules)  # type: ignore[attr-defined]  # noqa: SLF001  # torch's own custom
    return found


def _modules_of(tensors: object) -> dict[str, dict[str, Any]]:
    noted = getattr(tensors, "_metadata", None) or {}
    return {str(name): note for name, note in noted.items() if isinstance(note, dict)}
