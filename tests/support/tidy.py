"""The house's budgets and habits as rules over source files; `tests/test_tidy.py` applies them.

A rule takes one `Source` and yields what is wrong with it. Rules over the whole tree (medians, import cycles)
take all sources. What ruff or mypy can see is left to them.
"""

import ast
import io
import re
import tokenize
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Final, TypeVar

FILE_LINES_MAX: Final = 400
FILE_LINES_MEDIAN_MAX: Final = 120
FUNCTION_LINES_MAX: Final = 60
FUNCTION_LINES_P90_MAX: Final = 25
PROTOCOL_METHODS_MAX: Final = 7

PACKAGE: Final = "src/lambent/"
READS_TIME: Final = (PACKAGE + "clock.py", PACKAGE + "worker/")
MAY_PRINT: Final = (PACKAGE + "cli/", PACKAGE + "worker/")
RUNS_ON_VIRTUAL_TIME: Final = ("tests/core/", "tests/unit/", "tests/sim/")

MUTABLE_DISPLAYS: Final = (ast.Dict, ast.List, ast.Set, ast.DictComp, ast.ListComp, ast.SetComp)
MUTABLE_CALLS: Final = frozenset(
    {"dict", "list", "set", "bytearray", "defaultdict", "deque", "Counter", "OrderedDict"}
)
NOW_READERS: Final = frozenset({"now", "utcnow", "today"})
EMPTY_WORDS: Final = frozenset({"helper", "helpers", "manager", "managers", "util", "utils"})

WORD: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
UNFINISHED: Final = re.compile(r"\b(TODO|FIXME|XXX)\b")
MACHINE_PATH: Final = re.compile(r"(?<![\w.~})/-])/(work|root|home/\w+)\b")
NOQA: Final = re.compile(r"#\s*noqa\b(?P<codes>:\s*[A-Z]+\d+(?:\s*,\s*[A-Z]+\d+)*)?(?P<reason>.*)")
TYPE_IGNORE: Final = re.compile(r"#\s*type:\s*ignore\b(?P<codes>\[[\w\-, ]+\])?(?P<reason>.*)")
REASON: Final = re.compile(r"[A-Za-z]{2,}\W+[A-Za-z]+")

IMPORTS: Final = (ast.Import, ast.ImportFrom)

Function = ast.FunctionDef | ast.AsyncFunctionDef
N = TypeVar("N", bound=ast.AST)


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, and where."""

    path: str
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.message}"


@dataclass(frozen=True)
class Source:
    """A file: its path from the root of the repository, with slashes, and its text."""

    path: str
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text, self.path)

    def nodes(self, *kinds: type[N]) -> Sequence[N]:
        """The nodes of some kinds, each kind in the order of `ast.walk`."""
        return [node for kind in kinds for node in self._by_kind.get(kind, ())]  # type: ignore[misc]  # by kind

    @cached_property
    def _by_kind(self) -> Mapping[type[ast.AST], Sequence[ast.AST]]:
        found: dict[type[ast.AST], list[ast.AST]] = {}
        for node in ast.walk(self.tree):
            found.setdefault(type(node), []).append(node)
        return found

    @property
    def functions(self) -> Sequence[Function]:
        return self.nodes(ast.FunctionDef, ast.AsyncFunctionDef)

    @cached_property
    def comments(self) -> Sequence[tuple[int, str]]:
        tokens = tokenize.generate_tokens(io.StringIO(self.text).readline)
        return tuple((token.start[0], token.string) for token in tokens if token.type == tokenize.COMMENT)

    @property
    def lines(self) -> int:
        return len(self.text.splitlines())

    @property
    def module(self) -> str:
        parts = PurePosixPath(self.path).with_suffix("").parts[1:]
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    def finding(self, where: ast.AST | int, message: str) -> Finding:
        return Finding(self.path, where if isinstance(where, int) else getattr(where, "lineno", 1), message)


def read(root: Path, *patterns: str) -> Sequence[Source]:
    """The files under `root` that match, as sources, in the order of their paths."""
    paths = sorted({path for pattern in patterns for path in root.glob(pattern) if path.is_file()})
    return [Source(path.relative_to(root).as_posix(), path.read_text()) for path in paths]


def unparsable(source: Source) -> Iterator[Finding]:
    try:
        _ = source.tree
    except SyntaxError as error:
        yield source.finding(error.lineno or 1, f"does not parse: {error.msg}")


def long_files(source: Source) -> Iterator[Finding]:
    if source.lines > FILE_LINES_MAX:
        yield source.finding(1, f"{source.lines} lines; at most {FILE_LINES_MAX}: which name is missing?")


def long_functions(source: Source) -> Iterator[Finding]:
    for function in source.functions:
        if (lines := _length(function)) > FUNCTION_LINES_MAX:
            yield source.finding(function, f"{function.name} has {lines} lines; at most {FUNCTION_LINES_MAX}")


def missing_docstrings(source: Source) -> Iterator[Finding]:
    first_line = (ast.get_docstring(source.tree) or "").partition("\n")[0]
    if not first_line.strip():
        yield source.finding(1, "the module has no docstring whose first line states its subject")


def wide_protocols(source: Source) -> Iterator[Finding]:
    for node in source.nodes(ast.ClassDef):
        if not any(map(_is_protocol, node.bases)):
            continue
        methods = sum(isinstance(statement, Function) for statement in node.body)
        if methods > PROTOCOL_METHODS_MAX:
            yield source.finding(node, f"{node.name} has {methods} methods; at most {PROTOCOL_METHODS_MAX}")


def _is_protocol(base: ast.expr) -> bool:
    """`Protocol`, `typing.Protocol` or `Protocol[T]`, and not asyncio's class of that name."""
    named = base.value if isinstance(base, ast.Subscript) else base
    return ast.unparse(named) in {"Protocol", "typing.Protocol"}


