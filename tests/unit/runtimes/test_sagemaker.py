"""A model archive is served by the functions of its inference.py, as SageMaker's toolkit calls them."""

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from lambent.core.invocation import FunctionError, Head, Status
from lambent.core.spec import Interface, Kind
from lambent.wire.oneshot import DescribeCall, Description
from lambent.wire.process import RevisionPlan, Runtime
from tests.support import model_archives, models
from tests.support.model_archives import ARRAY_CODE, files_of
from tests.support.templates import Environment, Worker, plan_for

CSV, NPY, JSON = "text/csv", "application/x-npy", "application/json"
ServeArchive = Callable[..., Worker]

ECHO = """
import json
def model_fn(model_dir): return None
def transform_fn(model, body, content_type, accept):
    return json.dumps([type(body).__name__, content_type, accept]), "application/json"
"""


def beside(**headers: str) -> str:
    custom = {name.replace("_", "-"): value for name, value in headers.items()}
    return json.dumps({"custom": custom})


def archive_plan(folder: Path) -> RevisionPlan:
    plan = plan_for(folder, "inference:model_fn", runtime=Runtime.SAGEMAKER, model_dir=str(folder))
    return msgspec.structs.replace(plan, code_dir="")


@pytest.fixture
def serve_archive(environment: Environment, tmp_path: Path) -> Iterator[ServeArchive]:
    """Makes a worker that serves an archive with this program."""
    started: list[Worker] = []

    def serve(code: str, **more: bytes) -> Worker:
        folder = model_archives.write(tmp_path / f"archive{len(started)}", files_of(code, **more))
        started.append(environment.fork_worker(archive_plan(folder)))
        return started[-1]

    yield serve
    for worker in started:
        worker.close()


def test_a_template_runs_model_fn_once_and_its_forks_answer(environment: Environment, tmp_path: Path) -> None:
    code = (
        ARRAY_CODE + "\nimport os\nLOADED_IN = os.getpid()\ndef output_fn(p, accept): return str(LOADED_IN)\n"
    )
    plan = archive_plan(model_archives.write(tmp_path / "archive", files_of(code)))
    template = environment.fork_template(plan)
    assert template.ready is not None
    assert template.ready.unsafe == ()
    assert {"init", "load"} < template.ready.parts_ms.keys()
    seen = {template.fork_worker(plan).call(b"[[1, 2]]")[1] for _ in range(2)}
    assert seen == {str(template.ready.pid).encode()}
    template.close()


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        pytest.param(JSON, b"[[1, 2], [3, 4]]", id="json"),
        pytest.param(JSON + "; charset=utf-8", b"[[1, 2], [3, 4]]", id="json with a parameter"),
        pytest.param(CSV, b"1,2\n3,4\n", id="csv"),
        pytest.param(NPY, model_archives.npy([[1, 2], [3, 4]]), id="npy"),
    ],
)
def test_the_defaults_read_arrays(serve_archive: ServeArchive, content_type: str, body: bytes) -> None:
    answer, said = serve_archive(ARRAY_CODE).call(body, content_type=content_type)
    assert (answer.status, answer.content_type, answer.head) == (Status.OK, JSON, None)
    assert json.loads(said) == [[2.0, 4.0], [6.0, 8.0]]


def test_the_defaults_write_what_is_accepted(serve_archive: ServeArchive) -> None:
    worker = serve_archive(ARRAY_CODE)
    answer, said = worker.call(b"[[1, 2]]", client_context=beside(Accept=CSV))
    assert (answer.content_type, said) == (CSV, b"2.0,4.0\n")
    answer, said = worker.call(b"[[1, 2]]", client_context=beside(accept="image/png, application/x-npy"))
    assert answer.content_type == NPY
    assert np.load(io.BytesIO(said)).tolist() == [[2.0, 4.0]]
    answer, said = worker.call(b"[[1, 2]]", client_context=beside(Accept="*/*"))
    assert answer.content_type == JSON


@pytest.mark.parametrize(
    ("call", "status", "named"),
    [
        pytest.param({"content_type": "image/png"}, 415, "image/png", id="unreadable"),
        pytest.param({"client_context": beside(Accept="image/png")}, 406, "image/png", id="unwritable"),
    ],
)
def test_a_type_that_is_not_known_is_refused_with_the_toolkits_words(
    serve_archive: ServeArchive, call: dict[str, str], status: int, named: str
) -> None:
    answer, said = serve_archive(ARRAY_CODE).call(b"[[1, 2]]", **call)
    assert (answer.status, answer.head) == (Status.FAILED, Head(status))
    error = msgspec.json.decode(said, type=FunctionError)
    assert error.error_type == "UnsupportedFormatError"
    assert error.error_message.startswith(f"Content type {named} is not supported by this framework.")


