"""Drives real template and worker processes over real sockets, as the engine does, one step at a time.

    with Environment(tmp_path) as environment:
        template = environment.fork_template(plan)
        worker = template.fork_worker(plan)
        answer, body = worker.call(b'{"x": 1}')

Everything waits with a bound, and everything that was started is gone when the block ends.
"""

import contextlib
import itertools
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from lambent.core.invocation import FunctionError, Status
from lambent.wire.frames import Answer, Call, FrameReader, Hello, LoadError, Progress, Stop, ToServer, encode
from lambent.wire.process import (
    PACKET_BYTES_MAX,
    ChildRole,
    Exited,
    Fork,
    Forked,
    FromTemplate,
    Ready,
    RevisionPlan,
    Runtime,
)
from tests.support.patience import PATIENT_S

M = TypeVar("M")

MEMORY_BYTES: Final = 256 * 1024 * 1024


class Gone(Exception):
    """The process at the other end has closed its socket."""


def plan_for(code_dir: Path, entrypoint: str = "app:handler", **changes: Any) -> RevisionPlan:
    """A plan with sensible values; the revision is new each time unless it is given."""
    plan = RevisionPlan(
        revision=os.urandom(8).hex(),
        deployment="hello",
        project="default",
        number=3,
        runtime=Runtime.HANDLER,
        entrypoint=entrypoint,
        code_dir=str(code_dir),
        memory_bytes=MEMORY_BYTES,
        function_arn="arn:aws:lambda:us-east-1:000000000000:function:hello",
        log_group="/aws/lambda/hello",
        log_stream="2026/12/01/[3]abc",
    )
    return msgspec.structs.replace(plan, **changes)


