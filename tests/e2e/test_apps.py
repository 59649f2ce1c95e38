"""A FastAPI application deployed as it is: what it would do under any server, it does here."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.raw_http import Raw
from tests.support.server import RunningServer, wait_until

Write = Callable[[str, str], Path]
MIB = 1 << 20

APP = """
import asyncio, os
from contextlib import asynccontextmanager
from fastapi import BackgroundTasks, Depends, FastAPI, HTTPException, Request
from fastapi.responses import FileResponse, JSONResponse, PlainTextResponse, StreamingResponse

seen = []

@asynccontextmanager
async def lifespan(app):
    yield {"loaded": "in the worker"}
    open(os.environ["FOLDER"] + "/stopped", "w").close()

app = FastAPI(lifespan=lifespan)

@app.middleware("http")
async def stamp(request, call_next):
    response = await call_next(request)
    response.headers["X-Stamp"] = "yes"
    return response

@app.get("/items/{item}")
def item(item: str, q: list[str] | None = None, request: Request = None):
    return {"item": item, "path": request.url.path, "raw": request.scope["raw_path"].decode(),
            "root": request.scope["root_path"], "query": str(request.query_params),
            "state": request.state.loaded, "scheme": request.url.scheme}

@app.get("/number/{number}")
def number(number: int):
    return number

@app.api_route("/any", methods=["GET", "PUT", "DELETE", "OPTIONS", "PATCH", "HEAD"])
async def any_method(request: Request):
    return PlainTextResponse(request.method, headers={"X-Method": request.method})

@app.get("/headers")
async def headers(request: Request):
    response = JSONResponse([[name.decode(), value.decode()] for name, value in request.headers.raw])
    response.set_cookie("a", "1")
    response.set_cookie("b", "2")
    return response

@app.get("/gated")
async def gated(gate: str):
    async def pieces():
        yield b"first "
        while not os.path.exists(gate):
            await asyncio.sleep(0.005)
        yield b"second"
    return StreamingResponse(pieces(), media_type="text/x-own")

@app.get("/forever")
async def forever(left: str):
    async def pieces():
        try:
            while True:
                yield b"x" * 1000
        finally:
            open(left, "w").close()
    return StreamingResponse(pieces())

@app.get("/file")
async def file():
    return FileResponse(__file__)

@app.post("/upload")
async def upload(request: Request):
    total = pieces = 0
    async for piece in request.stream():
        total += len(piece)
        pieces += 1
    return {"total": total, "pieces": pieces > 1}

@app.post("/background")
async def background(gate: str, done: str, tasks: BackgroundTasks):
    async def later():
        while not os.path.exists(gate):
            await asyncio.sleep(0.005)
        open(done, "w").close()
    tasks.add_task(later)
    return "accepted"

class Own(Exception):
    pass

@app.exception_handler(Own)
async def own(request, error):
    return JSONResponse({"own": str(error)}, status_code=418)

@app.exception_handler(Exception)
async def last(request, error):
    return JSONResponse({"caught": str(error)}, status_code=500)

@app.get("/raise/{what}")
async def raise_it(what: str):
    if what == "http":
        raise HTTPException(404, "not here")
    if what == "own":
        raise Own("mine")
    raise ValueError("unforeseen")

@app.get("/empty", status_code=204)
async def empty():
    return None

@app.get("/unchanged")
async def unchanged():
    return PlainTextResponse("", status_code=304, headers={"ETag": '"x"'})

@app.get("/lies")
async def lies():
    async def pieces():
        yield b"abc"
    return StreamingResponse(pieces(), headers={"Content-Length": "5"})

secret = Depends(lambda: 1)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("app")


@pytest.fixture(scope="module")
def app(server: RunningServer, folder: Path) -> Iterator[RunningServer]:
    path = folder / "site.py"
    path.write_text(APP)
    server.deploy(f"{path.rename(folder / 'shop.py')}:app", "--name", "shop", "--set", f"env.FOLDER={folder}")
    yield server
    server.cli("rm", "shop")
    wait_until((folder / "stopped").exists, "the end of its lifespan")


def get(server: RunningServer, path: str, method: str = "GET", **headers: str) -> Any:
    return server.request(method, f"/invoke/shop{path}", **headers)


