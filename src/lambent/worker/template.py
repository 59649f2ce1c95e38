"""A template: waits for orders on its control socket, forks, and reaps what it forked."""

from __future__ import annotations

import gc
import importlib
import os
import select
import sys
from typing import Final

import msgspec

from lambent.clock import Clock
from lambent.runtimes.base import MODULES, Served
from lambent.runtimes.outputs import flush
from lambent.wire.process import ChildRole, Exited, Forked, RevisionPlan, Runtime
from lambent.worker.channel import BrokenOrder, Channel, Order
from lambent.worker.renewal import Renewal

FDS_OF_A_CHILD: Final = 2  # [control or stream, log]
FACE: Final = "lambent.client.app"  # what the code of a job imports of us


class Loaded(msgspec.Struct, frozen=True):
    """What a template has done for its forks. An environment template serves no revision."""

    renewal: Renewal
    revision: str = ""
    servable: Served | None = None
    practice_s: float = 0.0  # what the last call that nobody made took


class Birth(msgspec.Struct, frozen=True, kw_only=True):
    """A fresh fork, as it finds itself. `endpoint_fd` is its control socket or its stream, by its role."""

    role: ChildRole
    name: str
    plan: RevisionPlan
    endpoint_fd: int
    log_fd: int
    parent: int
    forked_s: float
    loaded: Loaded

    @property
    def servable(self) -> Served | None:
        """What the template loaded, if that was this plan's revision."""
        return self.loaded.servable if self.loaded.revision == self.plan.revision else None


class Child(msgspec.Struct, frozen=True):
    """A fork that was not reaped yet."""

    name: str
    pid: int


class Template:
    """One template's life."""

    def __init__(self, channel: Channel, clock: Clock, loaded: Loaded, *, log_fd: int | None = None) -> None:
        self._channel: Final = channel
        self._clock: Final = clock
        self._loaded: Final = loaded
        self._log_fd: Final = log_fd
        # A pidfd becomes readable when its process ends. Unlike SIGCHLD it cannot be lost, merged with
        # another or taken away by a handler that user code installed.
        self._children: Final[dict[int, Child]] = {}
        # `poll` and not `epoll`, which a fork would share with its parent.
        self._poll: Final = select.poll()
        self._poll.register(channel, select.POLLIN)

    def serve(self) -> Birth:
        """Do as the server says. Returns in a fork alone, and ends the process when the server has gone."""
        while True:
            for fd, _ in self._poll.poll():
                if fd in self._children:
                    self._reap(fd)
                elif (birth := self._obey()) is not None:
                    return birth

    def _obey(self) -> Birth | None:
        order = self._channel.receive()
        if order is None:
            # Nothing is left to be done, neither here nor in the forks: the kernel kills them with us.
            os._exit(0)
        if len(order.fds) != FDS_OF_A_CHILD:
            raise BrokenOrder(f"a fork needs {FDS_OF_A_CHILD} descriptors, {len(order.fds)} came")
        return self._fork(order)

    def _fork(self, order: Order) -> Birth | None:
        if order.message.plan.runtime is Runtime.JOB:
            _import_once(MODULES[Runtime.JOB], FACE)
        flush()  # or the child would print it again
        parent, started_s = os.getpid(), self._clock.now_s()
        try:
            pid = os.fork()
        except OSError as error:
            self._stillborn(order, error)
            return None
        if pid == 0:
            self._let_go()
            return self._birth(order, parent, started_s)
        self._channel.send(Forked(order.message.child, pid, (self._clock.now_s() - started_s) * 1e3))
        order.close()
        pidfd = os.pidfd_open(pid)
        self._children[pidfd] = Child(order.message.child, pid)
        self._poll.register(pidfd, select.POLLIN)
        return None

    def _birth(self, order: Order, parent: int, forked_s: float) -> Birth:
        endpoint_fd, log_fd = order.fds
        return Birth(
            role=order.message.role,
            name=order.message.child,
            plan=order.message.plan,
            endpoint_fd=endpoint_fd,
            log_fd=log_fd,
            parent=parent,
            forked_s=forked_s,
            loaded=self._loaded,
        )

    def _let_go(self) -> None:
        """In the child: whatever is the template's, so that no worker can speak for it or hold its log."""
        self._channel.close()
        for pidfd in self._children:
            os.close(pidfd)
        if self._log_fd is not None:
            os.close(self._log_fd)

    def _stillborn(self, order: Order, error: OSError) -> None:
        order.close()
        status = (error.errno or 1) << 8
        self._channel.send(Exited(order.message.child, 0, status, 0, 0))

    def _reap(self, pidfd: int) -> None:
        child = self._children.pop(pidfd)
        self._poll.unregister(pidfd)
        os.close(pidfd)
        _, status, usage = os.wait4(child.pid, 0)
        cpu_us = round((usage.ru_utime + usage.ru_stime) * 1e6)
        self._channel.send(Exited(child.name, child.pid, status, cpu_us, usage.ru_maxrss * 1024))


def _import_once(*modules: str) -> None:
    """Have them before the fork: many short runs of jobs would each import them for themselves."""
    missing = [module for module in modules if module not in sys.modules]
    for module in missing:
        importlib.import_module(module)
    if missing:
        gc.freeze()  # as all that a template has
