"""A small stand-in for the process side: the contract of `wire/process.py`, and ways to break it.

It is run in place of the interpreter, with the arguments that the engine gives to one. A plan's `entrypoint`
is `module:function` in its `code_dir`. A plan's `env` may ask for misbehaviour under `MISBEHAVE`, whose
value is one of the words that appear below.
"""

from __future__ import annotations

import ctypes
import errno
import importlib
import os
import resource
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, NoReturn

import msgspec

from lambent.core.invocation import FunctionError, Status
from lambent.wire.frames import (
    Answer,
    Call,
    FrameReader,
    Hello,
    LoadError,
    Progress,
    Stop,
    ToWorker,
    Wake,
    encode,
)
from lambent.wire.process import (
    PACKET_BYTES_MAX,
    ChildRole,
    Exited,
    Failed,
    Fork,
    Forked,
    Ready,
    RevisionPlan,
    Runtime,
)

PR_SET_PDEATHSIG = 1
Function = Callable[[Any, Any], Any]


def main(arguments: list[str]) -> NoReturn:
    control_fd = int(arguments[arguments.index("--control-fd") + 1])
    imports = arguments[arguments.index("--imports") + 1]
    die_with_parent()
    control = socket.socket(fileno=control_fd)
    try:
        for name in filter(None, imports.split(",")):
            importlib.import_module(name)
    except ImportError as error:
        send(control, Failed(FunctionError(str(error), "Runtime.ImportModuleError")))
        sys.exit(1)
    send(control, Ready(os.getpid(), {"import": 1.0}))
    wait_for_forks(control, None)


