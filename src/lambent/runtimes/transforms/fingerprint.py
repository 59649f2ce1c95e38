"""Which code a function is: its source, that of what it calls in the same folder, and the values it reads."""

from __future__ import annotations

import hashlib
import inspect
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any, Final

PLAIN: Final = (int, float, complex, str, bytes, bool, type(None))


def fingerprint(function: Callable[..., Any]) -> str:
    """A digest that changes when the function would do something else.

    Raises `ValueError` where that cannot be told: it is no function of a module, or reads a value of a scope
    around it or a global that is no plain value; what it depends on is to be given as an option.
    """
    if not isinstance(function, FunctionType) or "<" in function.__qualname__:
        raise ValueError(
            f"{getattr(function, '__qualname__', function)!r} is no function at its module's top level: a "
            "model that is served could not find it"
        )
    content = hashlib.sha256()
    for line in _parts(function, _home(function), seen=set()):
        content.update(line.encode("utf-8", "surrogatepass") + b"\0")
    return content.hexdigest()


def code_of(function: Callable[..., Any]) -> str:
    """Where it is found: `module:name`."""
    return f"{function.__module__}:{function.__qualname__}"


def _parts(function: FunctionType, home: Path, seen: set[str]) -> Iterator[str]:
    name = code_of(function)
    if name in seen:
        return
    seen.add(name)
    yield name
    yield _source(function)
    yield repr((function.__defaults__, function.__kwdefaults__))
    for read in sorted(_names(function.__code__)):
        value = function.__globals__.get(read)
        if isinstance(value, FunctionType | type) and _is_own(value, home):
            if isinstance(value, FunctionType):
                yield from _parts(value, home, seen)
            else:
                yield _source(value)
        elif _is_plain(value):
            yield f"{read} = {value!r}"
        elif not isinstance(value, ModuleType | FunctionType | type) and not callable(value):
            raise ValueError(
                f"{name} reads {read}, a {type(value).__name__}: whether that changes cannot be told. Give "
                "it as an option"
            )


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _is_plain(value: object) -> bool:
    if isinstance(value, tuple | list | frozenset | set):
        return all(map(_is_plain, value))
    if isinstance(value, dict):
        return all(map(_is_plain, [*value, *value.values()]))
    return isinstance(value, PLAIN)


def _is_own(value: Any, home: Path) -> bool:
    """Whether it lies where the user's code does: a package's is told by the environment."""
    file = getattr(sys.modules.get(value.__module__), "__file__", None)
    return file is not None and Path(file).is_relative_to(home)


def _home(function: FunctionType) -> Path:
    return Path(inspect.getfile(function)).parent


def _source(value: Any) -> str:
    try:
        return inspect.getsource(value)
    except (OSError, TypeError) as error:
        raise ValueError(f"the source of {value!r} is not there: {error}") from error
