"""tritonclient, as its users make it, pointed at a running server; and what they call there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import numpy as np
import tritonclient.grpc
import tritonclient.http

from tests.support import compatibility, models
from tests.support.patience import PATIENT_S
from tests.support.server import RunningServer

APP: Final = """
import threading
import lambent

app = lambent.App("tensors")

@app.model(max_batch=8)
class Echo:
    def predict(self, inputs):
        return inputs

@app.model
class Declared:
    inputs = [lambent.Tensor("a", "FP32", (-1, 2)), lambent.Tensor("b", "INT64", (-1,))]
    outputs = [lambent.Tensor("sum", "FP32", (-1, 2)), lambent.Tensor("half", "BF16", (-1,))]
    def predict(self, inputs):
        a, b = inputs["a"], inputs["b"]
        return a + b[:, None], b

@app.model
class Broken:
    def predict(self, inputs):
        raise RuntimeError("it is broken")

@app.function
def plain(event, context):
    assert isinstance(event, list), event
    custom = context.client_context.custom if context.client_context else {}
    return {"doubled": [2 * one for one in event], "kind": custom.get("kind", "")}

@app.function
def sealed(event, context):
    return b"\\xff\\xfe"

@app.function
def words(event, context):
    text = event["text_input"] if isinstance(event, dict) else event[0].decode()
    for word in text.split():
        yield word + " "

@app.function(workers_max=1)
def hang(event, context):
    if event[0]:
        threading.Event().wait()
    return event

@app.function
def shout(event, context):
    return event["text_input"].upper()
"""
KINDS: Final = {"http": tritonclient.http, "grpc": tritonclient.grpc}
RECORDS: Final = {"http": "open-inference-rest", "grpc": "open-inference-grpc"}


@dataclass(frozen=True)
class Triton:
    """One of its two clients, with the key of a server."""

    kind: str
    module: ModuleType
    client: Any
    headers: dict[str, str]

    def __getattr__(self, name: str) -> Any:
        """The client's own method, which sends the key."""
        method = getattr(self.client, name)
        return lambda *words, **named: method(*words, headers={**self.headers}, **named)  # they write into it

    def input(self, name: str, value: Any, datatype: str, **how: Any) -> Any:
        """An input tensor."""
        found = self.module.InferInput(name, list(np.shape(value)), datatype)
        found.set_data_from_numpy(value, **how)
        return found

    def infer_one(self, model: str, value: Any, datatype: str, **named: Any) -> Any:
        """The only output of a model for its only input."""
        answer = self.infer(model, [self.input("x", value, datatype)], **named)
        return answer.as_numpy("output_0")

    def note(self, rest: str, rpc: str) -> None:
        """Remember that this was answered well."""
        compatibility.note(RECORDS[self.kind], rest if self.kind == "http" else rpc)


def start(folder: Path) -> RunningServer:
    """A server with the classes of `APP` and a model of digits."""
    running = RunningServer(folder / "state").start()
    try:
        (folder / "app.py").write_text(APP)
        running.deploy(folder / "app.py")
        running.deploy(models.digits(folder / "digits.onnx"))
    except BaseException:
        running.stop()
        raise
    return running


def address_of(server: RunningServer, kind: str) -> str:
    """Where one of its clients finds the server."""
    return str(server.about["grpc_url"]) if kind == "grpc" else server.url.removeprefix("http://")


@contextmanager
def connected(server: RunningServer, kind: str) -> Iterator[Triton]:
    """A client, closed at the end."""
    module = KINDS[kind]
    patience = {"connection_timeout": PATIENT_S, "network_timeout": PATIENT_S} if kind == "http" else {}
    client = module.InferenceServerClient(address_of(server, kind), **patience)
    try:
        yield Triton(kind, module, client, {"authorization": f"Bearer {server.about['api_key']}"})
    finally:
        client.close()
