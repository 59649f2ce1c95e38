"""Programs that poll AWS Lambda's Runtime API by hand, with nothing but the standard library."""

from __future__ import annotations

from pathlib import Path
from typing import Final

# Does what the event's `do` says, over raw sockets where a client library would not.
ACTOR: Final = '''#!/usr/bin/env python3
import base64, http.client, json, os, signal, socket, struct, sys, time

API = os.environ["AWS_LAMBDA_RUNTIME_API"]
HOST, PORT = API.rsplit(":", 1)
PATH = "/2018-06-01/runtime/"

def call(method, path, body=None, headers={}):
    connection = http.client.HTTPConnection(API)
    connection.request(method, PATH + path, body, headers)
    answer = connection.getresponse()
    return answer.status, dict(answer.headers), answer.read()

def raw(data, shut=False):
    """Send bytes as they are, and nothing after them where it is `shut`; what came back until the end."""
    with socket.create_connection((HOST, int(PORT))) as sock:
        sock.sendall(data)
        if shut:
            sock.shutdown(socket.SHUT_WR)
        got = b""
        while (chunk := sock.recv(65536)):
            got += chunk
        return got

def post(request_id, what, body, *headers):
    lines = [f"POST {PATH}invocation/{request_id}/{what} HTTP/1.1", "Host: x", *headers]
    return ("\\r\\n".join(lines) + "\\r\\n\\r\\n").encode() + body

def chunk(piece):
    return b"%x\\r\\n%b\\r\\n" % (len(piece), piece)

def respond(request_id, value, **headers):
    return call("POST", f"invocation/{request_id}/response", json.dumps(value), headers)

STREAM = ("Transfer-Encoding: chunked", "Connection: close",
          "Lambda-Runtime-Function-Response-Mode: streaming")

def act(request_id, event, headers):
    do = event.get("do", "echo")
    if do == "echo":
        return respond(request_id, {"event": event, "headers": headers, "pid": os.getpid(),
                                    "handler": os.environ["_HANDLER"], "cwd": os.getcwd()})
    if do == "environ":
        return respond(request_id, dict(os.environ))
    if do == "error":
        return call("POST", f"invocation/{request_id}/error", event["body"],
                    {"Lambda-Runtime-Function-Error-Type": event.get("type", "Own.Error")})
    if do == "bytes":
        return call("POST", f"invocation/{request_id}/response", b"\\0" * event["size"],
                    {"Content-Type": event["type"]})
    if do == "exit":
        print("leaving", flush=True)
        os._exit(event["status"])
    if do == "signal":
        os.kill(os.getpid(), event["signal"])
    if do == "hang":
        time.sleep(3600)
    if do == "log":
        frame = event["text"].encode()
        os.write(int(os.environ["_LAMBDA_TELEMETRY_LOG_FD"]),
                 struct.pack(">IIQ", 0xA55A0003, len(frame), time.time_ns() // 1000) + frame)
        return respond(request_id, "logged")
    if do == "stream":
        out = post(request_id, "response", b"", *STREAM, f"Content-Type: {event['type']}")
        with socket.create_connection((HOST, int(PORT))) as sock:
            sock.sendall(out)
            for piece in event["pieces"]:
                sock.sendall(chunk(piece.encode()))
                gate = event.get("gate")
                while gate and not os.path.exists(gate):
                    time.sleep(0.005)
            trailers = b""
            if event.get("error"):
                body = base64.b64encode(json.dumps(event["error"]).encode())
                trailers = (b"Lambda-Runtime-Function-Error-Type: Own.Error\\r\\n"
                            b"Lambda-Runtime-Function-Error-Body: " + body + b"\\r\\n")
            if not event.get("broken"):
                sock.sendall(b"0\\r\\n" + trailers + b"\\r\\n")
                while sock.recv(65536):
                    pass
        return None
    if do == "flood":
        with socket.create_connection((HOST, int(PORT))) as sock:
            sock.sendall(post(request_id, "response", b"", *STREAM))
            sent, end = 0, time.monotonic() + event["for_s"]
            sock.settimeout(event["for_s"])
            try:
                while time.monotonic() < end:
                    sock.sendall(chunk(b"x" * 65536))
                    sent += 65536
            except TimeoutError:
                pass
            with open(event["sent"] + ".new", "w") as file:
                file.write(str(sent))
            os.rename(event["sent"] + ".new", event["sent"])
            return None
    return HOSTILE[do](request_id, event)

def hostile_wrong_id(request_id, event):
    status, _, body = call("POST", "invocation/00000000-0000-0000-0000-000000000000/response", b"{}")
    return respond(request_id, [status, json.loads(body)["errorType"]])

def hostile_twice(request_id, event):
    respond(request_id, "first")
    status, _, body = respond(request_id, "second")
    print("second:", status, json.loads(body)["errorType"], flush=True)

def hostile_poll_again(request_id, event):
    status, _, body = call("GET", "invocation/next")
    return respond(request_id, [status, json.loads(body)["errorType"]])

def hostile_half_body(request_id, event):
    raw(post(request_id, "response", b'{"half":', "Content-Length: 1000"), shut=True)

def hostile_half_error(request_id, event):
    raw(post(request_id, "error", b'{"half":', "Content-Length: 1000"), shut=True)

def hostile_paths(request_id, event):
    tried = [("GET", "invocation/next/"), ("GET", ""), ("POST", "invocation/next"), ("GET", "init/error"),
             ("POST", f"invocation/{request_id}"), ("DELETE", f"invocation/{request_id}/response"),
             ("GET", "../../etc/passwd"), ("POST", "invocation//response"), ("POST", "init/error"),
             ("GET", "restore/next"), ("POST", "restore/error")]
    body = {"POST": b""}
    return respond(request_id, [call(method, path, body.get(method))[0] for method, path in tried])

def hostile_garbage(request_id, event):
    first = raw(b"\\x16\\x03\\x01 this is no HTTP\\r\\n\\r\\n")
    huge = b""
    try:
        huge = raw(b"GET / HTTP/1.1\\r\\nX: " + b"y" * (3 << 20))
    except OSError:
        pass
    many = raw(b"GET / HTTP/1.1\\r\\n" + b"".join(b"X-%d: y\\r\\n" % n for n in range(300)) + b"\\r\\n")
    early = raw(b"GET " + PATH.encode() + b"invocation/next HTTP/1.1\\r\\nConnection: close\\r\\n\\r\\n" * 2)
    open_ones = [socket.create_connection((HOST, int(PORT))) for _ in range(100)]
    for one in open_ones:
        one.close()
    return respond(request_id, [part.split(b"\\r\\n")[0].decode() for part in (first, many)])

HOSTILE = {name.removeprefix("hostile_"): what for name, what in list(globals().items())
           if name.startswith("hostile_")}

if os.environ.get("INIT") == "error":
    print("about to fail", flush=True)
    call("POST", "init/error", json.dumps({"errorMessage": "no weights", "errorType": "Own.InitError",
         "stackTrace": ["one", {"file": "two"}]}), {"Lambda-Runtime-Function-Error-Type": "Own.InitError"})
    sys.exit(1)
if os.environ.get("INIT") == "exit":
    print("it is not there", flush=True)
    sys.exit(7)
if os.environ.get("AWS_LAMBDA_INITIALIZATION_TYPE") == "snap-start":
    print("restored:", call("GET", "restore/next")[0], flush=True)
    if os.environ.get("RESTORE") == "error":
        error = {"errorMessage": "no clock", "errorType": "Own.RestoreError"}
        call("POST", "restore/error", json.dumps(error),
             {"Lambda-Runtime-Function-Error-Type": "Runtime.AfterRestoreError"})
        sys.exit(1)

def leave(*_):
    print("told to leave", flush=True)
    sys.exit(0)

signal.signal(signal.SIGTERM, leave)
print("init", flush=True)
while True:
    status, headers, body = call("GET", "invocation/next")
    if status != 200:
        print("poll:", status, flush=True)
        time.sleep(0.05)
        continue
    event = json.loads(body)
    act(headers["Lambda-Runtime-Aws-Request-Id"], event if isinstance(event, dict) else {}, headers)
'''

# As people write them: a shell and curl, a process for each request.
SHELL: Final = """#!/bin/sh
set -eu
API="http://$AWS_LAMBDA_RUNTIME_API/2018-06-01/runtime/invocation"
while true; do
  HEADERS="$(mktemp)"
  EVENT="$(curl -sS -D "$HEADERS" "$API/next")"
  ID="$(sed -n 's/^Lambda-Runtime-Aws-Request-Id: *//p' "$HEADERS" | tr -d '\\r')"
  rm -f "$HEADERS"
  echo "got $EVENT"
  curl -sS -o /dev/null -X POST "$API/$ID/response" -d "{\\"got\\": $EVENT}"
done
"""


def write_bootstrap(folder: Path, text: str = ACTOR) -> Path:
    """An executable `bootstrap` in a folder of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "bootstrap"
    file.write_text(text)
    file.chmod(0o755)
    return folder
