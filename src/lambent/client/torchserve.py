"""What a TorchServe server has: the archives of its model store, and what its configuration says of each."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from lambent.client.errors import BundleError
from lambent.core.spec import NAME, Setting
from lambent.wire.torchserve import (
    MANIFEST,
    SUFFIX,
    BadProperties,
    Manifest,
    Registered,
    Snapshot,
    properties_of,
    settings_of,
)
from lambent.wire.typed import from_json

CONFIG: Final = "config.properties"
STORES: Final = (".", "model-store", "model_store")
CONFIGS: Final = (CONFIG, f"config/{CONFIG}")
ALL: Final = ("", "all", "ALL", "standalone")
MANIFEST_BYTES_MAX: Final = 1 << 20
# What is about the server itself and not about its models, and needs no word: where it listens and logs.
QUIET: Final = frozenset({"model_store", "load_models", "models", "model_snapshot"})


class Stored(msgspec.Struct, frozen=True):
    """A model as it was served: its archive, and how."""

    name: str
    file: Path
    settings: dict[str, Setting] = {}
    left_out: tuple[str, ...] = ()


class Store(msgspec.Struct, frozen=True):
    """All models, and what of the server's configuration has no counterpart here."""

    models: tuple[Stored, ...]
    left_out: tuple[str, ...] = ()


def read_store(folder: Path, config: Path | None = None) -> Store:
    """The models below `folder`, as `config` or the `config.properties` found there registers them.

    Nothing of an archive is run. Raises `BundleError` that names the file and what is wrong with it.
    """
    if not folder.is_dir():
        raise BundleError(f"{folder} is not a folder with a model store")
    archives = {file.name: file for name in STORES for file in sorted((folder / name).glob(f"*{SUFFIX}"))}
    if not archives:
        raise BundleError(f"{folder} has no *{SUFFIX}, nor has a folder model-store in it")
    found = config or next((folder / name for name in CONFIGS if (folder / name).is_file()), None)
    said = _properties(found) if found else {}
    try:
        registered = _registered(said)
    except BadProperties as error:
        raise BundleError(f"{found}: {error}") from error
    wanted = _wanted(said.get("load_models", ""), archives, registered)
    models = tuple(_stored(name, file, archives, registered.get(name, {})) for name, file in wanted.items())
    left = tuple(f"{key}: it is about TorchServe's own server" for key in said if key not in QUIET)
    return Store(models, left)


def _properties(file: Path) -> Mapping[str, str]:
    try:
        return properties_of(file.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise BundleError(f"cannot read {file}: {error}") from error


def _registered(said: Mapping[str, str]) -> dict[str, dict[str, Registered]]:
    """By model and version. Raises `BadProperties`."""
    try:
        snapshot = from_json(said.get("model_snapshot") or "{}", Snapshot)
        if own := said.get("models"):
            return {**snapshot.models, **from_json('{"models":' + own + "}", Snapshot).models}
    except msgspec.DecodeError as error:
        raise BadProperties(f"models= is not as TorchServe writes it: {error}") from error
    return snapshot.models


def _wanted(
    load: str, archives: Mapping[str, Path], registered: Mapping[str, Mapping[str, Registered]]
) -> dict[str, str]:
    """Files by the names that they are served under."""
    if load not in ALL:
        pairs = [one.strip().partition("=") for one in load.split(",") if one.strip()]
        return {name if file else _own_name(archives, name): file or name for name, _, file in pairs}
    named = {
        name: version.mar_name
        for name, versions in registered.items()
        if (version := _default(versions)) and version.mar_name
    }
    rest = [file for file in archives if file not in named.values()]
    return {**named, **{_own_name(archives, file): file for file in rest}}


def _stored(name: str, file: str, archives: Mapping[str, Path], versions: Mapping[str, Registered]) -> Stored:
    path = archives.get(file) or archives.get(file + SUFFIX)
    if path is None:
        raise BundleError(
            f"{name} is served from {file}, which is not in the model store: {', '.join(archives)}"
        )
    if not NAME.fullmatch(name):
        raise BundleError(f"{name!r} cannot be a name here: name it in load_models=NAME={path.name}")
    version = _default(versions)
    others = [
        f"version {key}: one version is deployed" for key, one in versions.items() if one is not version
    ]
    told = settings_of(msgspec.to_builtins(version) if version else {})
    return Stored(name, path, told.settings, (*told.left_out, *others))


def _default(versions: Mapping[str, Registered]) -> Registered | None:
    """The one that answers without a version, or the last."""
    said = [one for one in versions.values() if one.default_version]
    return next(iter(said or [*versions.values()][-1:]), None)


def _own_name(archives: Mapping[str, Path], file: str) -> str:
    """What an archive calls its model. Raises `BundleError`."""
    path = archives.get(file)
    if path is None:
        return file.removesuffix(SUFFIX)
    try:
        with zipfile.ZipFile(path) as archive, archive.open(MANIFEST) as manifest:
            named = from_json(manifest.read(MANIFEST_BYTES_MAX), Manifest).model.model_name
    except (OSError, KeyError, zipfile.BadZipFile, RuntimeError, msgspec.DecodeError) as error:
        raise BundleError(f"{path} is no model archive: {error}") from error
    return named or path.stem