def wait_for_forks(control: socket.socket, function: Function | None) -> NoReturn:
    """Be a template."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    children: dict[int, str] = {}
    while True:
        ready, _, _ = select.select([control.fileno(), reading], [], [])
        if control.fileno() in ready:
            packet, descriptors, _, _ = socket.recv_fds(control, PACKET_BYTES_MAX, 2)
            if not packet:
                os._exit(0)
            fork(control, msgspec.msgpack.decode(packet, type=Fork), descriptors, children, function)
        if reading in ready:
            os.read(reading, 512)
            reap(control, children)


def fork(
    control: socket.socket, ask: Fork, fds: list[int], children: dict[int, str], function: Function | None
) -> None:
    misbehave = ask.plan.env.get("MISBEHAVE", "")
    if misbehave == f"template dies when asked for a {ask.role}":
        os.kill(os.getpid(), signal.SIGKILL)
    if misbehave == f"kernel refuses to fork a {ask.role}":
        send(control, Exited(ask.child, 0, errno.ENOMEM << 8, 0, 0))
        return
    started_s = time.monotonic()
    pid = os.fork()
    if pid == 0:
        try:
            control.close()
            signal.set_wakeup_fd(-1)
            be_child(ask, fds, function)
        finally:
            os._exit(70)
    for fd in fds:
        os.close(fd)
    if misbehave != f"template reports no end of a {ask.role}":
        children[pid] = ask.child
    told = os.getppid() if misbehave == f"template lies about the pid of its {ask.role}" else pid
    send(control, Forked(ask.child, told, (time.monotonic() - started_s) * 1000))


def reap(control: socket.socket, children: dict[int, str]) -> None:
    for pid in list(children):
        found, status, usage = os.wait4(pid, os.WNOHANG)
        if found:
            cpu_us = round((usage.ru_utime + usage.ru_stime) * 1e6)
            send(control, Exited(children.pop(pid), pid, status, cpu_us, usage.ru_maxrss * 1024))


def be_child(ask: Fork, fds: list[int], function: Function | None) -> NoReturn:
    os.setsid()
    die_with_parent()
    peer = socket.socket(fileno=fds[0])
    os.dup2(fds[1], 1)
    os.dup2(fds[1], 2)
    os.close(fds[1])
    if ask.role is ChildRole.TEMPLATE:
        be_template(peer, ask.plan)
    if ask.role is ChildRole.PROBE:
        be_probe(peer, ask.plan)
    be_worker(peer, ask.plan, function)


def be_template(control: socket.socket, plan: RevisionPlan) -> NoReturn:
    if plan.env.get("MISBEHAVE") == "template sends garbage":
        control.send(b"\xc1garbage")
        signal.pause()
    started_s = time.monotonic()
    try:
        function = load(plan)
    except Exception as error:  # noqa: BLE001 - around user code
        send(control, Failed(FunctionError(str(error), type(error).__name__, stack_trace=("line 1",))))
        os._exit(1)
    unsafe = ("1 more thread",) if threading.active_count() > 1 else ()
    load_ms = (time.monotonic() - started_s) * 1000
    send(control, Ready(os.getpid(), {"load": load_ms}, unsafe))
    wait_for_forks(control, function)


def be_probe(peer: socket.socket, plan: RevisionPlan) -> NoReturn:
    if plan.env.get("MISBEHAVE") == "probe dies":
        os.write(1, b"last words\n")
        os._exit(3)
    if plan.env.get("MISBEHAVE") == "probe hangs":
        signal.pause()
    peer.sendall(encode(Hello({})))
    os._exit(0)


def be_worker(peer: socket.socket, plan: RevisionPlan, function: Function | None) -> NoReturn:
    if plan.env.get("MISBEHAVE") == "worker dies before hello":
        os.write(1, b"last words\n")
        os._exit(3)
    if plan.env.get("MISBEHAVE") == "worker never says hello":
        signal.pause()
    one_shot = plan.runtime in (Runtime.DESCRIBE, Runtime.PREPARE, Runtime.JOB)
    try:
        function = function or load(plan)
    except Exception as error:  # noqa: BLE001 - around user code
        peer.sendall(
            encode(LoadError(), msgspec.json.encode(FunctionError(str(error), type(error).__name__)))
        )
        os._exit(1)
    peer.sendall(encode(Hello({"restore": 0.1})))
    reader: FrameReader[ToWorker] = FrameReader(ToWorker)
    while chunk := peer.recv(1 << 18):
        for header, body in reader.feed(chunk):
            if isinstance(header, Stop):
                os._exit(0)
            if isinstance(header, Wake):  # one that was parked: it has said hello before it was asked
                continue
            assert isinstance(header, Call), header
            serve(peer, plan, function, header, body)
            if one_shot:
                os._exit(0)
    os._exit(0)


def serve(peer: socket.socket, plan: RevisionPlan, function: Function, call: Call, body: bytes) -> None:
    match plan.env.get("MISBEHAVE"):
        case "worker sends garbage":
            peer.sendall(b"\xff" * 64)
        case "worker answers what was not asked":
            call = msgspec.structs.replace(call, call_id=call.call_id + 1)
        case "worker sends progress":
            peer.sendall(encode(Progress(call.call_id), b'{"step":1}'))
    started_s = time.monotonic()
    try:
        status, answer = Status.OK, msgspec.json.encode(function(msgspec.json.decode(body), None))
    except Exception as error:  # noqa: BLE001 - around user code
        status, answer = (
            Status.FAILED,
            msgspec.json.encode(FunctionError(str(error), type(error).__name__, call.invocation_id)),
        )
    run_us = round((time.monotonic() - started_s) * 1e6)
    rss_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    one_shot = plan.runtime in (Runtime.DESCRIBE, Runtime.PREPARE, Runtime.JOB)
    header = Answer(call.call_id, status, "application/json", run_us, 0, rss_bytes, retiring=one_shot)
    peer.sendall(encode(header, answer))


def load(plan: RevisionPlan) -> Function:
    module, _, name = plan.entrypoint.partition(":")
    sys.path.insert(0, plan.code_dir)
    function: Function = getattr(importlib.import_module(module), name)
    return function


def send(control: socket.socket, message: Ready | Failed | Forked | Exited) -> None:
    control.send(msgspec.msgpack.encode(message))


def die_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    main(sys.argv)
