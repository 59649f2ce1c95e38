"""Programs that serve HTTP in every way that there is, for the tests of those who pass it on."""

from __future__ import annotations

from pathlib import Path
from typing import Final
from urllib.parse import quote

from tests.support.server import Reply, RunningServer

COMMAND: Final = "python actor.py"

# It reads and writes bytes itself, so that nothing between it and the wire makes them better.
ACTOR: Final = '''
import asyncio, base64, json, os, signal, subprocess, sys, time
from urllib.parse import parse_qs, unquote_to_bytes, urlsplit

START = os.environ.get("START", "")
if START == "exit":
    print("there are no weights", flush=True)
    sys.exit(3)
if START == "hang":
    print("still looking for weights", flush=True)
    time.sleep(3600)
if START == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
elif os.environ.get("LEFT"):
    def leave(*_):
        open(os.environ["LEFT"], "w").close()
        os._exit(0)
    signal.signal(signal.SIGTERM, leave)
healthy = os.environ.get("HEALTHY")

async def body_of(reader, headers, on_piece):
    told = dict(headers)
    if told.get("transfer-encoding") == "chunked":
        while size := int(await reader.readline(), 16):
            on_piece(await reader.readexactly(size))
            await reader.readline()
        await reader.readline()
    else:
        left = int(told.get("content-length", 0))
        while left:
            piece = await reader.read(min(left, 65536))
            left -= len(piece)
            on_piece(piece)

def whole(body, *lines):
    head = ["HTTP/1.1 200 OK", f"Content-Length: {len(body)}", *lines, "", ""]
    return "\\r\\n".join(head).encode() + body

async def until(path):
    while not os.path.exists(path):
        await asyncio.sleep(0.005)

async def serve(reader, writer):
    try:
        while line := await reader.readline():
            method, target, _ = line.decode().split()
            headers = []
            while (line := await reader.readline()) not in (b"\\r\\n", b""):
                name, _, value = line.decode("latin-1").partition(":")
                headers.append((name.lower(), value.strip()))
            url = urlsplit(target)
            query = {name: values[-1] for name, values in parse_qs(url.query).items()}
            if not await ACTS.get(url.path, echo)(method, target, headers, query, reader, writer):
                break
    except (ConnectionError, asyncio.IncompleteReadError):
        pass
    writer.close()

async def echo(method, target, headers, query, reader, writer):
    pieces = []
    await body_of(reader, headers, pieces.append)
    body = b"".join(pieces)
    said = {"method": method, "target": target, "headers": headers, "body": base64.b64encode(body).decode(),
            "pid": os.getpid(), "connection": id(writer)}
    answer = whole(json.dumps(said).encode(), "Content-Type: application/json")
    writer.write(answer.partition(b"\\r\\n\\r\\n")[0] + b"\\r\\n\\r\\n" if method == "HEAD" else answer)
    return True

async def raw(method, target, headers, query, reader, writer):
    """The bytes of the query as they are, and the end of the connection where that says so."""
    await body_of(reader, headers, lambda _: None)
    writer.write(unquote_to_bytes(urlsplit(target).query.partition("&")[0]))
    await writer.drain()
    return not target.endswith("&close")

async def early(method, target, headers, query, reader, writer):
    writer.write(whole(b"enough"))
    return False

async def environ(method, target, headers, query, reader, writer):
    writer.write(whole(json.dumps({**os.environ, "cwd": os.getcwd()}).encode()))
    return True

async def gated(method, target, headers, query, reader, writer):
    writer.write(b"HTTP/1.1 200 OK\\r\\nContent-Type: text/event-stream\\r\\n")
    writer.write(b"Transfer-Encoding: chunked\\r\\n\\r\\n")
    writer.write(b"6\\r\\nfirst \\r\\n")
    await until(query["gate"])
    writer.write(b"6\\r\\nsecond\\r\\n0\\r\\nX-Trailer: t\\r\\n\\r\\n")
    return True

async def forever(method, target, headers, query, reader, writer):
    writer.write(b"HTTP/1.1 200 OK\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n")
    sent = 0
    try:
        while True:
            writer.write(b"10000\\r\\n" + bytes(65536) + b"\\r\\n")
            await writer.drain()
            sent += 65536
            with open(query["sent"] + ".new", "w") as file:
                file.write(str(sent))
            os.rename(query["sent"] + ".new", query["sent"])
    finally:
        open(query["left"], "w").close()

async def held(method, target, headers, query, reader, writer):
    """Says that it has been asked, and answers when it may."""
    open(query["asked"], "w").close()
    waiting = asyncio.ensure_future(until(query["gate"]))
    leaving = asyncio.ensure_future(reader.read(1))
    await asyncio.wait((waiting, leaving), return_when=asyncio.FIRST_COMPLETED)
    if leaving.done():
        open(query["left"], "w").close()
        return False
    leaving.cancel()
    writer.write(whole(b"held"))
    return False

async def upload(method, target, headers, query, reader, writer):
    total = [0, 0]
    def count(piece):
        total[0] += len(piece)
        total[1] += 1
    await body_of(reader, headers, count)
    writer.write(whole(json.dumps({"total": total[0], "pieces": total[1] > 1}).encode()))
    return True

async def leave_(method, target, headers, query, reader, writer):
    print("leaving", flush=True)
    if "signal" in query:
        os.kill(os.getpid(), int(query["signal"]))
    os._exit(int(query.get("status", "1")))

async def child(method, target, headers, query, reader, writer):
    """A process of its own, which uses CPU time and memory."""
    code = "import time\\nkept = bytearray(64 << 20)\\nwhile time.process_time() < 0.4: pass"
    done = await asyncio.create_subprocess_exec(sys.executable, "-c", code)
    await done.wait()
    writer.write(whole(b"done"))
    return True

async def left_behind(method, target, headers, query, reader, writer):
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"])
    writer.write(whole(str(other.pid).encode()))
    return True

async def family(method, target, headers, query, reader, writer):
    """So many processes of 40 MiB each."""
    for _ in range(int(query["count"])):
        code = "import time\\nkept = b'x' * (40 << 20)\\nprint(1, flush=True)\\ntime.sleep(3600)"
        one = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
        one.stdout.readline()
    writer.write(whole(b"grown"))
    return True

async def health(method, target, headers, query, reader, writer):
    ok = healthy is None or os.path.exists(healthy)
    status = b"200 OK" if ok else b"503 Not Yet"
    writer.write(b"HTTP/1.1 %s\\r\\nContent-Length: 4\\r\\n\\r\\nfine" % status)
    return True

ACTS = {"/raw": raw, "/early": early, "/environ": environ, "/gated": gated, "/forever": forever,
        "/held": held, "/upload": upload, "/leave": leave_, "/child": child, "/left": left_behind,
        "/family": family, "/health": health}

async def main():
    host = "::1" if START == "ipv6" else os.environ["HOST"]
    server = await asyncio.start_server(serve, host, int(os.environ["PORT"]))
    print("listening", flush=True)
    async with server:
        await server.serve_forever()

asyncio.run(main())
'''

