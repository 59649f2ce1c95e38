"""User code is described in a worker: what a file declares, or a clear reason why it declares nothing."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec
import pytest

from lambent.core.invocation import FunctionError, Status
from lambent.core.tensors import UNKNOWN, Signature, Tensor
from lambent.wire.api import Declaration
from lambent.wire.oneshot import DescribeCall, Description
from lambent.wire.process import Runtime
from tests.support.templates import Environment
from tests.support.user_code import PlanOf

APP = """
    import lambent
    app = lambent.App("digits")

    @app.function(memory="256MiB", timeout_s=30)
    def hello(event, context): ...

    @app.model(train="fit")
    class HandDrawn:
        def predict(self, inputs): ...

    @app.job(timeout_s=1800)
    def fit(run): ...

    def plain(event, context): ...
"""
HELLO = Declaration("hello", "function", "app:hello", {"memory": "256MiB", "timeout_s": 30}, "", "digits")  # type: ignore[arg-type]  # a kind's own text
MODEL = Declaration("hand-drawn", "model", "app:HandDrawn", {}, "digits-fit", "digits")  # type: ignore[arg-type]  # as above
FIT = Declaration("digits-fit", "job", "app:fit", {"timeout_s": 1800}, "", "digits")  # type: ignore[arg-type]  # as above


class Describe:
    """Describes bundles, each in a worker of its own."""

    def __init__(self, environment: Environment, plan_of: PlanOf) -> None:
        self._environment = environment
        self._plan_of = plan_of

    def __call__(
        self, target: str, code: str, files: Mapping[str, str] = MappingProxyType({})
    ) -> Description | FunctionError:
        plan = self._plan_of(code, "", runtime=Runtime.DESCRIBE)
        for name, text in files.items():
            path = Path(plan.code_dir, name)
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        worker = self._environment.fork_worker(plan)
        answer, body = worker.call(DescribeCall(target))
        worker.close()
        assert answer.retiring
        kind: Any = Description if answer.status is Status.OK else FunctionError
        return msgspec.json.decode(body, type=kind)  # type: ignore[no-any-return]  # one of the two


@pytest.fixture
def describe(environment: Environment, plan_of: PlanOf) -> Describe:
    return Describe(environment, plan_of)


def declared(description: Description | FunctionError) -> tuple[Declaration, ...]:
    assert isinstance(description, Description), description
    return description.declarations


def refused(description: Description | FunctionError) -> FunctionError:
    assert isinstance(description, FunctionError), description
    return description


def same(seen: tuple[Declaration, ...], *expected: Declaration) -> bool:
    return msgspec.json.encode(seen) == msgspec.json.encode(expected)


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("app.py", [HELLO, MODEL, FIT]),
        ("app.py:app", [HELLO, MODEL, FIT]),
        ("app.py:hello", [HELLO]),
        ("app.py:HandDrawn", [MODEL, FIT]),
        ("app.py:fit", [FIT]),
    ],
)
def test_an_app_declares_what_its_decorators_say(
    describe: Describe, target: str, expected: list[Declaration]
) -> None:
    assert same(declared(describe(target, APP)), *expected)


def test_a_function_beside_an_app_can_be_named(describe: Describe) -> None:
    (found,) = declared(describe("app.py:plain", APP))
    assert (found.name, found.kind, found.entrypoint, found.app) == ("plain", "function", "app:plain", "")


TOOLS = "class Tools:\n    @staticmethod\n    def run(event, context): ..."
HTTP = "class HTTPModel:\n    def predict(self, inputs): ..."


@pytest.mark.parametrize(
    ("target", "code", "name", "kind", "entrypoint"),
    [
        ("app.py", "def lambda_handler(e, c): ...", "lambda-handler", "function", "app:lambda_handler"),
        ("app.py", "async def handler(e, c): ...", "handler", "function", "app:handler"),
        ("app.py:main", "main = lambda event, context: event", "main", "function", "app:main"),
        ("app.py:HTTPModel", HTTP, "http-model", "model", "app:HTTPModel"),
        ("app.py:Tools.run", TOOLS, "run", "function", "app:Tools.run"),
    ],
)
def test_a_file_without_an_app_declares_its_handler(
    describe: Describe, target: str, code: str, name: str, kind: str, entrypoint: str
) -> None:
    (found,) = declared(describe(target, code))
    assert (found.name, found.kind.value, found.entrypoint) == (name, kind, entrypoint)


TWO = "def first(e, c): ...\ndef second(e, c): ..."
BOTH = "def handler(e, c): ...\ndef lambda_handler(e, c): ..."
MIXED = "def handler(e, c): ...\nclass M:\n  def predict(self, x): ..."
IN_APP = "import lambent\napp = lambent.App('a')\n"


@pytest.mark.parametrize(
    ("target", "code", "message"),
    [
        ("app.py:handlr", "def handler(e, c): ...", "app.py has no 'handlr'; did you mean 'handler'?"),
        ("app.py:zzz", MIXED, "app.py has no 'zzz'; it defines handler, M: name one, as in app.py:handler"),
        (
            "app.py",
            TWO,
            "app.py has no lambent.App, handler or lambda_handler; it defines first, second: name one, as",
        ),
        (
            "app.py",
            BOTH,
            "app.py has both handler and lambda_handler; it defines handler, lambda_handler: name",
        ),
        ("app.py", "", "app.py has no lambent.App, handler or lambda_handler; it defines nothing to deploy"),
        ("app.py", IN_APP, "the app in app.py declares nothing: decorate a function or a class"),
        ("app.py:x", "x = 3", "app.py:x is an int; deploy a function, a model class or an App"),
        (
            "app.py:M",
            "class M: ...",
            "app.py:M is a class without predict(self, inputs), chat, complete, embed, ",
        ),
    ],
)
def test_a_file_that_declares_nothing_says_what_it_has(
    describe: Describe, target: str, code: str, message: str
) -> None:
    error = refused(describe(target, code))
    assert error.error_type == "Runtime.HandlerNotFound"
    assert error.error_message.startswith(message)


@pytest.mark.parametrize(
    ("target", "code", "error_type", "message"),
    [
        (
            "gone.py",
            "",
            "Runtime.ImportModuleError",
            "there is no Python file 'gone.py' in what was deployed",
        ),
        ("../app.py", "", "Runtime.ImportModuleError", "there is no Python file '../app.py' in what was"),
        (
            "app.py",
            IN_APP + "@app.model(train='fot')\nclass M: ...",
            "InvalidSpec",
            "M has train='fot', no job",
        ),
        ("app.py", IN_APP + "@app.function(timeout='3')\ndef f(e, c): ...", "InvalidSpec", "unknown setting"),
        ("app.py", "raise RuntimeError('at import')", "RuntimeError", "at import"),
        ("app.py", "import sys; sys.exit(2)", "Runtime.ExitError", "RequestId: "),
        (
            "app.py",
            "import nothing_here",
            "Runtime.ImportModuleError",
            "Unable to import module 'app': No mod",
        ),
    ],
)
def test_a_file_that_cannot_be_imported_says_why(
    describe: Describe, target: str, code: str, error_type: str, message: str
) -> None:
    error = refused(describe(target, code))
    assert error.error_type == error_type
    assert error.error_message.startswith(message)


def test_a_syntax_error_names_file_line_and_text(describe: Describe) -> None:
    error = refused(describe("app.py", "import broken", {"broken.py": "x = 1\nif x\n    pass\n"}))
    assert error.error_type == "Runtime.UserCodeSyntaxError"
    assert error.error_message == "Syntax error in module 'app': expected ':' (broken.py, line 2)"
    assert error.stack_trace[0].endswith('/broken.py" Line 2\n    if x')


def test_imports_are_those_of_the_whole_bundle_that_are_installed(describe: Describe) -> None:
    found = describe(
        "app.py",
        """
        import json, numpy as np, lambent
        from typing import TYPE_CHECKING
        import local, pkg.deep
        from pkg import part
        if TYPE_CHECKING:
            import onnx
        try:
            import msgspec
        except ImportError:
            import nothing_here
        def handler(event, context):
            import onnxruntime
        """,
        {
            "local.py": "from click import echo\nimport app",
            "pkg/__init__.py": "import rich.console",
            "pkg/deep.py": "from . import part\nfrom .part import thing",
            "pkg/part.py": "import starlette.routing\nthing = 1",
            "unused.py": "import sqlalchemy",
        },
    )
    assert isinstance(found, Description), found
    assert found.imports == ("click", "msgspec", "numpy", "rich", "starlette")


def test_a_file_in_a_folder_is_imported_from_the_bundles_root(describe: Describe) -> None:
    (found,) = declared(describe("sub/tool.py", "", {"sub/tool.py": "def handler(e, c): ..."}))
    assert found.entrypoint == "sub.tool:handler"


def test_a_class_declares_the_tensors_that_it_takes_and_gives(describe: Describe) -> None:
    code = """
        import lambent
        class Plain:
            inputs = ["not", "of", "ours"]
            def predict(self, inputs): ...
        class Told:
            inputs = [lambent.Tensor("x", "FP32", (None, 3))]
            outputs = (lambent.Tensor("y", "BYTES", (-1,)),)
            def predict(self, inputs): ...
        class Twice:
            inputs = [lambent.Tensor("x", "FP32", (1,)), lambent.Tensor("x", "FP32", (1,))]
            def predict(self, inputs): ...
    """
    (plain,) = declared(describe("app.py:Plain", code))
    assert plain.signature == UNKNOWN
    (told,) = declared(describe("app.py:Told", code))
    assert told.signature == Signature((Tensor("x", "FP32", (-1, 3)),), (Tensor("y", "BYTES", (-1,)),))
    assert "each of its own name" in refused(describe("app.py:Twice", code)).error_message
