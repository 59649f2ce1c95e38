"""Which installed packages a bundle of user code imports, read from its source and not by running it.

They are what an environment template can hold in advance. Only imports that run when a module is imported
count: those at a module's top level, also under `try` and `if`, but not in functions nor under `if
TYPE_CHECKING`.
"""

from __future__ import annotations

import ast
import importlib.util
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import msgspec

FILES_MAX: Final = 1000
OURS: Final = "lambent"


class Imported(msgspec.Struct, frozen=True):
    """A module's dotted name, and the names that are taken from it, which may be modules too."""

    module: str
    names: tuple[str, ...] = ()


def installed_imports(code_dir: Path, file: Path) -> tuple[str, ...]:
    """The installed packages that `file` and the local modules it reaches import, by name, sorted."""
    found: set[str] = set()
    waiting = [file]
    seen: set[Path] = set()
    while waiting and len(seen) < FILES_MAX:
        path = waiting.pop()
        if path in seen:
            continue
        seen.add(path)
        for imported in _imports_of(path, code_dir):
            local = _local_files(imported, code_dir)
            waiting.extend(local)
            if not local:
                found.add(imported.module.partition(".")[0])
    return tuple(sorted(name for name in found if _is_installed(name)))


def _imports_of(path: Path, code_dir: Path) -> Iterator[Imported]:
    try:
        tree = ast.parse(path.read_bytes(), str(path))
    except (SyntaxError, ValueError, OSError):
        return  # nothing says that this file is ever imported; if it is, its import will say what is wrong
    package = path.relative_to(code_dir).parent.parts
    for statement in _at_top_level(tree.body):
        if isinstance(statement, ast.Import):
            yield from (Imported(alias.name) for alias in statement.names)
        elif isinstance(statement, ast.ImportFrom):
            above = package[: len(package) - statement.level + 1] if statement.level else ()
            module = ".".join([*above, *([statement.module] if statement.module else [])])
            yield Imported(module, tuple(alias.name for alias in statement.names))


def _at_top_level(statements: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    for statement in statements:
        yield statement
        if isinstance(statement, ast.Try):
            yield from _at_top_level([*statement.body, *statement.orelse, *statement.finalbody])
            yield from _at_top_level(inner for handler in statement.handlers for inner in handler.body)
        elif isinstance(statement, ast.If):
            yield from _at_top_level([] if _is_type_checking(statement.test) else statement.body)
            yield from _at_top_level(statement.orelse)
        elif isinstance(statement, ast.With):
            yield from _at_top_level(statement.body)


def _is_type_checking(test: ast.expr) -> bool:
    return ast.unparse(test).endswith("TYPE_CHECKING")


def _local_files(imported: Imported, code_dir: Path) -> list[Path]:
    """The bundle's files that an import runs: the module, the packages above it, modules taken from it."""
    parts = [part for part in imported.module.split(".") if part]
    names = [parts[: count + 1] for count in range(len(parts))] + [[*parts, name] for name in imported.names]
    stems = [code_dir.joinpath(*name) for name in names]
    candidates = (path for stem in stems for path in (stem.with_suffix(".py"), stem / "__init__.py"))
    return [path for path in candidates if path.is_file()]


def _is_installed(name: str) -> bool:
    if not name or name == OURS or name in sys.stdlib_module_names:
        return False
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False
