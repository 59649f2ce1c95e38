"""The limit of a worker behind frames: two processes, one socket pair, one call in flight, nothing else.

Prints calls per second and CPU µs per call of both processes, as JSON. This peer is Lambent's own wire
format: what lies above its figure is the gateway, the dispatcher, the pool and the runtime.
"""

from __future__ import annotations

import json
import os
import resource
import socket
import sys
import time

import msgspec

from lambent.core.invocation import Status
from lambent.wire.frames import Answer, Call, FrameReader, ToServer, ToWorker, encode

CHUNK_BYTES = 64 * 1024


def serve(connection: socket.socket) -> None:
    """The worker's side: parse, echo, until the other side is gone."""
    reader: FrameReader[ToWorker] = FrameReader(ToWorker)
    while chunk := connection.recv(CHUNK_BYTES):
        for header, body in reader.feed(chunk):
            if isinstance(header, Call):
                result = msgspec.json.encode(msgspec.json.decode(body))
                answer = Answer(header.call_id, Status.OK, "application/json", 1, 1, 1)
                connection.sendall(encode(answer, result))


def drive(connection: socket.socket, body: bytes, seconds: float) -> int:
    """The server's side: how many calls were answered."""
    reader: FrameReader[ToServer] = FrameReader(ToServer)
    until_s = time.perf_counter() + seconds
    calls = 0
    while time.perf_counter() < until_s:
        connection.sendall(encode(Call(calls, "0123456789abcdef", 60_000.0), body))
        while not reader.feed(connection.recv(CHUNK_BYTES)):
            pass
        calls += 1
    return calls


def main(seconds: float, body: bytes) -> None:
    """Fork the worker's side, drive it, print what it took."""
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        ours.close()
        serve(theirs)
        os._exit(0)
    theirs.close()
    calls = drive(ours, body, seconds)
    ours.close()
    os.waitpid(pid, 0)
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    cpu_s = sum(usage.ru_utime + usage.ru_stime for usage in used)
    print(json.dumps({"per_s": calls / seconds, "cpu_us": cpu_s * 1e6 / calls}))


if __name__ == "__main__":
    main(float(sys.argv[1]), sys.stdin.buffer.read())