def test_a_pickle_in_an_array_is_not_read(serve_archive: ServeArchive) -> None:
    body = model_archives.npy(np.array([{"a": 1}], dtype=object))
    error = serve_archive(ARRAY_CODE).error(body, content_type=NPY)
    assert error.error_type == "ValueError"
    assert "allow_pickle=False" in error.error_message


@pytest.mark.parametrize(
    ("content_type", "kind"),
    [(JSON, "str"), (CSV, "str"), ("text/csv; charset=utf-8", "str"), (NPY, "bytes"), ("image/png", "bytes")],
)
def test_json_and_csv_reach_the_functions_as_text_and_all_else_as_bytes(
    serve_archive: ServeArchive, content_type: str, kind: str
) -> None:
    said = serve_archive(ECHO).value(b"1,2", content_type=content_type, client_context=beside(Accept="a/b"))
    assert said == [kind, content_type, "a/b"]


def test_each_function_gets_the_context_where_it_has_a_parameter_more(serve_archive: ServeArchive) -> None:
    worker = serve_archive(
        """
        import json
        def model_fn(model_dir, context): return context.system_properties["model_dir"] == model_dir
        def input_fn(body, content_type, context):
            return context.get_request_header(0, "x-amzn-sagemaker-custom-attributes")
        def predict_fn(data, model, context): return [data, model, context.get_request_id(0)]
        def output_fn(prediction, accept, context):
            context.set_response_header(0, "X-Amzn-SageMaker-Custom-Attributes", "told")
            context.set_response_status(code=202, phrase="fine")
            context.set_response_content_type(0, "application/vnd.me+json")
            return json.dumps(prediction)
        """
    )
    custom = beside(X_Amzn_SageMaker_Custom_Attributes="asked")
    answer, said = worker.call(b"{}", client_context=custom)
    assert json.loads(said) == ["asked", True, "11111111-2222-4333-8444-555555555555"]
    assert answer.content_type == "application/vnd.me+json"
    assert answer.head == Head(202, (("x-amzn-sagemaker-custom-attributes", "told"),))


def test_a_function_with_another_number_of_parameters_is_refused_by_name(serve_archive: ServeArchive) -> None:
    worker = serve_archive(ARRAY_CODE + "\ndef input_fn(body): return body\n")
    assert worker.error(b"[]").error_message == "input_fn takes 1 arguments but 2 were given."


def test_transform_fn_does_not_go_with_the_others(environment: Environment, tmp_path: Path) -> None:
    code = ECHO + "\ndef predict_fn(data, model): return data\n"
    folder = model_archives.write(tmp_path / "archive", files_of(code))
    error = environment.load_error(archive_plan(folder))
    assert error.error_message.startswith("Cannot use transform_fn implementation")


def test_what_the_functions_return_is_written_as_the_model_server_does(serve_archive: ServeArchive) -> None:
    def program(result: str) -> str:
        return (
            f"def model_fn(d): pass\ndef transform_fn(model, body, content_type, accept): return {result}\n"
        )

    assert serve_archive(program("'plain'")).call(b"1", client_context=beside(Accept="a/b"))[1] == b"plain"
    assert serve_archive(program("b'\\x00\\xff'")).call(b"1")[1] == b"\x00\xff"
    assert serve_archive(program("{'a': 1}")).value(b"1") == {"a": 1}
    answer, said = serve_archive(program("('x', 'text/x')")).call(b"1")
    assert (answer.content_type, said) == ("text/x", b"x")


def test_an_error_with_a_status_of_the_toolkit_keeps_it(serve_archive: ServeArchive) -> None:
    code = """
    class BaseInferenceToolkitError(Exception):
        def __init__(self, status_code, message, phrase):
            self.status_code, self.message = status_code, message
    class TooLong(BaseInferenceToolkitError): pass
    def model_fn(d): return 0
    def transform_fn(model, body, content_type, accept):
        if body == "raise": raise KeyError("plain")
        raise TooLong(422, "too long", "no")
    """
    worker = serve_archive(code)
    answer, said = worker.call(b"x")
    assert answer.head == Head(422)
    assert msgspec.json.decode(said, type=FunctionError).error_message == "too long"
    assert worker.error(b"raise").error_type == "KeyError"


