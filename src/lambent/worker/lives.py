"""What a fork becomes: a revision template, which loads and waits to be forked, or a worker, which serves."""

from __future__ import annotations

import faulthandler
import functools
import gc
import os
import signal
import sys
from types import FrameType
from typing import Final, cast

import msgspec

from lambent.clock import Clock
from lambent.runtimes import threads
from lambent.runtimes.base import Concurrent, Loading, Servable, Served, load
from lambent.runtimes.context import LOG_STREAM
from lambent.runtimes.faults import as_text, function_error
from lambent.runtimes.forked import leave_if_forked
from lambent.runtimes.outputs import flush
from lambent.wire.frames import Hello, LoadError
from lambent.wire.process import CANCEL_SIGNAL, ONE_SHOT, ChildRole, Failed, Ready, log_stream_of
from lambent.worker import forksafety, sandbox
from lambent.worker.channel import Channel
from lambent.worker.loop import Loop, total_ns
from lambent.worker.practice import BRIEF_S, practise
from lambent.worker.printing import Printing
from lambent.worker.rehearsal import rehearse
from lambent.worker.renewal import before_forks
from lambent.worker.stream import Stream
from lambent.worker.template import Birth, Loaded, Template

EXIT_NOT_LOADED: Final = 1


class Settled(msgspec.Struct, frozen=True):
    """A fork that has its own session and its own descriptors, under numbers that user code does not get."""

    endpoint_fd: int
    log_fd: int
    printing: Printing


def settle(birth: Birth) -> Settled:
    """Make a fork stand on its own: it leads a session, so that all it starts can be killed with it."""
    os.setsid()
    sandbox.die_with(birth.parent)
    log_fd = sandbox.own(birth.log_fd)
    return Settled(sandbox.own(birth.endpoint_fd), log_fd, Printing(log_fd))


def become_template(birth: Birth, clock: Clock) -> Template:
    """Load the revision and say so. Ends the process where it cannot be loaded."""
    loading = _loading(birth, clock)
    settled = settle(birth)
    channel, pid = Channel(settled.endpoint_fd), os.getpid()
    try:
        sandbox.enter(birth.plan)
        sandbox.limit_memory(birth.plan, mapped_bytes=birth.plan.mapped_bytes, for_good=False)
        servable = load(birth.plan, loading)
        with loading.part("practice"):
            practice_s = practise(servable, settled.printing, clock)
        renewal = before_forks(birth.loaded.renewal)
    except BaseException as error:  # noqa: BLE001 - around user code, which may raise anything
        leave_if_forked(pid, error)
        fault = function_error(error)
        _end_with(as_text(fault))
        channel.send(Failed(fault))
        os._exit(EXIT_NOT_LOADED)
    leave_if_forked(pid)
    # User code may have changed it, and a template that ignores SIGCHLD does not learn how its forks end.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    ready(channel, loading.parts_ms, own_fds={settled.endpoint_fd, settled.log_fd})
    loaded = Loaded(renewal, birth.plan.revision, servable, practice_s)
    return Template(channel, clock, loaded, log_fd=settled.log_fd)


def ready(channel: Channel, parts_ms: dict[str, float], *, own_fds: set[int]) -> None:
    """Come to rest, look whether forks are safe, and tell the server."""
    flush()
    gc.collect()
    sandbox.give_memory_back()
    # What is frozen is not looked at by later collections: they would write to every object's header, and
    # each page written to is a page no longer shared.
    gc.freeze()
    channel.send(Ready(os.getpid(), parts_ms, forksafety.reasons(own_fds)))


