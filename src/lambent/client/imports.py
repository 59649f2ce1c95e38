"""Which files a Python file needs beside itself: the local modules that it imports, and what they import."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from lambent.client.errors import BundleError
from lambent.client.folder import scan, within


def with_local_modules(target: Path) -> dict[str, Path]:
    """`target` and all that it imports from its own folder, by path relative to that folder.

    A package goes along whole, with the files beside its modules. Imports that the source does not name (by
    `importlib`, by a plugin's entry point) are not seen. Raises `BundleError` for a file that cannot be read
    or is not Python; a package's inner modules may be broken, as nothing says that they are ever imported.
    """
    root = target.parent
    files = {target.name: target}
    names = list(imported_names(target))
    seen: set[str] = set()
    while names:
        if (name := names.pop()) in seen:
            continue
        seen.add(name)
        found = dict(_files_of(name, root))
        files |= found
        for path, file in found.items():
            if file.suffix == ".py":
                is_named = path in (f"{name}.py", f"{name}/__init__.py")
                names.extend(imported_names(file) if is_named else _names_if_valid(file))
    return files


def imported_names(file: Path) -> set[str]:
    """The top-level names that a file imports, anywhere in it. Raises `BundleError` with `file:line: ...`."""
    names: set[str] = set()
    for node in ast.walk(parse(file)):
        if isinstance(node, ast.Import):
            names.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
    return names


def parse(file: Path) -> ast.Module:
    """The file's syntax tree. Raises `BundleError` that shows the line that is not Python."""
    try:
        source = file.read_bytes()
    except OSError as error:
        raise BundleError(f"cannot read {file}: {error.strerror}") from error
    try:
        return ast.parse(source, filename=str(file))
    except SyntaxError as error:
        text = " ".join((error.text or "").split())
        shown = f": {text}" if text else ""
        raise BundleError(f"{file}:{error.lineno or 1}: {error.msg}{shown}") from error
    except (ValueError, RecursionError) as error:  # a NUL in the source; nesting too deep for the parser
        raise BundleError(f"{file}:1: {error}") from error


def _names_if_valid(file: Path) -> set[str]:
    try:
        return imported_names(file)
    except BundleError:
        return set()


def _files_of(name: str, root: Path) -> Iterator[tuple[str, Path]]:
    """What `import name` would find in `root`, in Python's own order; nothing where it is not local."""
    folder = root / name
    if (folder / "__init__.py").is_file():
        yield from scan(folder, root)
        return
    modules = [root / f"{name}.py", *sorted(root.glob(f"{name}.*.so")), root / f"{name}.so"]
    if module := next((module for module in modules if module.is_file()), None):
        within(module, root)
        yield module.name, module
    elif folder.is_dir() and any(folder.rglob("*.py")):
        yield from scan(folder, root)
