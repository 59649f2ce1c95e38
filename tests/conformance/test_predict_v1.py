"""V1 of the prediction protocol by TensorFlow Serving's documentation: plain HTTP, as its users send it."""

from __future__ import annotations

import base64
import json
import math
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support import models
from tests.support.compatibility import note
from tests.support.patience import PATIENT_S
from tests.support.raw_http import Raw
from tests.support.server import RunningServer

CODE = '''
"""Models that answer more than `predict`."""

class Half:
    labels = ("low", "high")
    signatures = ("twice",)

    def predict(self, inputs):
        if isinstance(inputs, list) and inputs and isinstance(inputs[0], bytes):
            return [{"length": len(one), "back_bytes": one} for one in inputs]
        return [one / 2 for one in inputs]

    def twice(self, inputs):
        return [one * 2 for one in inputs]

    def classify(self, examples):
        return [[one["x"], 1 - one["x"]] for one in examples]

    def regress(self, examples):
        return [one["x"] + one.get("bias", 0) for one in examples]

    def explain(self, inputs):
        return {"explanations": [{"of": one} for one in inputs]}


class Columns:
    async def predict(self, inputs):
        if isinstance(inputs, dict):
            return {"sum": sum(inputs["a"])}
        return {"a": [one["a"] for one in inputs], "b": [one["a"] * 2 for one in inputs]}


def echo(event, context):
    return event


def number(event, context):
    return 7
'''


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("predict-v1")
    (folder / "code.py").write_text(CODE)
    models.linear(folder / "linear.onnx", inputs=2, outputs=2)
    models.lookup(folder / "lookup.onnx")
    running = RunningServer(folder / "state").start()
    try:
        for target, name in (
            ("code.py:Half", "half"), ("code.py:Columns", "columns"), ("code.py:echo", "echo"),
            ("code.py:number", "number"), ("linear.onnx", "linear"), ("lookup.onnx", "lookup"),
        ):  # fmt: skip
            running.deploy(folder / target, "--name", name)
        yield running
    finally:
        running.stop()


