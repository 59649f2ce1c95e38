"""What a deploy uploads: a folder, a Python file with the modules it imports, or a model file."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec

from lambent.client.archive import Archive, Member, Packed, member
from lambent.client.errors import BundleError
from lambent.client.folder import (
    MANIFEST,
    NEVER,
    NEVER_OF_PROGRAMS,
    Manifest,
    flat,
    read_manifest,
    scan,
    within,
)
from lambent.client.imports import with_local_modules
from lambent.core.naming import kebab
from lambent.core.spec import BOOTSTRAP, Setting
from lambent.wire import torchserve
from lambent.wire.model_archive import CODE, PROGRAM_DEFAULT, SUFFIXES, WHOLE

BUNDLE_BYTES_MAX: Final = 4 * 2**30
FILES_MAX: Final = 20_000
MODEL_SUFFIXES: Final = (
    ".gguf", ".h5", ".joblib", ".keras", ".onnx", ".pt", ".pt2", ".pth", ".safetensors", ".skops", ".tflite",
)  # fmt: skip
NOT_IN_A_NAME: Final = re.compile(r"[^a-z0-9]+")
# Where a format keeps weights in a second file, what follows the model's name or its stem.
COMPANIONS: Final = (".data", "_data")


class Bundle(msgspec.Struct, frozen=True):
    """What goes to the server. `target` is a path inside the archive, as `DeployRequest` has it."""

    target: str
    archive: Archive | Packed
    per_deployment: dict[str, dict[str, Setting]] = {}
    name: str = ""  # what it is called where nobody says it, and it does not say it itself


def pack(target: str | Path, *, bytes_max: int = BUNDLE_BYTES_MAX, files_max: int = FILES_MAX) -> Bundle:
    """The bundle of `file.py`, `file.py:object`, a folder with `lambent.toml` or `bootstrap`, or a model.

    SageMaker's `model.tar.gz` and TorchServe's `.mar` go as they are; a folder that is laid out like one may
    be given in its place.
    Nothing of it is imported or run. Raises `BundleError` that names the file and what to do about it.
    """
    path, attribute = _split(str(target))
    if not path.exists():
        raise BundleError(f"{path} is not there")
    if path.is_dir():
        bundle = _unpacked(path) if _is_unpacked(path) else _folder(path)
    elif path.name.endswith(SUFFIXES):
        bundle = Bundle(WHOLE, Packed(path), name=_named_by(path))
    elif path.suffix == torchserve.SUFFIX:
        bundle = Bundle(WHOLE, Packed(path))  # its manifest has a name
    elif path.name == BOOTSTRAP:
        bundle = Bundle(BOOTSTRAP, Archive([_executable(path)]), name=_called(path.resolve().parent))
    elif path.suffix == ".py":
        bundle = _python(path.resolve() if path.is_symlink() else path, attribute)
    elif path.suffix in MODEL_SUFFIXES:
        bundle = _model(path)
    else:
        known = " ".join(MODEL_SUFFIXES)
        raise BundleError(
            f"cannot deploy {path}: a target is file.py, file.py:object, a folder with {MANIFEST} "
            f"or an executable {BOOTSTRAP}, that executable, a model file ({known}), "
            "SageMaker's model.tar.gz or TorchServe's model.mar"
        )
    if attribute and path.suffix != ".py":
        raise BundleError(f"cannot take {attribute!r} out of {path}: only a .py file has objects")
    _bounded(path, bundle.archive, bytes_max, files_max)
    return bundle


def pack_for_command(
    target: str | Path, *, bytes_max: int = BUNDLE_BYTES_MAX, files_max: int = FILES_MAX
) -> Bundle:
    """What a command runs on: all files of a folder, as a `lambent.toml` bounds them, or as `pack`."""
    folder = Path(target)
    if not folder.is_dir():
        return pack(target, bytes_max=bytes_max, files_max=files_max)
    manifest = read_manifest(folder) if (folder / MANIFEST).exists() else Manifest()
    bundle = _files(folder, manifest)
    _bounded(folder, bundle.archive, bytes_max, files_max)
    return bundle


def _files(folder: Path, manifest: Manifest) -> Bundle:
    members = _members(
        scan(folder, folder, manifest.app.include, manifest.app.exclude, never=NEVER_OF_PROGRAMS)
    )
    settings = {name: flat(table) for name, table in manifest.deployments.items()}
    return Bundle(WHOLE, Archive(members), settings, name="" if settings else _called(folder.resolve()))


def _split(target: str) -> tuple[Path, str]:
    name, colon, attribute = target.rpartition(":")
    if not colon or Path(target).exists():
        return Path(target), ""
    if not _is_path_of_names(attribute):
        raise BundleError(f"{target}: {attribute!r} is not the name of an object; write file.py:object")
    return Path(name), attribute


def _is_path_of_names(attribute: str) -> bool:
    return all(name.isidentifier() for name in attribute.split("."))


def _folder(folder: Path) -> Bundle:
    if not (folder / MANIFEST).exists() and (folder / BOOTSTRAP).is_file():
        _executable(within(folder / BOOTSTRAP, folder))
        members = _members(scan(folder, folder, never=NEVER_OF_PROGRAMS))
        return Bundle(BOOTSTRAP, Archive(members), name=_called(folder.resolve()))
    manifest = read_manifest(folder)
    if not manifest.app.target:
        if not any("command" in table for table in manifest.deployments.values()):
            raise BundleError(
                f"{folder / MANIFEST} says neither a target nor a command: write "
                'target = "app.py" under [app], or command = "..." under [deployments.NAME]'
            )
        return _files(folder, manifest)
    file, colon, attribute = manifest.app.target.partition(":")
    path = Path(file).as_posix()
    never = NEVER_OF_PROGRAMS if path == BOOTSTRAP else NEVER
    members = _members(scan(folder, folder, manifest.app.include, manifest.app.exclude, never=never))
    if path not in {one.path for one in members}:
        raise BundleError(f"{folder / MANIFEST} has target = {file!r}, which is not among the folder's files")
    if path == BOOTSTRAP:
        _executable(within(folder / path, folder))
    elif colon and not _is_path_of_names(attribute):
        raise BundleError(f"{folder / MANIFEST} has {attribute!r} in its target, not the name of an object")
    if path.endswith(".py"):
        with_local_modules(folder / path)  # for its complaints: everything goes along anyway
    settings = {name: flat(table) for name, table in manifest.deployments.items()}
    return Bundle(path + colon + attribute, Archive(members), settings)


def _called(folder: Path) -> str:
    return NOT_IN_A_NAME.sub("-", folder.name.lower()).strip("-")


def _executable(file: Path) -> Member:
    one = member(BOOTSTRAP, file)
    if not one.executable:
        raise BundleError(f"{file} is not executable: chmod +x {file}")
    return one


def _is_unpacked(folder: Path) -> bool:
    programs = (folder / CODE / PROGRAM_DEFAULT, folder / torchserve.MANIFEST)
    return any(one.is_file() for one in programs) and not (folder / MANIFEST).exists()


def _unpacked(folder: Path) -> Bundle:
    if (folder / torchserve.MANIFEST).is_file():
        return Bundle(WHOLE, Archive(_members(scan(folder, folder))))
    return Bundle(WHOLE, Archive(_members(scan(folder, folder))), name=_named_by(folder.resolve()))


def _named_by(path: Path) -> str:
    """An archive's name says little, since most are called model.tar.gz; but nothing else is known."""
    suffix = next((one for one in SUFFIXES if path.name.endswith(one)), "")
    name = NOT_IN_A_NAME.sub("-", kebab(path.name.removesuffix(suffix)))
    return name.strip("-")[:63].strip("-") or "model"


