"""The user code of a run: each call notes its beginning and its end in one file, whole or not at all.

A note is `phase number invocation seconds`: the number is what its client sent, the seconds are monotonic.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

TIMEOUT_S: Final = 15.0
INNER: Final = 1 << 40  # added to the number of a call, for the call that it makes itself

PRELUDE: Final = """
import asyncio, json, os, time
import lambent
REVISION = {revision}
app = lambent.App("chaos")

def note(phase, number, invocation="-"):
    line = f"{{phase}} {{number}} {{invocation}} {{time.monotonic():.6f}}\\n".encode()
    out = os.open({notes!r}, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(out, line)
    os.close(out)

common = dict(timeout_s={timeout_s}, keep_alive_s=0.5, workers_max=3)
"""

FAST: Final = """
@app.function(**common)
def {name}(event, context):
    note("begin", event["n"], context.aws_request_id)
    note("end", event["n"], context.aws_request_id)
    return {{"n": event["n"]}}
"""
SLOW: Final = """
@app.function(**common)
def slow(event, context):
    note("begin", event["n"], context.aws_request_id)
    time.sleep(event["s"])
    note("end", event["n"], context.aws_request_id)
    return {{"n": event["n"]}}
"""
STREAM: Final = """
@app.function(**common)
def stream(event, context):
    note("begin", event["n"], context.aws_request_id)
    for piece in range(event["pieces"]):
        yield {{"n": event["n"], "piece": piece, "pad": "x" * event.get("pad", 0)}}
        time.sleep(event.get("s", 0))
    note("end", event["n"], context.aws_request_id)
"""
MANY: Final = """
@app.function(concurrency=8, **common)
async def many(event, context):
    note("begin", event["n"], context.aws_request_id)
    await asyncio.sleep(event["s"])
    note("end", event["n"], context.aws_request_id)
    return {{"n": event["n"]}}
"""
FRONT: Final = """
@app.function(**common)
async def front(event, context):
    note("begin", event["n"], context.aws_request_id)
    inner = await lambent.call("fast", {{"n": event["n"] + {inner}}})
    note("end", event["n"], context.aws_request_id)
    return {{"n": inner["n"] - {inner}}}
"""
BATCH: Final = """
@app.model(max_batch=8, **common)
class Batch:
    def load(self, model):
        pass
    def predict(self, inputs):
        for number in inputs["n"]:
            note("begin", number)
        time.sleep(0.005)
        for number in inputs["n"]:
            note("end", number)
        return {{"n": inputs["n"]}}
"""
WEB: Final = """
@app.asgi(**common)
def web():
    async def application(scope, receive, send):
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body, more = body + message.get("body", b""), message.get("more_body", False)
        number = json.loads(body)["n"]
        note("begin", number)
        head = [(b"content-type", b"application/json")]
        await send({{"type": "http.response.start", "status": 200, "headers": head}})
        await send({{"type": "http.response.body", "body": b'{{"n": ', "more_body": True}})
        note("end", number)
        await send({{"type": "http.response.body", "body": b"%d}}" % number}})
    return application
"""
CHAT: Final = """
@app.websocket(**common)
async def chat(socket):
    async for message in socket:
        await socket.send(message)
"""
LATER: Final = """
@app.function(retries=1, retry_first_s=0.05, **common)
def later(event, context):
    note("begin", event["n"], context.aws_request_id)
    time.sleep(event["s"])
    note("end", event["n"], context.aws_request_id)
    if event["broken"]:
        raise ValueError("broken")
    return {{"n": event["n"]}}
"""

CHURN: Final = "churn"
CODES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "fast": FAST,
        CHURN: FAST,
        "slow": SLOW,
        "stream": STREAM,
        "many": MANY,
        "front": FRONT,
        "batch": BATCH,
        "web": WEB,
        "chat": CHAT,
        "later": LATER,
    }
)
NAMES: Final = tuple(CODES)
# Those whose notes name the invocation.
NAMED: Final = frozenset({"fast", CHURN, "slow", "stream", "many", "front", "later"})


def write(folder: Path, name: str, *, revision: int, notes: Path) -> Path:
    """The file of one deployment, which differs from revision to revision."""
    code = folder / f"{name}-{revision}.py"
    text = (PRELUDE + CODES[name]).format(
        revision=revision, notes=str(notes), timeout_s=TIMEOUT_S, name=name, inner=INNER
    )
    code.write_text(text)
    return code