SITE: Final = """
import asyncio
from fastapi import FastAPI, Request, WebSocket, WebSocketDisconnect
from fastapi.responses import PlainTextResponse, StreamingResponse

app = FastAPI()

@app.get("/items/{item}")
async def item(item: str, request: Request):
    return {"item": item, "query": str(request.query_params), "scheme": request.url.scheme,
            "client": request.client.host}

@app.post("/")
async def root(request: Request):
    return {"got": (await request.body()).decode(), "type": request.headers["content-type"]}

@app.post("/invocations")
async def invocations(request: Request):
    return {"predicted": (await request.json())["inputs"]}

@app.get("/ping")
async def ping():
    return None

@app.get("/events")
async def events():
    async def pieces():
        for number in range(3):
            yield f"data: {number}\\n\\n"
            await asyncio.sleep(0)
    return StreamingResponse(pieces(), media_type="text/event-stream")

@app.websocket("/chat")
async def chat(socket: WebSocket):
    if socket.query_params.get("no"):
        await socket.close()
        return
    offered = socket.scope["subprotocols"]
    await socket.accept(subprotocol=offered[-1] if offered else None, headers=[(b"x-own", b"1")])
    try:
        while True:
            message = await socket.receive()
            if message["type"] == "websocket.disconnect":
                break
            if message.get("text") == "close":
                await socket.close(4002, "as you wish")
                break
            if message.get("text") is not None:
                await socket.send_text(message["text"].upper())
            else:
                await socket.send_bytes(message["bytes"][::-1])
    except WebSocketDisconnect:
        pass
    print("closed:", message.get("code"), flush=True)
"""


def write_program(folder: Path, text: str = ACTOR, name: str = "actor.py") -> Path:
    """A folder with one program."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)
    return folder


def get(server: RunningServer, path: str, name: str = "actor") -> Reply:
    """Ask what is deployed under this name."""
    return server.request("GET", f"/invoke/{name}{path}")


def program_of(server: RunningServer, name: str) -> int:
    """The pid of the program that answers now."""
    return int(get(server, "/", name).json()["pid"])


def as_raw(answer: bytes) -> str:
    """The path at which the program answers in these bytes."""
    return f"/invoke/actor/raw?{quote(answer, safe='')}"