def ask(server: RunningServer, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
    """As a script of somebody who used TensorFlow Serving would."""
    sent = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(
        f"{server.url}/v1/models/{path}",
        sent,
        {"Authorization": f"Bearer {server.about['api_key']}", **named},
    )
    try:
        with urllib.request.urlopen(request, timeout=PATIENT_S) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


@pytest.mark.parametrize(
    ("path", "body", "answer"),
    [
        pytest.param(
            "half:predict", {"instances": [1.0, 2.0, 5.0]}, {"predictions": [0.5, 1.0, 2.5]}, id="rows"
        ),
        pytest.param("half:predict", {"inputs": [1, 2]}, {"outputs": [0.5, 1.0]}, id="columns"),
        pytest.param(
            "half:predict",
            {"signature_name": "serving_default", "instances": [4]},
            {"predictions": [2.0]},
            id="default signature",
        ),
        pytest.param(
            "half:predict",
            {"signature_name": "twice", "instances": [4]},
            {"predictions": [8]},
            id="signature",
        ),
        pytest.param(
            "half:classify",
            {"examples": [{"x": 0.25}, {"x": 1}]},
            {"results": [[["low", 0.25], ["high", 0.75]], [["low", 1.0], ["high", 0.0]]]},
            id="classify",
        ),
        pytest.param(
            "half:regress",
            {"signature_name": "tensorflow/serving/regress", "examples": [{"x": 1.0}, {"x": 2}]},
            {"results": [1.0, 2.0]},
            id="regress",
        ),
        pytest.param(
            "half:regress",
            {"context": {"bias": 10}, "examples": [{"x": 1.0}]},
            {"results": [11.0]},
            id="a context for all examples",
        ),
        pytest.param("half:explain", {"instances": [1]}, {"explanations": [{"of": 1}]}, id="explain"),
        pytest.param(
            "columns:predict",
            {"instances": [{"a": 1}, {"a": 2}]},
            {"predictions": [{"a": 1, "b": 2}, {"a": 2, "b": 4}]},
            id="several outputs are rows by name",
        ),
        pytest.param("columns:predict", {"inputs": {"a": [1, 2]}}, {"outputs": {"sum": 3}}, id="by name"),
        pytest.param("linear:predict", {"instances": [[1, 2]]}, {"predictions": [[1.0, 4.0]]}, id="a file"),
        pytest.param(
            "linear:predict", {"inputs": {"x": [[1, 2]]}}, {"outputs": [[1.0, 4.0]]}, id="file, columns"
        ),
        pytest.param(
            "lookup:predict",
            {"instances": [{"index": 1, "scale": [2]}, {"index": 0, "scale": [1]}]},
            {
                "predictions": [
                    {"scaled": [6.0, 8.0, 10.0], "seen": 1},
                    {"scaled": [0.0, 1.0, 2.0], "seen": 0},
                ]
            },
            id="a file with two inputs and outputs",
        ),
        pytest.param(
            "linear:classify",
            {"examples": [{"x": [1, 2]}]},
            {"results": [[["", 1.0], ["", 4.0]]]},
            id="a file's scores without labels",
        ),
        pytest.param(
            "echo:predict", {"instances": [1], "more": 2}, {"instances": [1], "more": 2}, id="function"
        ),
        pytest.param(
            "number:predict", {"instances": [1]}, {"predictions": 7}, id="a function's plain answer"
        ),
    ],
)
def test_a_request_of_the_documentation_is_answered_as_there(
    server: RunningServer, path: str, body: Any, answer: Any
) -> None:
    assert ask(server, path, body) == (200, answer)
    form = "" if "predict" not in path else " (columns)" if "inputs" in body else " (rows)"
    note("predict-v1", f"POST /v1/models/{{model}}:{path.partition(':')[2]}{form}")


def test_bytes_go_to_the_model_and_come_back_in_base64(server: RunningServer) -> None:
    image = {"b64": base64.b64encode(b"\xff\x00image").decode()}
    assert ask(server, "half:predict", {"instances": [image]}) == (
        200,
        {"predictions": [{"length": 7, "back_bytes": image}]},
    )


def test_what_is_not_a_number_goes_both_ways(server: RunningServer) -> None:
    status, answer = ask(server, "half:predict", b'{"instances": [NaN, Infinity, 2]}')
    assert status == 200
    assert math.isnan(answer["predictions"][0])
    assert answer["predictions"][1:] == [math.inf, 1.0]
    status, answer = ask(server, "linear:predict", b'{"inputs": {"x": [[NaN, 1]]}}')
    assert status == 200
    assert all(map(math.isnan, answer["outputs"][0]))
    note("predict-v1", "POST /v1/models/{model}:predict (b64, NaN)")


def test_a_version_is_a_revision_and_a_label_an_alias(server: RunningServer) -> None:
    number = server.deployment("half")["number"]
    assert server.cli("alias", "half", "set", f"stable={number}").returncode == 0
    available = {
        "version": str(number),
        "state": "AVAILABLE",
        "status": {"error_code": "OK", "error_message": ""},
    }
    for path in (f"half/versions/{number}", "half/labels/stable"):
        assert ask(server, path) == (200, {"model_version_status": [available]})
        assert ask(server, f"{path}:predict", {"instances": [2]}) == (200, {"predictions": [1.0]})
    note("predict-v1", "GET /v1/models/{model}")
    note("predict-v1", "/v1/models/{model}/versions/{version}")
    note("predict-v1", "/v1/models/{model}/labels/{label}")


def test_the_metadata_of_a_model_is_its_signature(server: RunningServer) -> None:
    status, told = ask(server, "lookup/metadata")
    assert (status, told["model_spec"]) == (200, {"name": "lookup", "signature_name": "", "version": "1"})
    signature = told["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert signature["method_name"] == "tensorflow/serving/predict"
    assert {name: one["dtype"] for name, one in signature["inputs"].items()} == {
        "index": "DT_INT64", "scale": "DT_FLOAT",
    }  # fmt: skip
    assert [one["size"] for one in signature["outputs"]["scaled"]["tensor_shape"]["dim"]] == ["-1", "3"]
    assert ask(server, "lookup/versions/1/metadata") == (200, told)
    note("predict-v1", "GET /v1/models/{model}/metadata")


@pytest.mark.parametrize(
    ("path", "body", "status", "text"),
    [
        pytest.param(
            "nobody:predict",
            {"instances": [1]},
            404,
            "Servable not found for request: Latest(nobody)",
            id="model",
        ),
        pytest.param(
            "half/versions/99:predict",
            {"instances": [1]},
            404,
            "Servable not found for request: Specific(half, 99)",
            id="version",
        ),
        pytest.param(
            "half/versions/99", None, 404, "Could not find version 99 of model half", id="its status"
        ),
        pytest.param(
            "half/labels/none:predict",
            {"instances": [1]},
            400,
            "Unrecognized servable version label: none",
            id="label",
        ),
        pytest.param("half:predict", b"", 400, "JSON Parse error: The document is empty", id="empty"),
        pytest.param("half:predict", b'{"instances": [1', 400, "JSON Parse error: ", id="cut off"),
        pytest.param("half:predict", b"[1]", 400, "JSON Value: [1] Is not object", id="no object"),
        pytest.param("half:predict", {}, 400, "Missing 'inputs' or 'instances' key", id="nothing"),
        pytest.param(
            "half:predict", {"instances": 1}, 400, "Expecting 'instances' to be an list/array", id="type"
        ),
        pytest.param("half:predict", {"instances": []}, 400, "No values in 'instances' array", id="no rows"),
        pytest.param("half:predict", {"instances": [1], "inputs": [1]}, 400, "only one of", id="both"),
        pytest.param(
            "half:predict",
            {"signature_name": 1, "instances": [1]},
            400,
            "must be a string",
            id="signature type",
        ),
        pytest.param(
            "half:predict",
            {"signature_name": "load", "instances": [1]},
            400,
            'Serving signature name: "load" not found in signature def',
            id="no such signature",
        ),
        pytest.param(
            "half:predict", {"instances": [{"b64": "%"}]}, 400, "Unable to base64 decode", id="base64"
        ),
        pytest.param("half:cook", {"instances": [1]}, 400, "Malformed request: POST", id="verb"),
        pytest.param("half:predict", None, 400, "Malformed request: GET", id="method"),
        pytest.param("half/versions/y", None, 400, "Malformed request: GET", id="version of letters"),
        pytest.param("half/versions/y:predict", {}, 400, "Malformed request: POST", id="its verb"),
        pytest.param("half/versions/" + "9" * 20, None, 400, "Malformed request", id="a huge version"),
        pytest.param(
            "columns:explain", {"instances": [1]}, 400, "has no method explain", id="no explanation"
        ),
        pytest.param(
            "echo:explain", {"instances": [1]}, 400, "is no model class", id="a function explains nothing"
        ),
        pytest.param(
            "half:classify", {"instances": [1]}, 400, "key 'examples' is expected", id="no examples"
        ),
        pytest.param("linear:predict", {"instances": [[1, 2, 3]]}, 400, "expected shape", id="a shape"),
        pytest.param(
            "linear:predict", {"instances": [["a", "b"]]}, 400, "expected shape", id="text for numbers"
        ),
        pytest.param(
            "lookup:predict", {"inputs": {"index": [99], "scale": [[1]]}}, 400, "", id="out of bounds"
        ),
    ],
)
def test_what_does_not_fit_is_told_in_tensorflow_servings_words(
    server: RunningServer, path: str, body: Any, status: int, text: str
) -> None:
    found, answer = ask(server, path, body)
    assert (found, [*answer]) == (status, ["error"])
    assert text in answer["error"]


def test_an_error_of_user_code_is_told_with_its_type(server: RunningServer) -> None:
    status, answer = ask(server, "half:predict", {"instances": ["text"]})
    assert status == 500
    assert answer["error"].startswith("TypeError : unsupported operand")


def test_without_a_key_nothing_is_told(server: RunningServer) -> None:
    answer = server.request("POST", "/v1/models/half:predict", b"{}", key="")
    assert (answer.status, [*answer.json()]) == (401, ["error"])


def test_a_body_that_is_too_large_is_refused_before_it_is_sent(server: RunningServer) -> None:
    with Raw(server) as raw:
        raw.head("POST", "/v1/models/half:predict", "Content-Length: 100000000000")
        assert raw.answered()[0] == 413


def test_a_body_that_stops_in_the_middle_harms_nobody(server: RunningServer) -> None:
    with Raw(server) as raw:
        raw.head("POST", "/v1/models/half:predict", "Content-Length: 100")
        raw.socket.sendall(b'{"instances": [')
    assert ask(server, "half:predict", {"instances": [2]}) == (200, {"predictions": [1.0]})


BINARY = {
    "ce-id": "36077800-0c23-4f38-a0b4-01f4369f670a",
    "ce-source": "https://example.com/event-producer",
    "ce-specversion": "1.0",
    "ce-type": "com.example.sampletype1",
}


def test_an_event_in_headers_is_answered_by_one(server: RunningServer) -> None:
    answer = server.request(
        "POST", "/v1/models/half:predict", b'{"instances": [2]}', Content_Type="application/json", **BINARY
    )
    assert (answer.status, answer.json()) == (200, {"predictions": [1.0]})
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["ce-specversion"] == "1.0"
    assert answer.headers["ce-type"] == "io.kserve.inference.response"
    assert answer.headers["ce-source"] == "io.kserve.inference.half"
    assert answer.headers["ce-id"] not in ("", BINARY["ce-id"])


def test_a_structured_event_is_answered_by_one(server: RunningServer) -> None:
    event = {name.removeprefix("ce-"): value for name, value in BINARY.items()}
    body = json.dumps({**event, "time": "2021-01-28T21:04:43Z", "data": {"instances": [2]}}).encode()
    answer = server.request(
        "POST", "/v1/models/half:predict", body, Content_Type="application/cloudevents+json"
    )
    assert answer.headers["content-type"] == "application/cloudevents+json"
    told = answer.json()
    assert told["data"] == {"predictions": [1.0]}
    assert (told["type"], told["source"]) == ("io.kserve.inference.response", "io.kserve.inference.half")
    # With no type that says so, KServe takes it for one all the same, and answers without.
    plain = server.request("POST", "/v1/models/half:predict", body, Content_Type="application/json")
    assert plain.json() == {"predictions": [1.0]}
    note("predict-v1", "CloudEvents in and out")


def test_an_event_that_is_none_is_refused(server: RunningServer) -> None:
    lacking = {name: value for name, value in BINARY.items() if name != "ce-id"}
    answer = server.request("POST", "/v1/models/half:predict", b"{}", **lacking)
    assert (answer.status, answer.json()) == (400, {"error": "the event has no 'id'"})


KEYS = st.sampled_from(["b64", "x", "a"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=2),
    max_leaves=8,
)
TOP = st.sampled_from(["instances", "inputs", "examples", "context", "signature_name", "specversion", "data"])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    model=st.sampled_from(["linear", "lookup", "echo", "linear/versions/1", "linear/labels/x"]),
    verb=st.sampled_from(["predict", "classify", "regress", "explain"]),
    body=st.dictionaries(TOP, VALUES, max_size=3).map(lambda body: json.dumps(body).encode())
    | st.binary(max_size=40),
)
def test_whatever_is_sent_no_fault_of_ours_comes_back(
    server: RunningServer, model: str, verb: str, body: bytes
) -> None:
    status, answer = ask(server, f"{model}:{verb}", body)
    assert status < 500, answer
    assert status == 200 or [*answer] == ["error"]
