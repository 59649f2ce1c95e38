"""The Model Context Protocol as its specification writes it down: tools, errors, both ways to begin."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support import models
from tests.support.compatibility import note
from tests.support.raw_http import Raw
from tests.support.server import Reply, RunningServer

CODE = """
import lambent
from typing import TypedDict

app = lambent.App("tools")

class Pair(TypedDict):
    a: int
    b: int

def add(event, context):
    return {"sum": event["a"] + event["b"]}

@app.function
def typed_add(event: Pair, context):
    '''Adds a and b.'''
    return event["a"] + event["b"]

def counts(event, context):
    for n in range(event["n"]):
        yield {"n": n}
    if event.get("fails"):
        raise ValueError("at last")

COUNT = {"type": "integer", "minimum": 1}

@app.function(schema={"type": "object", "properties": {"n": COUNT}, "required": ["n"]})
def declared(event, context):
    return event["n"]

def picture(event, context):
    return b"not text"
"""
MODERN = "2026-07-28"
META = {"io.modelcontextprotocol/protocolVersion": MODERN, "io.modelcontextprotocol/clientCapabilities": {}}


@pytest.fixture(scope="module")
def tools(server: RunningServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("tools")
    (folder / "code.py").write_text(CODE)
    models.linear(folder / "linear.onnx", inputs=2, outputs=2)
    server.deploy(folder / "code.py")
    server.deploy(f"{folder / 'code.py'}:add", "--set", "description=Adds a and b")
    server.deploy(f"{folder / 'code.py'}:picture")
    server.deploy(f"{folder / 'code.py'}:counts")
    server.deploy(folder / "linear.onnx")
    return server


def post(server: RunningServer, message: Any, **headers: str) -> Reply:
    body = message if isinstance(message, bytes) else json.dumps(message).encode()
    return server.request("POST", "/mcp", body, Content_Type="application/json", **headers)


def ask(server: RunningServer, method: str, **params: Any) -> Any:
    answer = post(server, {"jsonrpc": "2.0", "id": 7, "method": method, "params": params}).json()
    assert (answer["jsonrpc"], answer["id"]) == ("2.0", 7)
    return answer


def call(server: RunningServer, name: str, arguments: Any) -> Any:
    return ask(server, "tools/call", name=name, arguments=arguments)["result"]


def test_a_client_of_an_older_revision_begins_by_initialize(tools: RunningServer) -> None:
    told = ask(tools, "initialize", protocolVersion="2025-06-18", capabilities={}, clientInfo={})["result"]
    assert (told["protocolVersion"], told["capabilities"]) == ("2025-06-18", {"tools": {}})
    assert ask(tools, "initialize", protocolVersion="1999-01-01")["result"]["protocolVersion"] == "2025-11-25"
    assert post(tools, {"jsonrpc": "2.0", "method": "notifications/initialized"}).status == 202
    assert ask(tools, "ping")["result"] == {}
    note("mcp", "initialize")
    note("mcp", "ping")


def test_a_client_of_the_newest_revision_says_all_in_each_request(tools: RunningServer) -> None:
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"_meta": META}}
    told = post(tools, message, Mcp_Protocol_Version=MODERN, Mcp_Method="tools/list").json()["result"]
    assert (told["resultType"], told["ttlMs"], told["cacheScope"]) == ("complete", 0, "private")
    wrong = post(tools, message, Mcp_Protocol_Version=MODERN, Mcp_Method="tools/call")
    assert (wrong.status, wrong.json()["error"]["code"]) == (400, -32020)
    message = {"jsonrpc": "2.0", "id": 2, "method": "server/discover", "params": {"_meta": META}}
    told = post(tools, message, Mcp_Protocol_Version=MODERN, Mcp_Method="server/discover").json()["result"]
    assert MODERN in told["supportedVersions"]
    note("mcp", "server/discover")


def test_everything_that_takes_an_event_is_a_tool(tools: RunningServer) -> None:
    listed = {one["name"]: one for one in ask(tools, "tools/list")["result"]["tools"]}
    assert listed["add"]["description"] == "Adds a and b"
    assert listed["add"]["inputSchema"] == {"type": "object"}
    assert listed["linear"]["inputSchema"]["required"] == ["instances"]
    row = listed["linear"]["inputSchema"]["properties"]["instances"]["items"]
    assert row == {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2}
    note("mcp", "tools/list")


def test_a_tools_schema_is_its_functions_hint_or_what_its_decorator_declares(tools: RunningServer) -> None:
    listed = {one["name"]: one for one in ask(tools, "tools/list")["result"]["tools"]}
    assert listed["typed-add"]["description"] == "Adds a and b."
    schema = listed["typed-add"]["inputSchema"]
    assert (schema["type"], schema["required"]) == ("object", ["a", "b"])
    assert schema["properties"] == {"a": {"type": "integer"}, "b": {"type": "integer"}}
    assert listed["declared"]["inputSchema"]["required"] == ["n"]
    note("mcp", "tools/list (schemas)")


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("typed-add", {"a": 1}, "b is missing"),
        ("typed-add", {"a": 1, "b": "2"}, "b is a string, expected integer"),
        ("declared", {"n": 0}, "n is 0, expected at least 1"),
    ],
)
def test_arguments_that_do_not_fit_a_schema_are_told_to_the_agent(
    tools: RunningServer, name: str, arguments: Any, said: str
) -> None:
    told = call(tools, name, arguments)
    assert (told["isError"], told["content"][0]["text"]) == (True, f"the arguments do not fit: {said}")
    assert call(tools, "typed-add", {"a": 1, "b": 2})["content"][0]["text"] == "3"


def test_a_call_gives_the_answer_as_text_and_as_what_it_is(tools: RunningServer) -> None:
    told = call(tools, "add", {"a": 1, "b": 2})
    assert told["isError"] is False
    assert told["structuredContent"] == json.loads(told["content"][0]["text"]) == {"sum": 3}
    assert call(tools, "linear", {"instances": [[1, 2]]})["structuredContent"] == {
        "predictions": [[1.0, 4.0]]
    }
    assert call(tools, "picture", {})["content"][0]["resource"]["blob"] == "bm90IHRleHQ="
    note("mcp", "tools/call")


def test_what_goes_wrong_in_user_code_is_told_in_the_result(tools: RunningServer) -> None:
    told = call(tools, "add", {"a": 1})
    assert (told["isError"], told["content"][0]["text"]) == (True, "KeyError: 'b'")
    assert call(tools, "linear", {"instances": [[1]]})["isError"] is True
    assert call(tools, "linear", {})["isError"] is True


def test_who_accepts_events_alone_gets_one(tools: RunningServer) -> None:
    message = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
    answer = post(tools, message, Accept="text/event-stream")
    assert answer.headers["content-type"] == "text/event-stream"
    assert json.loads(answer.body.split(b"data: ")[1]) == {"jsonrpc": "2.0", "id": 1, "result": {}}
    note("mcp", "tools/call (as an event)")


def events(server: RunningServer, arguments: Any, accept: str = "application/json, text/event-stream") -> Any:
    meta = {"_meta": {"progressToken": "t"}}
    params = {"name": "counts", "arguments": arguments, **meta}
    answer = post(
        server, {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}, Accept=accept
    )
    if answer.headers["content-type"] != "text/event-stream":
        return answer.json()
    return [json.loads(one.split(b"data: ")[1]) for one in answer.body.strip().split(b"\n\n")]


def test_who_names_a_token_is_told_of_each_piece_and_then_of_all(tools: RunningServer) -> None:
    first, second, last = events(tools, {"n": 2})
    assert first["method"] == second["method"] == "notifications/progress"
    assert first["params"] == {"progressToken": "t", "progress": 1, "message": '{"n":0}'}
    assert second["params"]["progress"] == 2
    assert json.loads(last["result"]["content"][0]["text"]) == [{"n": 0}, {"n": 1}]
    *_, failed = events(tools, {"n": 1, "fails": True})
    assert (failed["result"]["isError"], failed["id"]) == (True, 1)
    assert failed["result"]["content"][0]["text"] == "ValueError: at last"
    assert events(tools, {})["result"]["isError"] is True
    assert "result" in events(tools, {"n": 1}, "application/json")
    note("mcp", "notifications/progress")


@pytest.mark.parametrize(
    ("message", "status", "code"),
    [
        pytest.param(b"{", 400, -32700, id="no json"),
        pytest.param(b"[]", 400, -32600, id="no object"),
        pytest.param({"jsonrpc": "1.0", "id": 1, "method": "ping"}, 400, -32600, id="version"),
        pytest.param({"jsonrpc": "2.0", "id": 1, "method": "resources/list"}, 200, -32601, id="method"),
        pytest.param(
            {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "nobody"}},
            200,
            -32602,
            id="tool",
        ),
        pytest.param(
            {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "add", "arguments": 1}},
            200,
            -32602,
            id="arguments",
        ),
    ],
)
def test_what_does_not_fit_is_an_error_of_json_rpc(
    tools: RunningServer, message: Any, status: int, code: int
) -> None:
    answer = post(tools, message)
    assert (answer.status, answer.json()["error"]["code"]) == (status, code)


def test_without_a_key_or_from_another_site_nothing_is_told(tools: RunningServer) -> None:
    assert tools.request("POST", "/mcp", b"{}", key="").status == 401
    assert (
        post(tools, {"jsonrpc": "2.0", "id": 1, "method": "ping"}, Origin="https://evil.example").status
        == 403
    )
    assert tools.request("GET", "/mcp").status == 405


def test_a_body_over_the_limit_is_refused(tools: RunningServer) -> None:
    with Raw(tools) as raw:
        raw.head("POST", "/mcp", "Content-Length: 100000000000")
        assert raw.answered()[0] == 413


def test_a_body_that_stops_in_the_middle_harms_nobody(tools: RunningServer) -> None:
    for _ in range(3):
        with Raw(tools) as raw:
            raw.head("POST", "/mcp", "Content-Length: 1000", "Content-Type: application/json")
            raw.socket.sendall(b'{"jsonrpc": "2.0", "id": 1, "meth')
    assert ask(tools, "ping")["result"] == {}
    assert call(tools, "add", {"a": 1, "b": 2})["structuredContent"] == {"sum": 3}


JSONS = st.recursive(
    st.none()
    | st.integers()
    | st.text(max_size=5)
    | st.sampled_from(["2.0", "tools/call", "tools/list", "add"]),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(["jsonrpc", "id", "method", "params", "name", "arguments", "cursor", "_meta"]),
            inner,
        )
    ),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    params=JSONS,
    method=st.sampled_from(["tools/call", "tools/list", "initialize", "x"]),
    version=st.sampled_from(["", MODERN, "2025-11-25", "1"]),
)
def test_whatever_is_sent_no_fault_of_ours_comes_back(
    tools: RunningServer, params: Any, method: str, version: str
) -> None:
    message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    for sent in (message, params):
        answer = post(tools, sent, Mcp_Protocol_Version=version, Mcp_Method=method)
        assert answer.status < 500, answer.body