def test_without_a_model_fn_the_one_model_file_is_opened(environment: Environment, tmp_path: Path) -> None:
    folder = model_archives.write(tmp_path / "archive", {"code/inference.py": b""})
    models.linear(folder / "linear.onnx")
    worker = environment.fork_worker(archive_plan(folder))
    assert worker.value(b"[[1, 2, 3, 4]]") == [[19.0, 29.0, 39.0]]
    worker.close()


def test_without_a_model_it_says_what_to_write(environment: Environment, tmp_path: Path) -> None:
    folder = model_archives.write(tmp_path / "archive", {"code/inference.py": b""})
    error = environment.load_error(archive_plan(folder))
    assert error.error_message.startswith("Please provide a model_fn implementation.")


def test_an_answer_that_yields_is_streamed(serve_archive: ServeArchive) -> None:
    code = """
    def model_fn(d): return 0
    def transform_fn(model, body, content_type, accept):
        def pieces():
            yield "one "
            yield b"two"
        return pieces(), "text/plain"
    """
    worker = serve_archive(code)
    worker.send(b"1")
    begin = worker.frame()[0]
    assert begin.head == Head(200, (("content-type", "text/plain"),))
    assert [worker.frame()[1] for _ in range(2)] == [b"one ", b"two"]
    assert worker.answer()[0].status is Status.OK


def test_modules_beside_the_program_are_found_and_the_variables_are_set(serve_archive: ServeArchive) -> None:
    code = """
    import os
    import mine
    def model_fn(model_dir): return os.environ["SM_MODEL_DIR"] == model_dir
    def transform_fn(model, body, content_type, accept): return {"mine": mine.WORD, "model": model}
    """
    assert serve_archive(code, **{"code/mine.py": b"WORD = 'here'\n"}).value(b"1") == {
        "mine": "here",
        "model": True,
    }


def describe(environment: Environment, folder: Path, **variables: str) -> Any:
    plan = plan_for(folder, "", runtime=Runtime.DESCRIBE, env=variables)
    worker = environment.fork_worker(plan)
    answer, body = worker.call(DescribeCall("."))
    worker.close()
    kind: Any = Description if answer.status is Status.OK else FunctionError
    return msgspec.json.decode(body, type=kind)


def test_an_archive_is_described_by_its_program(environment: Environment, tmp_path: Path) -> None:
    described = describe(environment, model_archives.write(tmp_path / "archive", files_of(ARRAY_CODE)))
    (model,) = described.declarations
    assert (model.kind, model.interface, model.entrypoint) == (
        Kind.MODEL, Interface.SAGEMAKER, "inference:model_fn",
    )  # fmt: skip
    assert described.imports == ("numpy",)


def test_a_variable_names_another_program(environment: Environment, tmp_path: Path) -> None:
    folder = model_archives.write(tmp_path / "archive", {"code/mine.py": b""})
    described = describe(environment, folder, SAGEMAKER_PROGRAM="mine.py")
    assert described.declarations[0].entrypoint == "mine:model_fn"
    missing = describe(environment, folder, SAGEMAKER_PROGRAM="../evil.py")
    assert missing.error_message.startswith("the archive has no 'code/../evil.py'")


@pytest.mark.parametrize(
    ("lines", "lacking"),
    [
        pytest.param("# nothing\nnumpy>=1\nmsgspec  # any\n", "", id="all there"),
        pytest.param("--extra-index-url https://x.example\nnumpy\n", "", id="where pip looks"),
        pytest.param("nobody-has-this; python_version < '3'\n", "", id="for another Python"),
        pytest.param("nobody-has-this==1.0\n", "nobody-has-this==1.0 (not installed)", id="not there"),
        pytest.param("numpy<1\n", f"numpy<1 ({np.__version__} is installed)", id="another version"),
        pytest.param("-r more.txt\n", "'-r more.txt', which only pip can read", id="a line for pip"),
    ],
)
def test_what_an_archive_requires_must_be_installed(
    environment: Environment, tmp_path: Path, lines: str, lacking: str
) -> None:
    files = files_of(ARRAY_CODE, **{"code/requirements.txt": lines.encode()})
    described = describe(environment, model_archives.write(tmp_path / "archive", files))
    if not lacking:
        assert described.declarations
        return
    assert described.error_type == "Lambent.MissingPackages"
    assert f"does not have: {lacking}. Nothing is installed by a deploy: run" in described.error_message