class Log:
    """A file that processes print to."""

    def __init__(self, path: Path) -> None:
        self.path: Final = path

    @contextmanager
    def opened(self) -> Iterator[int]:
        """A descriptor to give away."""
        fd = os.open(self.path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
        try:
            yield fd
        finally:
            os.close(fd)

    def text(self) -> str:
        return self.path.read_text()


class Worker:
    """The server's end of a worker's stream."""

    def __init__(self, name: str, stream: socket.socket, log: Log) -> None:
        self.name: Final = name
        self.log: Final = log
        self.pid = 0
        self.parts_ms: dict[str, float] = {}
        self.news: list[bytes] = []
        self._stream: Final = stream
        self._stream.settimeout(PATIENT_S)
        self._reader: Final[FrameReader[Any]] = FrameReader(ToServer)
        self._frames: Final[list[tuple[Any, bytes]]] = []
        self._call_ids: Final = itertools.count(1)

    def call(self, body: bytes | object = b"", **changes: Any) -> tuple[Answer, bytes]:
        """Run one call and return its answer; its news are in `news`."""
        self.send(body, **changes)
        return self.answer()

    def send(self, body: bytes | object = b"", **changes: Any) -> None:
        call = Call(next(self._call_ids), "11111111-2222-4333-8444-555555555555", 5000.0)
        self.write(encode(msgspec.structs.replace(call, **changes), _bytes(body)))

    def answer(self) -> tuple[Answer, bytes]:
        while True:
            header, body = self.frame()
            if isinstance(header, Answer):
                return header, body
            assert isinstance(header, Progress), header
            self.news.append(body)

    def value(self, body: bytes | object = b"", **changes: Any) -> Any:
        """The decoded result of a call that must succeed."""
        answer, said = self.call(body, **changes)
        assert answer.status is Status.OK, said
        return msgspec.json.decode(said)

    def error(self, body: bytes | object = b"", **changes: Any) -> FunctionError:
        """The error of a call that must fail."""
        answer, said = self.call(body, **changes)
        assert answer.status is not Status.OK, said
        return msgspec.json.decode(said, type=FunctionError)

    def frame(self, *, wait_s: float = PATIENT_S) -> tuple[Any, bytes]:
        """The next frame. Raises `Gone`, `TimeoutError`."""
        self._stream.settimeout(wait_s)
        while not self._frames:
            try:
                chunk = self._stream.recv(1 << 20)
            except ConnectionResetError:
                chunk = b""
            if not chunk:
                raise Gone(f"{self.name}; it printed: {self.log.text()}")
            self._frames.extend(self._reader.feed(chunk))
        return self._frames.pop(0)

    def write(self, raw: bytes) -> None:
        """Send it. What is sent to a worker that has ended is lost, as it is for the server."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._stream.sendall(raw)

    def stop(self) -> None:
        self.write(encode(Stop()))

    def close(self) -> None:
        self._stream.close()


class Template:
    """The server's end of a template's control socket."""

    def __init__(self, control: socket.socket, log: Log) -> None:
        self.log: Final = log
        self.pid = 0
        self.ready: Ready | None = None
        self._control: Final = control
        self._control.settimeout(PATIENT_S)
        self._messages: Final[list[Any]] = []
        self._names: Final = itertools.count(1)
        self._open: Final[list[Worker | Template]] = []

    def fork_template(self, plan: RevisionPlan) -> "Template":
        """A revision template that is ready."""
        template = self.start_template(plan)
        template.ready = template.expect(Ready)
        return template

    def start_template(self, plan: RevisionPlan) -> "Template":
        """A revision template that may fail to load."""
        name = f"t{next(self._names)}-{self.pid}"
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        template = Template(ours, Log(self.log.path.with_name(f"{name}.log")))
        self._open.append(template)
        with theirs, template.log.opened() as log_fd:
            template.pid = self._fork(name, ChildRole.TEMPLATE, plan, [theirs.fileno(), log_fd])
        return template

    def fork_worker(self, plan: RevisionPlan) -> Worker:
        """A worker that has said hello."""
        worker = self.start_worker(plan)
        header, body = worker.frame()
        assert isinstance(header, Hello), (header, body)
        worker.parts_ms = header.parts_ms
        return worker

    def load_error(self, plan: RevisionPlan) -> FunctionError:
        """The error of a worker that must fail to load."""
        header, body = self.start_worker(plan).frame()
        assert isinstance(header, LoadError), header
        return msgspec.json.decode(body, type=FunctionError)

    def start_worker(self, plan: RevisionPlan, *, role: ChildRole = ChildRole.WORKER) -> Worker:
        name = f"w{next(self._names)}-{self.pid}"
        ours, theirs = socket.socketpair()
        worker = Worker(name, ours, Log(self.log.path.with_name(f"{name}.log")))
        self._open.append(worker)
        with theirs, worker.log.opened() as log_fd:
            worker.pid = self._fork(name, role, plan, [theirs.fileno(), log_fd])
        return worker

    def exit_of(self, child: "Worker | Template") -> Exited:
        """How a child ended, when it has."""
        return self.expect(Exited, pid=child.pid)

    def expect(self, kind: type[M], *, pid: int | None = None) -> M:
        """The next message of this kind, and of this child where one is named; others wait. Raises `Gone`."""
        while True:
            for position, message in enumerate(self._messages):
                if isinstance(message, kind) and pid in {None, getattr(message, "pid", None)}:
                    return self._messages.pop(position)  # type: ignore[no-any-return]  # found by its type
            self._messages.append(self._receive())

    def send(self, message: Fork, fds: Sequence[int]) -> None:
        socket.send_fds(self._control, [msgspec.msgpack.encode(message)], list(fds))

    def close(self) -> None:
        """Let the process end, with all its forks."""
        for each in self._open:
            each.close()
        self._control.close()

    def _fork(self, name: str, role: ChildRole, plan: RevisionPlan, fds: Sequence[int]) -> int:
        self.send(Fork(name, role, plan), fds)
        forked = self.expect(Forked)
        assert forked.child == name
        return forked.pid

    def _receive(self) -> Any:
        try:
            packet = self._control.recv(PACKET_BYTES_MAX)
        except ConnectionResetError:
            packet = b""
        if not packet:
            raise Gone(f"the template; it printed: {self.log.text()}")
        return msgspec.msgpack.decode(packet, type=FromTemplate)


class Environment(Template):
    """An environment template, exec'd as the engine does it."""

    def __init__(
        self, folder: Path, *, imports: Sequence[str] = (), env: dict[str, str] | None = None
    ) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        super().__init__(ours, Log(folder / "environment.log"))
        fd = str(theirs.fileno())
        command = ["-m", "lambent.worker.main", "--control-fd", fd, "--imports", ",".join(imports)]
        with theirs, self.log.opened() as log_fd:
            self.process: Final = subprocess.Popen(
                [sys.executable, *command],
                env={"PATH": os.environ["PATH"], "HOME": str(folder), **(env or {})},
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=log_fd,
                stderr=log_fd,
                cwd=folder,
            )
        self.pid = self.process.pid

    def __enter__(self) -> "Environment":
        self.ready = self.expect(Ready)
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
        try:
            self.process.wait(PATIENT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise


@contextmanager
def watched(pid: int) -> Iterator["Ending"]:
    """See a process end that is not our child, by a descriptor that cannot mean another process later."""
    pidfd = os.pidfd_open(pid)
    try:
        yield Ending(pidfd)
    finally:
        os.close(pidfd)


class Ending:
    """The end of one process."""

    def __init__(self, pidfd: int) -> None:
        self._pidfd: Final = pidfd

    def came(self, wait_s: float = PATIENT_S) -> bool:
        """Whether it ends within the time."""
        readable, _, _ = select.select([self._pidfd], [], [], wait_s)
        return bool(readable)

    def kill(self) -> None:
        signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)


def _bytes(body: bytes | object) -> bytes:
    return body if isinstance(body, bytes) else msgspec.json.encode(body)
