"""The house keeps its budgets, and the rules that watch them can see."""

import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import pytest

from tests.support import tidy
from tests.support.tidy import Finding, Source

ROOT: Final = Path(__file__).parent.parent
PYTHON: Final = tidy.read(ROOT, "src/**/*.py", "tests/**/*.py", "benchmarks/**/*.py", "examples/**/*.py")
PROSE: Final = tidy.read(ROOT, "*.md", "*.toml", "Makefile", ".ci/*", "docs/**/*.md", "examples/**/*.md")
PACKAGE: Final = [source for source in PYTHON if source.path.startswith(tidy.PACKAGE)]

FRAMEWORKS: Final = frozenset({"keras", "numpy", "onnx", "onnxruntime", "tensorflow", "torch"})
SERVER_LIBRARIES: Final = frozenset({"prometheus_client", "sqlalchemy", "starlette", "uvicorn", "uvloop"})

Rule = Callable[[Source], Iterator[Finding]]
RULES: Final[Sequence[Rule]] = [
    tidy.long_files,
    tidy.long_functions,
    tidy.missing_docstrings,
    tidy.wide_protocols,
    tidy.time_readers,
    tidy.sleeps_in_tests,
    tidy.prints,
    tidy.module_state,
    tidy.unfinished_work,
    tidy.unreasoned_exemptions,
    tidy.empty_words,
]


def name_of(value: object) -> str | None:
    return getattr(value, "__name__", None)


def assert_none(findings: Sequence[Finding]) -> None:
    assert not findings, "\n" + "\n".join(map(str, findings))


def test_there_is_something_to_watch() -> None:
    assert len(PACKAGE) > 3
    assert len(PROSE) > 3


@pytest.fixture(scope="module")
def found() -> Mapping[Rule, Sequence[Finding]]:
    """What each rule finds, file by file: the trees of all together would slow down every test after it."""
    found: dict[Rule, list[Finding]] = {rule: [] for rule in [tidy.unparsable, *RULES]}
    for path, text in ((source.path, source.text) for source in PYTHON):
        source = Source(path, text)
        found[tidy.unparsable].extend(broken := list(tidy.unparsable(source)))
        for rule in RULES if not broken else []:
            found[rule].extend(rule(source))
    return found


@pytest.fixture(scope="module")
def package() -> Sequence[Source]:
    """The package's files, with trees that last as long as this module's tests."""
    return [Source(source.path, source.text) for source in PACKAGE]


def test_every_file_parses(found: Mapping[Rule, Sequence[Finding]]) -> None:
    assert_none(found[tidy.unparsable])


@pytest.mark.parametrize("rule", RULES, ids=name_of)
def test_every_file_keeps(found: Mapping[Rule, Sequence[Finding]], rule: Rule) -> None:
    assert_none(found[rule])


def test_no_file_names_a_path_of_one_machine() -> None:
    assert_none([finding for source in [*PYTHON, *PROSE] for finding in tidy.machine_paths(source)])


def test_the_median_file_is_short() -> None:
    assert tidy.median_file(PACKAGE) <= tidy.FILE_LINES_MEDIAN_MAX


def test_nine_of_ten_functions_are_short(package: Sequence[Source]) -> None:
    assert tidy.long_function(package) <= tidy.FUNCTION_LINES_P90_MAX


def test_no_modules_import_each_other_in_a_circle(package: Sequence[Source]) -> None:
    cycle = tidy.import_cycle(tidy.import_graph(package))
    assert not cycle, " imports ".join(cycle)


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        ("lambent", {"asyncio", *FRAMEWORKS, *SERVER_LIBRARIES, "click", "rich", "urllib3"}),
        ("lambent.worker.main", {*FRAMEWORKS, *SERVER_LIBRARIES, "click", "rich", "urllib3"}),
        ("lambent.cli.main", {*FRAMEWORKS, *SERVER_LIBRARIES, "rich"}),
        ("lambent.wiring.server", {*FRAMEWORKS, "email.policy", "grpc", "rich", "urllib3"}),
    ],
)
def test_an_import_that_everybody_waits_for_is_light(module: str, heavy: set[str]) -> None:
    code = f"import sys, {module}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert heavy.isdisjoint(loaded.stdout.split())


