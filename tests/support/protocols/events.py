"""The prediction protocol V1, CloudEvents and the Model Context Protocol: one request, one answer."""

from __future__ import annotations

from typing import Final

from tests.support.protocols.base import Protocol

PREDICT: Final = Protocol(
    key="predict-v1",
    title="Prediction protocol V1 (KServe, TensorFlow Serving)",
    clients="kserve, and requests of TensorFlow Serving's documentation",
    operations={
        "POST /v1/models/{model}:predict (rows)": "classes, files and functions",
        "POST /v1/models/{model}:predict (columns)": "",
        "POST /v1/models/{model}:predict (b64, NaN)": "both ways, NaN and Infinity as TensorFlow has them",
        "POST /v1/models/{model}:predict (compressed)": "gzip and deflate, both ways",
        "POST /v1/models/{model}:classify": "a class with `classify`; a file's scores, without labels",
        "POST /v1/models/{model}:regress": "a class with `regress`; a file with one output",
        "POST /v1/models/{model}:explain": "a class with `explain`",
        "GET /v1/models/{model}": "a cold model is available: a prediction wakes it",
        "GET /v1/models/{model}/metadata": "from the file, or from what the class declares",
        "/v1/models/{model}/versions/{version}": "a version is a revision's number",
        "/v1/models/{model}/labels/{label}": "a label is an alias",
        "CloudEvents in and out": "as KServe answers them; `CE_MERGE` is not read",
    },
)
CLOUDEVENTS: Final = Protocol(
    key="cloudevents",
    title="CloudEvents 1.0 over HTTP",
    clients="cloudevents, 1.x and 2.x",
    operations={
        "binary": "code is given the data; attributes are in `context.cloud_event`",
        "structured": "JSON",
        "batch": "an invocation for each event, 100 at most; the answer is a batch in the same order",
        "answers": "what user code returns as an event goes out in the form of the request",
        "accepted for later (`Prefer: respond-async`)": "",
        "Avro, Protobuf and XML formats": "refused with 400 and the reason, as versions before 1.0 are",
        "WebHook validation (`OPTIONS`)": "a key is what allows a sender here",
    },
)
MCP: Final = Protocol(
    key="mcp",
    title="Model Context Protocol",
    clients="mcp, and requests as its specification has them",
    operations={
        "initialize": "revisions 2024-11-05 to 2025-11-25; no session is kept",
        "server/discover": "revision 2026-07-28, in which each request says all about itself",
        "ping": "",
        "tools/list": "functions and models of the key's project, 100 on a page",
        "tools/list (schemas)": "from hints and docstring, the decorator's `schema=`, or a model's tensors",
        "tools/call": "what fails in user code, or does not fit a schema, is a result with `isError`",
        "tools/call (as an event)": "for who accepts `text/event-stream` alone",
        "notifications/progress": "for each piece that a function yields, with a token and events",
        "notifications/cancelled": "a client that leaves cancels its call",
        "resources/*, prompts/*, logging/*, completion/*": "there are tools alone",
        "GET /mcp": "refused with 405: the server begins no conversation",
    },
)