def time_readers(source: Source) -> Iterator[Finding]:
    if not source.path.startswith(PACKAGE) or source.path.startswith(READS_TIME):
        return
    for node in source.nodes(*IMPORTS):
        if "time" in _imported_modules(node):
            yield source.finding(
                node, "only clock.py and the worker read time: take a Clock in the constructor"
            )
    for reader in source.nodes(ast.Attribute):
        if reader.attr in NOW_READERS and _name(reader.value) in {"datetime", "date"}:
            yield source.finding(
                reader, f"{_name(reader.value)}.{reader.attr} reads time: take a Clock instead"
            )


def sleeps_in_tests(source: Source) -> Iterator[Finding]:
    if not source.path.startswith(RUNS_ON_VIRTUAL_TIME):
        return
    for node in source.nodes(ast.Attribute):
        if node.attr == "sleep" and _name(node.value) == "time":
            yield source.finding(node, "no test sleeps here: use tests.support.virtual_time")


def prints(source: Source) -> Iterator[Finding]:
    if not source.path.startswith(PACKAGE) or source.path.startswith(MAY_PRINT):
        return
    for node in source.nodes(ast.Call):
        if isinstance(node.func, ast.Name) and node.func.id == "print":
            yield source.finding(node, "a server logs an event with fields; it does not print")


def module_state(source: Source) -> Iterator[Finding]:
    if not source.path.startswith(PACKAGE):
        return
    for node in source.nodes(ast.Global):
        yield source.finding(node, f"global {', '.join(node.names)}: no module-level state")
    for statement in source.tree.body:
        if isinstance(statement, ast.Assign) and _is_mutable(statement.value):
            names = ", ".join(map(_name, statement.targets))
            if names == "__all__":  # the language's own word, and a list by custom
                continue
            yield source.finding(
                statement, f"{names} is mutable module state: annotate it Final, or pass it in"
            )
        if isinstance(statement, ast.AnnAssign) and _is_mutable(statement.value) and not _is_final(statement):
            yield source.finding(
                statement, f"{_name(statement.target)} is mutable module state: annotate it Final"
            )


def unfinished_work(source: Source) -> Iterator[Finding]:
    if not UNFINISHED.search(source.text):  # to look for comments takes ten times as long
        return
    for line, comment in source.comments:
        if found := UNFINISHED.search(comment):
            yield source.finding(line, f"{found[0]}: finish it, or open an issue and say why in plain words")