IN_SERVER: Final = "src/lambent/pool/pool.py"
LONG_FUNCTION: Final = "def drain():\n" + "    pass\n" * 60
WIDE_PROTOCOL: Final = "class Engine(Protocol):\n" + "".join(
    f"    def verb{n}(self): ...\n" for n in range(8)
)


@pytest.mark.parametrize(
    ("rule", "path", "text", "line"),
    [
        (tidy.unparsable, IN_SERVER, "a = 1\ndef drain(:\n", 2),
        (tidy.long_files, IN_SERVER, "pass\n" * 401, 1),
        (tidy.long_functions, IN_SERVER, LONG_FUNCTION, 1),
        (tidy.long_functions, IN_SERVER, "class Pool:\n" + LONG_FUNCTION.replace("def", " async def"), 2),
        (tidy.missing_docstrings, "src/lambent/pool/__init__.py", "", 1),
        (tidy.missing_docstrings, IN_SERVER, '"""   """\n', 1),
        (tidy.wide_protocols, IN_SERVER, WIDE_PROTOCOL, 1),
        (tidy.wide_protocols, IN_SERVER, WIDE_PROTOCOL.replace("Protocol", "typing.Protocol[T]"), 1),
        (tidy.time_readers, IN_SERVER, "import asyncio\nimport time\n", 2),
        (tidy.time_readers, IN_SERVER, "def f():\n    from time import monotonic\n", 2),
        (tidy.time_readers, IN_SERVER, "now = datetime.datetime.now(UTC)\n", 1),
        (tidy.time_readers, IN_SERVER, "day = date.today()\n", 1),
        (tidy.sleeps_in_tests, "tests/unit/test_pool.py", "import time\ntime.sleep(1)\n", 2),
        (tidy.prints, IN_SERVER, "def f():\n    print('ready')\n", 2),
        (tidy.module_state, IN_SERVER, "POOLS = {}\n", 1),
        (tidy.module_state, IN_SERVER, "POOLS: dict[str, int] = dict()\n", 1),
        (tidy.module_state, IN_SERVER, "seen = collections.deque()\n", 1),
        (tidy.module_state, IN_SERVER, "def f():\n    global seen\n    seen = 1\n", 2),
        (tidy.unfinished_work, IN_SERVER, "a = 1  # TODO: more\n", 1),
        (tidy.unreasoned_exemptions, IN_SERVER, "a = 1\nb = f()  # noqa\n", 2),
        (tidy.unreasoned_exemptions, IN_SERVER, "b = f()  # noqa: BLE001, E501\n", 1),
        (tidy.unreasoned_exemptions, IN_SERVER, "b = f()  # noqa: because I can\n", 1),
        (tidy.unreasoned_exemptions, IN_SERVER, "b = f()  # type: ignore[attr-defined]\n", 1),
        (tidy.unreasoned_exemptions, IN_SERVER, "b = f()  # type: ignore  # the stub is wrong\n", 1),
        (tidy.empty_words, "src/lambent/pool/pool_utils.py", "", 1),
        (tidy.empty_words, IN_SERVER, "class LeaseManager: ...\n", 1),
        (tidy.empty_words, IN_SERVER, "class HTTPHelper: ...\n", 1),
        (tidy.machine_paths, "README.md", f"see\n`/{'work'}/notes.md`\n", 2),
        (tidy.machine_paths, IN_SERVER, f"HOME = '/{'root'}/.cache'\n", 1),
        (tidy.machine_paths, IN_SERVER, f"# in /{'home'}/me/src\n", 1),
    ],
    ids=name_of,
)
def test_a_rule_sees_what_it_watches_for(rule: Rule, path: str, text: str, line: int) -> None:
    assert [(finding.path, finding.line) for finding in rule(Source(path, text))] == [(path, line)]


