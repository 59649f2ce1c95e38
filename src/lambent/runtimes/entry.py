"""From an entrypoint's text to the object in the user's code that it names."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

import msgspec

from lambent.runtimes.faults import Fault


class Entrypoint(msgspec.Struct, frozen=True):
    """A module's dotted name and the dotted name of an object in it."""

    module: str
    attribute: str


def parse(text: str) -> Entrypoint:
    """`package.module:object`, or AWS's `folder/module.object`. Raises `Fault` for anything else."""
    module, colon, attribute = text.partition(":")
    if not colon:
        module, _, attribute = text.rpartition(".")
    if not (module and attribute):
        message = f"Bad handler '{text}': not enough values to unpack (expected 2, got 1)"
        raise Fault("Runtime.MalformedHandlerName", message)
    return Entrypoint(module.replace("/", "."), attribute)


def resolve(text: str, code_dir: str) -> object:
    """The object itself; its module is imported from `code_dir`, which must be on `sys.path`.

    Raises `Fault` with Lambda's type and text where the module or the object is missing or is no Python, and
    whatever the module raises while it is imported.
    """
    entry = parse(text)
    found: object = import_module(entry.module, code_dir)
    for name in entry.attribute.split("."):
        try:
            found = getattr(found, name)
        except AttributeError:
            message = f"Handler '{entry.attribute}' missing on module '{entry.module}'"
            raise Fault("Runtime.HandlerNotFound", message) from None
    return found


def import_module(name: str, code_dir: str) -> ModuleType:
    """The user's module `name`. Raises as `resolve`."""
    _refuse_taken(name, code_dir)
    try:
        return importlib.import_module(name)
    except ImportError as error:
        message = f"Unable to import module '{name}': {error}"
        raise Fault("Runtime.ImportModuleError", message) from error
    except SyntaxError as error:
        line = f'  File "{error.filename}" Line {error.lineno}\n    {(error.text or "").strip()}'
        message = f"Syntax error in module '{name}': {error}"
        raise Fault("Runtime.UserCodeSyntaxError", message, [line]) from error


def _refuse_taken(name: str, code_dir: str) -> None:
    """A file of the user's with the name of a module that Python has loaded would silently not be used."""
    top = name.partition(".")[0]
    if top in sys.builtin_module_names:
        message = f"Cannot use built-in module {top} as a handler module"
        raise Fault("Runtime.BuiltInModuleConflict", message)
    loaded = getattr(sys.modules.get(top), "__file__", None)
    own = Path(code_dir, f"{top}.py")
    if loaded and own.exists() and Path(loaded).parent != own.parent:
        message = f"Unable to import module '{name}': the name {top!r} belongs to {loaded}; rename {own.name}"
        raise Fault("Runtime.ImportModuleError", message)