def usage(server: RunningServer, name: str) -> tuple[int, int]:
    """How many invocations are on the bill, and how many of them failed."""
    lines = server.request("GET", "/api/v1/usage").json()["lines"]
    return next(
        ((line["invocations"], line["failed"]) for line in lines if line["deployment"] == name), (0, 0)
    )


def test_paths_and_queries_arrive_as_they_were_sent(app: RunningServer) -> None:
    answer = get(app, "/items/caf%C3%A9%20x?q=1&q=%2F&leer=")
    assert (answer.status, answer.headers["X-Stamp"]) == (200, "yes")
    told = answer.json()
    assert told["item"] == "café x"
    assert told["path"].startswith("/invoke/shop/items/")
    assert (told["root"], told["scheme"], told["state"]) == ("/invoke/shop", "http", "in the worker")
    assert told["query"] == "q=1&q=%2F&leer="
    assert told["raw"] == "/invoke/shop/items/caf%C3%A9%20x"
    assert get(app, "/items/a%2Fb").status == 404  # as under any server: it is decoded before it is routed
    assert get(app, "/number/x").status == 422
    assert get(app, "/number/7").json() == 7
    assert get(app, "/nowhere").json() == {"detail": "Not Found"}
    assert get(app, "/openapi.json").json()["paths"]["/file"]


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_every_method_is_the_applications(app: RunningServer, method: str) -> None:
    answer = get(app, "/any", method)
    assert (answer.status, answer.body, answer.headers["X-Method"]) == (200, method.encode(), method)


def test_head_has_the_length_and_no_body(app: RunningServer) -> None:
    with Raw(app) as raw:
        for _ in range(2):  # nothing is left over on the connection
            raw.ask("HEAD", "/invoke/shop/any")
            status, headers = raw.answered()
            assert (status, dict(headers)["content-length"]) == (200, "4")


def test_headers_come_through_twice_and_without_our_key(app: RunningServer) -> None:
    with Raw(app) as raw:
        raw.ask("GET", "/invoke/shop/headers", None, "X-Twice: 1", "X-Twice: 2", "Cookie: c=3")
        _, headers = raw.answered()
        seen = json.loads(raw.body(int(dict(headers)["content-length"])))
    assert [value for name, value in seen if name == "x-twice"] == ["1", "2"]
    assert ["cookie", "c=3"] in seen
    assert "authorization" not in [name for name, _ in seen]
    assert [value.split(";")[0] for name, value in headers if name == "set-cookie"] == ["a=1", "b=2"]