def _python(file: Path, attribute: str) -> Bundle:
    members = _members(with_local_modules(file).items())
    return Bundle(f"{file.name}:{attribute}" if attribute else file.name, Archive(members))


def _model(file: Path) -> Bundle:
    names = [file.name, *(stem + tail for stem in (file.name, file.stem) for tail in COMPANIONS)]
    beside = [file.with_name(name) for name in names if name == file.name or file.with_name(name).is_file()]
    return Bundle(file.name, Archive(_members((each.name, each) for each in beside)))


def _members(files: Iterable[tuple[str, Path]]) -> list[Member]:
    return [member(path, source) for path, source in files]


def _bounded(path: Path, archive: Archive | Packed, bytes_max: int, files_max: int) -> None:
    if len(archive.members) > files_max:
        raise BundleError(f"{path} has {len(archive.members)} files to deploy; the maximum is {files_max}")
    if archive.size_bytes > bytes_max:
        largest = max(archive.members, key=lambda one: one.size_bytes)
        raise BundleError(
            f"{path} makes a bundle of {archive.size_bytes / 2**20:.1f} MiB; the maximum is "
            f"{bytes_max / 2**20:g} MiB; its largest file is {largest.path}"
            f" with {largest.size_bytes / 2**20:.1f} MiB"
        )