def unreasoned_exemptions(source: Source) -> Iterator[Finding]:
    if not NOQA.search(source.text) and not TYPE_IGNORE.search(source.text):
        return
    for line, comment in source.comments:
        for name, pattern in (("noqa", NOQA), ("type: ignore", TYPE_IGNORE)):
            found = pattern.search(comment)
            if found and not (found["codes"] and REASON.search(found["reason"])):
                yield source.finding(line, f"`{name}` needs its codes and, after them, the reason")


def empty_words(source: Source) -> Iterator[Finding]:
    if words := EMPTY_WORDS & _words(PurePosixPath(source.path).stem):
        yield source.finding(1, f"`{', '.join(words)}` in the file's name says nothing about its subject")
    for node in source.nodes(ast.ClassDef):
        if words := EMPTY_WORDS & _words(node.name):
            yield source.finding(node, f"`{', '.join(words)}` in {node.name} says nothing about what it is")


def machine_paths(source: Source) -> Iterator[Finding]:
    for number, line in enumerate(source.text.splitlines(), start=1):
        if found := MACHINE_PATH.search(line):
            yield source.finding(number, f"{found[0]} is a path of one machine")


def median_file(sources: Sequence[Source]) -> int:
    """Lines of the median file, 0 where there is none."""
    return _quantile([source.lines for source in sources], 0.5)


def long_function(sources: Sequence[Source]) -> int:
    """Lines of the function that is longer than nine of ten, 0 where there is none."""
    return _quantile([_length(function) for source in sources for function in source.functions], 0.9)


def import_graph(sources: Sequence[Source]) -> Mapping[str, frozenset[str]]:
    """Which module of `sources` imports which, wherever in the file the import stands."""
    modules = {source.module for source in sources}
    return {
        source.module: frozenset(
            target
            for node in source.nodes(*IMPORTS)
            for name in _imported_names(node)
            if (target := _nearest(name, modules)) and target != source.module
        )
        for source in sources
    }


def import_cycle(graph: Mapping[str, frozenset[str]]) -> Sequence[str]:
    """A shortest cycle, its first module repeated at the end; empty where there is none."""
    cycles = (_path_back(graph, start) for start in sorted(graph))
    return min((cycle for cycle in cycles if cycle), key=len, default=())


def _path_back(graph: Mapping[str, frozenset[str]], start: str) -> Sequence[str]:
    paths: list[tuple[str, ...]] = [(start,)]
    seen: set[str] = set()
    for path in paths:  # grows while it is read: a breadth-first search
        for target in sorted(graph[path[-1]]):
            if target == start:
                return (*path, start)
            if target not in seen:
                seen.add(target)
                paths.append((*path, target))
    return ()


def _nearest(name: str, modules: set[str]) -> str:
    """The module that `name` (a module, or something in one) belongs to; empty where it is not ours."""
    while name and name not in modules:
        name = name.rpartition(".")[0]
    return name


def _imported_names(node: ast.AST) -> Sequence[str]:
    """Dotted names that an import statement brings in: `from a import b` is `a.b`."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module:
        return [f"{node.module}.{alias.name}" for alias in node.names]
    return []


def _imported_modules(node: ast.AST) -> set[str]:
    if isinstance(node, ast.ImportFrom):
        return {node.module or ""}
    return set(_imported_names(node))


def _is_mutable(value: ast.expr | None) -> bool:
    if isinstance(value, ast.Call):
        return _name(value.func) in MUTABLE_CALLS
    return isinstance(value, MUTABLE_DISPLAYS)


def _is_final(statement: ast.AnnAssign) -> bool:
    return _name(statement.annotation) == "Final"


def _name(node: ast.expr) -> str:
    """The last name of a dotted and possibly subscripted expression: `Final` of `typing.Final[int]`."""
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case ast.Subscript(value=value):
            return _name(value)
    return ""


def _words(name: str) -> set[str]:
    return {word.lower() for word in WORD.findall(name)}


def _length(function: Function) -> int:
    return (function.end_lineno or function.lineno) - function.lineno + 1


def _quantile(lengths: Sequence[int], fraction: float) -> int:
    return sorted(lengths)[int(fraction * (len(lengths) - 1))] if lengths else 0