def test_an_answer_streams_and_a_file_has_its_length(app: RunningServer, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    with Raw(app) as raw:
        raw.ask("GET", f"/invoke/shop/gated?gate={gate}")
        _, headers = raw.answered()
        assert dict(headers)["content-type"].startswith("text/x-own")
        chunks = raw.chunks()
        assert next(chunks) == b"first "
        gate.touch()
        assert b"".join(chunks) == b"second"
        raw.ask("GET", "/invoke/shop/file")
        told = dict(raw.answered()[1])
        assert int(told["content-length"]) == len(APP)
        assert raw.body(len(APP)) == APP.encode()


def test_an_answer_that_is_shorter_than_it_said_is_cut_off(app: RunningServer) -> None:
    with Raw(app) as raw:
        raw.ask("GET", "/invoke/shop/lies")
        assert dict(raw.answered()[1])["content-length"] == "5"
        with pytest.raises(ConnectionError):
            raw.body(5)


@pytest.mark.parametrize("path", ["/empty", "/unchanged"])
def test_answers_without_a_body_leave_the_connection_usable(app: RunningServer, path: str) -> None:
    with Raw(app) as raw:
        raw.ask("GET", f"/invoke/shop{path}")
        assert raw.answered()[0] in (204, 304)
        raw.ask("GET", "/invoke/shop/number/1")
        assert raw.answered()[0] == 200


def test_an_upload_streams(app: RunningServer) -> None:
    size = 20 * MIB
    assert app.request("POST", "/invoke/shop/upload", bytes(size)).json() == {"total": size, "pieces": True}
    with Raw(app) as raw:
        raw.head("POST", "/invoke/shop/upload", "Transfer-Encoding: chunked")
        for _ in range(20):
            raw.socket.sendall(b"%x\r\n" % MIB + bytes(MIB) + b"\r\n")
        raw.socket.sendall(b"0\r\n\r\n")
        _, headers = raw.answered()
        assert json.loads(raw.body(int(dict(headers)["content-length"])))["total"] == size


def test_an_upload_over_the_limit_is_refused_as_soon_as_that_is_known(app: RunningServer) -> None:
    with Raw(app) as raw:
        raw.head("POST", "/invoke/shop/upload", f"Content-Length: {33 * MIB}")
        assert raw.answered()[0] == 413
    with Raw(app) as raw:
        raw.head("POST", "/invoke/shop/upload", "Transfer-Encoding: chunked")
        try:
            for _ in range(33):
                raw.socket.sendall(b"%x\r\n" % MIB + bytes(MIB) + b"\r\n")
        except ConnectionError:
            pass
        assert raw.answered()[0] == 413


def test_work_in_the_background_does_not_hold_the_answer_and_outlives_its_client(
    app: RunningServer, tmp_path: Path
) -> None:
    gate, done = tmp_path / "gate", tmp_path / "done"
    with Raw(app) as raw:
        raw.ask("POST", f"/invoke/shop/background?gate={gate}&done={done}")
        status, headers = raw.answered()
        assert (status, raw.body(int(dict(headers)["content-length"]))) == (200, b'"accepted"')
        raw.ask("GET", "/invoke/shop/number/1")  # the next one on the connection, meanwhile
        assert raw.answered()[0] == 200
    assert not done.exists()
    gate.touch()
    wait_until(done.exists, "the background task")


@pytest.mark.parametrize(
    ("what", "status", "body"),
    [
        ("http", 404, {"detail": "not here"}),
        ("own", 418, {"own": "mine"}),
        ("other", 500, {"caught": "unforeseen"}),
    ],
)
def test_exceptions_are_the_applications_business(
    app: RunningServer, what: str, status: int, body: object
) -> None:
    answer = get(app, f"/raise/{what}")
    assert (answer.status, answer.json()) == (status, body)


def test_what_fails_and_what_is_left_is_on_the_bill(app: RunningServer, folder: Path, tmp_path: Path) -> None:
    # A deployment of its own: what others have left behind comes on their bill whenever it ends.
    app.deploy(f"{folder / 'shop.py'}:app", "--name", "billed", "--set", f"env.FOLDER={tmp_path}")
    app.request("GET", "/invoke/billed/raise/other")
    left = tmp_path / "left"
    raw = Raw(app)
    raw.ask("GET", f"/invoke/billed/forever?left={left}")
    raw.answered()
    next(raw.chunks())
    raw.close()
    wait_until(left.exists, "the finally of the stream")
    app.request("GET", "/invoke/billed/number/1")
    wait_until(lambda: usage(app, "billed") == (3, 2), "three on the bill")


def test_the_key_is_asked_for(app: RunningServer) -> None:
    assert app.request("GET", "/invoke/shop/number/1", key="").status == 401
    assert app.request("GET", "/invoke/shop/number/1", key="wrong").status == 401


def test_an_application_whose_startup_fails_says_so(server: RunningServer, write: Write) -> None:
    code = (
        "from contextlib import asynccontextmanager\nfrom fastapi import FastAPI\n"
        "@asynccontextmanager\nasync def lifespan(app):\n    raise ValueError('no database')\n    yield\n"
        "app = FastAPI(lifespan=lifespan)\n"
    )
    path = write("nodb.py", code)
    done = server.cli("deploy", f"{path}:app", "--name", "nodb")
    if done.returncode == 0:
        answer = server.request("GET", "/invoke/nodb/")
        assert answer.status == 502
        assert "no database" in answer.json()["detail"]
    else:
        assert "no database" in done.stderr


def test_an_application_is_invoked_later_as_a_post_to_its_root(server: RunningServer, write: Write) -> None:
    code = (
        "import lambent\napp = lambent.App('plain')\n@app.asgi\nasync def plain(scope, receive, send):\n"
        "    assert scope['type'] == 'http'\n"
        "    body = (await receive())['body']\n"
        "    await send({'type': 'http.response.start', 'status': 200, 'headers': []})\n"
        "    await send({'type': 'http.response.body', 'body': scope['method'].encode() + body})\n"
    )
    server.deploy(write("later_app.py", code))
    later = server.invoke("plain", {"x": 1}, Prefer="respond-async")
    where = later.headers["Location"]
    wait_until(lambda: server.request("GET", where).status == 200, "the result")
    assert server.request("GET", where).body == b'POST{"x": 1}'
