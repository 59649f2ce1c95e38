"""A folder of model files: which of them is the model, who reads it, and how it is served."""

from __future__ import annotations

import importlib
import sys
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any, Final, Protocol

import msgspec

from lambent.core.tensors import UNKNOWN
from lambent.runtimes.adapters.predictor import BadModel, Predictor
from lambent.wire.oneshot import SERVING_FILE, Serving
from lambent.wire.transforms import TRANSFORM_FILE
from lambent.wire.typed import from_json


class Adapter(msgspec.Struct, frozen=True):
    """A framework's adapter: the module that has its functions, and the packages that serve its files.

    Files that it `needs_code` for hold weights and no network.
    """

    module: str
    imports: tuple[str, ...]
    needs_code: bool = False


class Open(Protocol):
    """An adapter module's `open_file`: the model in one file. Raises `BadModel`."""

    def __call__(self, path: Path, /) -> Predictor: ...


class Prepare(Protocol):
    """An adapter module's `prepare`: check `folder / file` and derive what serves it better.

    Raises `BadModel` where the file cannot be served at all.
    """

    def __call__(self, folder: Path, file: str, /) -> Serving: ...


ADAPTERS: Final[Mapping[str, Adapter]] = MappingProxyType(
    {
        "onnx": Adapter("lambent.runtimes.adapters.onnx", ("numpy", "onnxruntime")),
        "keras": Adapter("lambent.runtimes.adapters.keras", ("keras", "numpy")),
        "torch": Adapter("lambent.runtimes.adapters.torch", ("numpy", "torch", "torch.export.pt2_archive")),
        "gguf": Adapter("lambent.runtimes.adapters.gguf", ("xllamacpp",)),
        "weights": Adapter("lambent.runtimes.adapters.weights", (), needs_code=True),
    }
)
OURS: Final = SERVING_FILE.partition("/")[0]
SUFFIXES: Final[Mapping[str, str]] = MappingProxyType(
    {
        ".onnx": "onnx",
        ".keras": "keras",
        ".pt2": "torch",
        ".gguf": "gguf",
        ".pt": "weights",
        ".pth": "weights",
        ".safetensors": "weights",
    }
)


def warm_up() -> None:
    """In an environment template: prepare each framework that it has imported for the loads in its forks."""
    for adapter in ADAPTERS.values():
        if adapter.imports and all(name in sys.modules for name in adapter.imports):
            importlib.import_module(adapter.module).warm_up()


def open_model(folder: Path, file: str = "") -> Predictor:
    """A model in `folder`, in the form that was found best when it was prepared.

    `file` names it as the user gave it; empty means the only one. Raises `BadModel`.
    """
    there = [serving_of(folder) or _as_given(folder)]
    serving = _chosen([each for each in _each(there[0]) if not each.needs_code] or there, file)
    if serving.needs_code:
        raise BadModel(
            f"{serving.file} holds weights and no network: a class must build that, and take them by "
            "model.load_into(network)"
        )
    opener: Open = _module(serving.served_by).open_file
    return _behind_transform(opener(folder / serving.served_file), folder)


def _behind_transform(predictor: Predictor, folder: Path) -> Predictor:
    """Asked for predictions from raw inputs where it learnt from transformed ones. Raises `BadModel`."""
    if not (folder / TRANSFORM_FILE).exists():
        return predictor
    from lambent.runtimes.transforms.applying import chain_of, for_model

    try:
        chain = chain_of(folder)
        before = for_model(chain, [spec.name for spec in predictor.inputs]) if chain else None
    except ValueError as error:
        raise BadModel(str(error)) from error
    return predictor if before is None else predictor.behind(before)


def open_talker(folder: Path, *, slots: int) -> Any:
    """What has a model class's methods in `folder`, for `slots` calls at once. Raises `BadModel`."""
    serving = _chosen([serving_of(folder) or _as_given(folder)], "")
    return _module(serving.served_by).open_file(folder / serving.served_file, slots=slots)


def open_weights(folder: Path, file: str = "") -> OrderedDict[str, Any]:
    """The tensors of a state dict in `folder`, mapped. `file` as for `open_model`. Raises `BadModel`."""
    known = serving_of(folder) or _as_given(folder)
    weights = [each for each in _each(known) if each.needs_code]
    if not weights:
        there = ", ".join(each.file for each in _each(known))
        raise BadModel(f"there are no weights (.pt, .pth or .safetensors); there is {there}")
    serving = _chosen(weights, file)
    tensors: OrderedDict[str, Any] = _module(serving.served_by).open_weights(folder / serving.served_file)
    return tensors


