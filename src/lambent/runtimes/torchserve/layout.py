"""What lies in a `.mar`: its manifest, its settings, its handler, and whether what it imports is there."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Final

import msgspec

from lambent.core.naming import kebab
from lambent.core.spec import NAME, Interface, Kind
from lambent.runtimes.bundle_imports import installed_imports
from lambent.runtimes.faults import Fault
from lambent.runtimes.sagemaker.layout import check_requirements
from lambent.wire.api import Declaration
from lambent.wire.oneshot import Description
from lambent.wire.torchserve import MANIFEST, Manifest, settings_of
from lambent.wire.typed import from_json

SHIM: Final = Path(__file__).parent / "shim"
PACKAGE: Final = "ts"
BASE: Final = "base_handler"  # the built-in handler that is here
NAME_DEFAULT: Final = "model"
WRITE_ONE: Final = (
    "write a handler.py with a class that has initialize(self, context) and handle(self, data, context)"
)


class Handler(msgspec.Struct, frozen=True):
    """Where a handler is: a module of the archive and a function in it, or the name of a built-in."""

    module: str
    function: str = ""
    is_built_in: bool = False


def described(folder: Path) -> Description:
    """The one model of an archive. Raises `Fault` where something that it needs is not there."""
    manifest = manifest_of(folder)
    handler = handler_of(folder, manifest)
    if wanted := manifest.model.requirements_file:
        check_requirements(folder / PurePosixPath(wanted).name, wanted)
    _check_imports(folder)
    told = settings_of(config_of(folder, manifest))
    model = Declaration(
        name=_name(manifest.model.model_name or NAME_DEFAULT),
        kind=Kind.MODEL,
        entrypoint=f"{handler.module}:{handler.function or 'handle'}",
        settings=told.settings,
        interface=Interface.TORCHSERVE,
    )
    imports = () if handler.is_built_in else installed_imports(folder, folder / f"{handler.module}.py")
    return Description((model,), (*imports, *_torch(folder, handler)))


def manifest_of(folder: Path) -> Manifest:
    """What an archive says of itself. Raises `Fault`."""
    try:
        manifest = from_json((folder / MANIFEST).read_bytes(), Manifest)
    except (OSError, msgspec.DecodeError) as error:
        raise Fault("Lambent.BadArchive", f"{MANIFEST} cannot be read: {error}") from error
    if not manifest.runtime.lower().startswith("python"):
        raise Fault("Lambent.BadArchive", f"{MANIFEST} asks for {manifest.runtime!r}: only Python is run")
    return manifest


def whole_manifest(folder: Path) -> Mapping[str, Any]:
    """The manifest as it is, for handlers."""
    told: Mapping[str, Any] = msgspec.json.decode((folder / MANIFEST).read_bytes())
    return told


def handler_of(folder: Path, manifest: Manifest) -> Handler:
    """Where its handler is. Raises `Fault` where it is not there."""
    said = manifest.model.handler or ""
    file, _, function = said.partition(":")
    module = PurePosixPath(file).name.removesuffix(".py")
    if module and (folder / f"{module}.py").is_file():
        return Handler(module, function)
    if file.endswith(".py") or not module:
        raise Fault(
            "Runtime.ImportModuleError", f"{MANIFEST} names the handler {said!r}, which the archive lacks"
        )
    if module != BASE and not is_installed():
        raise Fault(
            "Lambent.NoBuiltInHandler",
            f"the handler {said!r} is one that TorchServe brings along, and it is not here: {WRITE_ONE}, or "
            "install torchserve and what that handler needs beside this server",
        )
    return Handler(module, is_built_in=True)


def config_of(folder: Path, manifest: Manifest) -> Mapping[str, Any]:
    """The archive's `model-config.yaml`, empty where it has none. Raises `Fault`."""
    if not manifest.model.config_file:
        return {}
    import yaml

    file = folder / PurePosixPath(manifest.model.config_file).name
    try:
        told = yaml.safe_load(file.read_bytes())
    except (OSError, yaml.YAMLError) as error:
        raise Fault("Lambent.BadArchive", f"{file.name} cannot be read: {error}") from error
    if not isinstance(told, dict | None):
        raise Fault("Lambent.BadArchive", f"{file.name} is not a table of settings")
    return told or {}


def is_installed() -> bool:
    """Whether TorchServe's own package is beside the server: then nothing stands in for it."""
    return importlib.util.find_spec(PACKAGE) is not None


def _name(said: str) -> str:
    """As it is, where that is a name here."""
    return said if NAME.fullmatch(said) else "".join(
        one if one.isascii() and one.isalnum() else "-" for one in kebab(said)
    ).strip("-")[:63].strip("-") or NAME_DEFAULT  # fmt: skip


def _torch(folder: Path, handler: Handler) -> tuple[str, ...]:
    """What is made from a BaseHandler imports torch as it loads, where a template can hold it before."""
    uses = handler.is_built_in or any(name.startswith(f"{PACKAGE}.") for _, name in _imported(folder))
    return ("torch",) if uses and importlib.util.find_spec("torch") else ()


def _check_imports(folder: Path) -> None:
    if is_installed():
        return
    for file, name in _imported(folder):
        path = SHIM / name.replace(".", "/")
        if not (path.is_dir() or path.with_suffix(".py").is_file()):
            raise Fault(
                "Lambent.NoTorchServe",
                f"{file.name} imports {name}, which is a part of TorchServe that is not here: {WRITE_ONE}, "
                "or install torchserve beside this server",
            )


def _imported(folder: Path) -> Iterator[tuple[Path, str]]:
    """Modules of TorchServe's that the archive's files import, wherever in them."""
    for file in sorted(folder.glob("*.py")):
        try:
            tree = ast.parse(file.read_bytes(), str(file))
        except (SyntaxError, ValueError):
            continue  # its import will say what is wrong with it
        for node in ast.walk(tree):
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [one.name for one in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
                within = _has_modules_alone(SHIM / node.module.replace(".", "/"))
                names = [f"{node.module}.{one.name}" if within else node.module for one in node.names]
            yield from ((file, name) for name in names if name.partition(".")[0] == PACKAGE)


def _has_modules_alone(package: Path) -> bool:
    """Whether what is taken from a package by its name is a module of it."""
    start = package / "__init__.py"
    return start.is_file() and "__all__" not in start.read_text()