@pytest.mark.parametrize(
    ("rule", "path", "text"),
    [
        (tidy.long_files, IN_SERVER, "pass\n" * 400),
        (tidy.long_functions, IN_SERVER, LONG_FUNCTION.removesuffix("    pass\n")),
        (tidy.missing_docstrings, IN_SERVER, '"""Leases: room in a worker.\n\nMore.\n"""\n'),
        (tidy.wide_protocols, IN_SERVER, WIDE_PROTOCOL.replace("    def verb7(self): ...\n", "")),
        (tidy.wide_protocols, IN_SERVER, WIDE_PROTOCOL.replace("Protocol", "Base")),
        (tidy.time_readers, "src/lambent/clock.py", "import time\n"),
        (tidy.time_readers, "src/lambent/worker/loop.py", "import time\n"),
        (tidy.time_readers, IN_SERVER, "from datetime import timedelta\nnow = clock.now()\n"),
        (tidy.sleeps_in_tests, "tests/unit/test_pool.py", "await asyncio.sleep(1)\n"),
        (tidy.prints, "src/lambent/cli/main.py", "print('ready')\n"),
        (
            tidy.module_state,
            IN_SERVER,
            "POOLS: Final[Mapping[str, int]] = {}\nSIZES: Final = [1]\nNAMES = ('a',)\n",
        ),
        (tidy.module_state, IN_SERVER, "__all__ = ['Pool']\ndef f():\n    seen = {}\n"),
        (tidy.unfinished_work, IN_SERVER, "text = 'TODO'  # todos los dias\n"),
        (tidy.unreasoned_exemptions, IN_SERVER, "b = f()  # noqa: BLE001 - user code may raise anything\n"),
        (tidy.unreasoned_exemptions, IN_SERVER, "b = f()  # type: ignore[misc]  # the stub is wrong\n"),
        (tidy.empty_words, "src/lambent/core/utilisation.py", "from contextlib import contextmanager\n"),
        (
            tidy.machine_paths,
            IN_SERVER,
            "a = tmp / 'work'; b = f'{base}/work'; c = 'src/work'; d = '/workers'\n",
        ),
    ],
    ids=name_of,
)
def test_a_rule_leaves_good_code_alone(rule: Rule, path: str, text: str) -> None:
    assert_none(list(rule(Source(path, text))))


def test_each_rule_has_a_snippet_that_breaks_it() -> None:
    marks = test_a_rule_sees_what_it_watches_for.pytestmark  # type: ignore[attr-defined]  # pytest adds it
    assert {case[0] for case in marks[0].args[1]} >= set(RULES)


def test_quantiles_are_of_the_whole_tree() -> None:
    sources = [Source(f"src/lambent/a{n}.py", "def f():\n" + "    pass\n" * n) for n in range(1, 11)]
    assert tidy.median_file(sources) == 6
    assert tidy.long_function(sources) == 10
    assert tidy.median_file([]) == tidy.long_function([]) == 0


def test_a_circle_of_imports_is_found_wherever_the_imports_stand() -> None:
    sources = [
        Source("src/lambent/__init__.py", "from lambent.pool import lease\n"),
        Source("src/lambent/pool/__init__.py", ""),
        Source("src/lambent/pool/lease.py", "import asyncio\nfrom lambent.core import spec\n"),
        Source("src/lambent/core/__init__.py", ""),
        Source("src/lambent/core/spec.py", "def f():\n    from lambent.pool.lease import Lease\n"),
    ]
    assert tidy.import_cycle(tidy.import_graph(sources)) == (
        "lambent.core.spec",
        "lambent.pool.lease",
        "lambent.core.spec",
    )
    assert tidy.import_cycle(tidy.import_graph(sources[:-1])) == ()