def prepare(folder: Path, file: str = "") -> Serving | None:
    """Prepare the models in `folder` and write down how they are served.

    `file` names one, empty means all; `None` where no file is a model. Raises `BadModel`.
    """
    files = [file] if file else _models(folder)
    if not files:
        return None
    # What runs by itself comes first: it is what the artifact is a model of.
    first, *others = sorted((_prepared(folder, each) for each in files), key=lambda each: each.needs_code)
    imports = sorted({name for each in (first, *others) for name in ADAPTERS[each.served_by].imports})
    serving = msgspec.structs.replace(first, others=tuple(others), imports=tuple(imports))
    if (folder / TRANSFORM_FILE).exists():
        # What it is asked for is not what its file says: nobody is to be refused by that.
        serving = msgspec.structs.replace(serving, signature=UNKNOWN)
    home = folder / SERVING_FILE
    home.parent.mkdir(exist_ok=True)
    home.write_bytes(msgspec.json.format(msgspec.json.encode(serving)))
    return serving


def derived(folder: Path, file: str, suffix: str) -> Path:
    """Where a file that is made from `file` goes; its folder is made."""
    home = folder / SERVING_FILE
    home.parent.mkdir(exist_ok=True)
    return home.with_name(file.replace("/", "__") + suffix)


def serving_of(folder: Path) -> Serving | None:
    """What was written when `folder` was prepared, `None` where it was not. Raises `BadModel`."""
    home = folder / SERVING_FILE
    if not home.exists():
        return None
    try:
        return from_json(home.read_bytes(), Serving)
    except msgspec.DecodeError as error:
        raise BadModel(f"{SERVING_FILE} cannot be read: {error}; prepare the model again") from error


def adapter_of(file: str) -> str:
    """The adapter's name for a file's name. Raises `BadModel`."""
    if adapter := SUFFIXES.get(Path(file).suffix.lower()):
        return adapter
    raise BadModel(f"{file} is of no kind that can be served: {', '.join(SUFFIXES)}")


def count_files(folder: Path) -> int:
    """How many files lie in `folder`, at any depth."""
    return sum(path.is_file() for path in folder.rglob("*"))


def _prepared(folder: Path, file: str) -> Serving:
    if not (folder / file).is_file():
        raise BadModel(f"there is no file {file!r}")
    adapter = adapter_of(file)
    try:
        preparer: Prepare = _module(adapter).prepare
    except ModuleNotFoundError as error:
        if not ADAPTERS[adapter].needs_code:
            raise
        # Not every file of that name is torch's: it is for the user's code to read.
        reason = f"kept as it is: {error.name} is not installed"
        return msgspec.structs.replace(_unprepared(file, adapter), reason=reason)
    return preparer(folder, file)


def _each(serving: Serving) -> list[Serving]:
    return [serving, *serving.others]


def _chosen(everything: Sequence[Serving], file: str) -> Serving:
    chosen = [each for each in everything if not file or each.file == file]
    if len(chosen) == 1:
        return chosen[0]
    there = ", ".join(each.file for each in everything)
    if chosen:
        raise BadModel(f"there are {len(chosen)} models, {there}: name the one to load")
    raise BadModel(f"there is no model {file!r}; there is {there}")


def _as_given(folder: Path) -> Serving:
    """An artifact that was not prepared is served file by file as it is."""
    files = _models(folder)
    if not files:
        raise BadModel(f"no model file in {folder.name}: looked for {', '.join(SUFFIXES)}")
    first, *others = [_unprepared(file, adapter_of(file)) for file in files]
    return msgspec.structs.replace(first, others=tuple(others))


def _unprepared(file: str, adapter: str) -> Serving:
    needs_code = ADAPTERS[adapter].needs_code
    return Serving(adapter=adapter, file=file, served_by=adapter, served_file=file, needs_code=needs_code)


def _models(folder: Path) -> list[str]:
    """The model files in `folder`, by their paths in it; what was derived from them is not one."""
    paths = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return sorted(
        path.as_posix() for path in paths if path.suffix.lower() in SUFFIXES and path.parts[0] != OURS
    )


def _module(adapter: str) -> ModuleType:
    if adapter not in ADAPTERS:
        raise BadModel(f"the model needs the adapter {adapter!r}, which is not one of {', '.join(ADAPTERS)}")
    return importlib.import_module(ADAPTERS[adapter].module)