def become_worker(birth: Birth, clock: Clock) -> int:
    """Serve calls until the end, and return the status to exit with."""
    loading, pid = _loading(birth, clock), os.getpid()
    with loading.part("restore"):
        settled = settle(birth)
        stream = Stream(settled.endpoint_fd)
        _finish_on_sigterm(stream)
        faulthandler.enable(file=2)  # a segmentation fault then shows where, in the log
        _confine(birth)
    if birth.role is ChildRole.PARKED:
        if not _parked(birth, stream, settled.printing, clock):
            return 0
        loading.parts_ms.clear()  # nobody waited for that
    try:
        servable = _restored(birth, loading)
    except BaseException as error:  # noqa: BLE001 - around user code, which may raise anything
        leave_if_forked(pid, error)
        return _refuse(stream, error)
    leave_if_forked(pid)
    if birth.role is ChildRole.PROBE:
        rehearse(servable)
        stream.send(Hello(loading.parts_ms))
        return 0
    _hide_from_forks(stream, settled.log_fd)
    flush()
    hello = Hello(loading.parts_ms, total_ns() // 1000)
    return _serve(birth, stream, servable, settled.printing, hello)


def _serve(birth: Birth, stream: Stream, servable: Served, printing: Printing, hello: Hello) -> int:
    if isinstance(servable, Concurrent) and servable.is_concurrent:
        from lambent.worker.concurrent import ConcurrentLoop  # asyncio is not every worker's business

        signal.signal(CANCEL_SIGNAL, signal.SIG_IGN)  # it reads all the time
        return ConcurrentLoop(stream, servable, printing, concurrency=birth.plan.concurrency).run(
            hello, functools.partial(_refuse, stream)
        )
    loop = Loop(stream, cast(Servable, servable), printing, one_shot=birth.plan.runtime in ONE_SHOT)
    loop.listen()
    stream.send(hello)
    return loop.run()


def _refuse(stream: Stream, error: BaseException) -> int:
    """Tell the server that user code cannot be served, and why."""
    fault = function_error(error)
    _end_with(as_text(fault))
    stream.send(LoadError(), msgspec.json.encode(fault))
    return EXIT_NOT_LOADED


def _loading(birth: Birth, clock: Clock) -> Loading:
    loading = Loading(clock)
    loading.parts_ms["fork"] = (clock.now_s() - birth.forked_s) * 1e3
    return loading


def _confine(birth: Birth) -> None:
    """Hold it to what its plan grants."""
    # What the template has mapped is in this process already.
    to_map = 0 if birth.servable is not None else birth.plan.mapped_bytes
    sandbox.limit_memory(birth.plan, mapped_bytes=to_map, for_good=True)
    threads.use(birth.plan.threads, unless_in=birth.plan.env)


def _parked(birth: Birth, stream: Stream, printing: Printing, clock: Clock) -> bool:
    """Sleep until this worker is needed, and say whether it ever was."""
    if birth.servable is not None and birth.loaded.practice_s <= BRIEF_S:
        practise(birth.servable, printing, clock)
    return stream.woken()


def _restored(birth: Birth, loading: Loading) -> Served:
    """What the template loaded, made this worker's own; or loaded here, where the template could not."""
    with loading.part("restore"):
        birth.loaded.renewal.renew()
        if birth.servable is None:
            sandbox.enter(birth.plan)
        os.environ[LOG_STREAM] = log_stream_of(birth.plan, birth.name)
        if birth.servable is not None:
            return birth.servable
    servable = load(birth.plan, loading)
    gc.freeze()  # what lives as long as the worker need not be looked at by each collection
    return servable


def _finish_on_sigterm(stream: Stream) -> None:
    """On SIGTERM answer what runs and what has arrived, then exit. A handler of user code stays."""

    def finish(_: int, __: FrameType | None) -> None:
        stream.no_more()

    if signal.getsignal(signal.SIGTERM) is sandbox.ignore:
        signal.signal(signal.SIGTERM, finish)


def _hide_from_forks(stream: Stream, log_fd: int) -> None:
    """A process that user code forks must neither speak for the worker nor keep its stream open."""

    def forget() -> None:
        stream.close()
        os.close(log_fd)

    os.register_at_fork(after_in_child=forget)


def _end_with(text: str) -> None:
    sys.stderr.write(text)
    flush()
