"""The server's handle of a template: ask it to fork, hear how its children live and die."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from lambent.core.errors import PlatformFault
from lambent.engines.base import Exit
from lambent.engines.control import Control, ControlEnded
from lambent.engines.endings import died_loading, hung_loading, load_failed
from lambent.engines.logs import LogPipe
from lambent.engines.owed import owed
from lambent.engines.proc import parent_of
from lambent.engines.processes import Process
from lambent.wire.process import (
    ChildRole,
    Exited,
    Failed,
    Fork,
    Forked,
    FromTemplate,
    Ready,
    RevisionPlan,
)

# A template answers `Fork` in milliseconds; one that does not is stuck, unless the machine is.
FORK_TIMEOUT_S: Final = 10.0
# What it may take to leave after its control socket was closed.
TEMPLATE_GRACE_S: Final = 2.0
# When it is worth asking for a fork again that the kernel refused.
RETRY_AFTER_S: Final = 1.0


class TemplateGone(Exception):
    """The template ended, for no fault of what was asked of it. Another one may be started."""


class TemplateHung(TemplateGone):
    """It was told to fork and did not, and was ended for that."""


class Born(msgspec.Struct, frozen=True):
    """A child that a template forked, and what the fork cost."""

    process: Process
    fork_ms: float


class Template:
    """One template process. `name` is for people; `on_gone` is called once, when it has ended."""

    def __init__(
        self,
        name: str,
        process: Process,
        control: socket.socket,
        log: LogPipe,
        *,
        watched: set[int],
        on_gone: Callable[[], None],
        fork_timeout_s: float = FORK_TIMEOUT_S,
    ) -> None:
        self.name: Final = name
        self.process: Final = process
        self._log: Final = log
        self._watched: Final = watched
        self._on_gone: Final = on_gone
        self._fork_timeout_s: Final = fork_timeout_s
        self._loop: Final = asyncio.get_running_loop()
        self._ready: Final[asyncio.Future[Ready]] = self._loop.create_future()
        self._forks: Final[dict[str, asyncio.Future[Born]]] = {}
        self._children: Final[dict[str, Process]] = {}
        self._control: Final = Control(control, on_message=self._hear, on_end=self.process.kill)
        self._loaded = False
        self._closing = False
        process.watch(self._gone)
        process.exit.add_done_callback(lambda _: log.close())

    @property
    def usable(self) -> bool:
        """Whether it has loaded and may be asked to fork."""
        return self.process.alive and not self.process.doomed and not self._closing and self._loaded

    async def loaded(self, timeout_s: float) -> Ready:
        """Wait until it has done its imports or its load; it is ended if this is cancelled or fails.

        Raises `LoadFailed`; `TemplateGone` when it was ended by others.
        """
        try:
            async with asyncio.timeout(timeout_s):
                ready = await self._ready
            self._loaded = True
            return ready
        except TimeoutError:
            raise hung_loading(self.name, timeout_s, self._log.tail()) from None
        except TemplateGone:
            how = await self.process.ended()
            if self._closing:
                raise
            raise died_loading(self.name, how, self._log.tail()) from None
        finally:
            if not self._loaded:
                self.process.kill()

    async def fork(self, child: str, role: ChildRole, plan: RevisionPlan, descriptors: Sequence[int]) -> Born:
        """Fork a child; the descriptors stay the caller's to close.

        A child whose asker was cancelled is killed as soon as it is born. Raises `TemplateGone`, of which
        `TemplateHung` is the kind that did nothing for a long time, and `PlatformFault` when the kernel
        refuses to fork.
        """
        if not self.usable:
            raise TemplateGone(self.name)
        born: asyncio.Future[Born] = self._loop.create_future()
        self._forks[child] = born
        try:
            async with asyncio.timeout(self._fork_timeout_s):
                await self._control.send(Fork(child, role, plan), descriptors)
                return await owed(self.process, born)
        except TimeoutError:
            self.process.kill()
            raise TemplateHung(self.name) from None
        except ControlEnded:
            self.process.kill()
            raise TemplateGone(self.name) from None
        except BaseException:
            # It may have been born in the very turn in which its asker was cancelled.
            if born.done() and not born.cancelled() and born.exception() is None:
                born.result().process.kill()
            raise
        finally:
            born.cancel()

    def close(self) -> None:
        """Let it go: it leaves when its control socket closes, or is made to."""
        if self._closing:
            return
        self._closing = True
        self._control.close()
        self._loop.call_later(TEMPLATE_GRACE_S, self.process.kill)

    def _hear(self, message: FromTemplate) -> None:
        match message:
            case Ready() if not self._ready.done():
                self._ready.set_result(message)
            case Failed(error) if not self._ready.done():
                self._ready.set_exception(load_failed(error))
            case Forked(child=child, pid=pid, fork_ms=fork_ms) if child in self._forks:
                self._birth(child, pid, fork_ms)
            case Exited(child=child) if child in self._forks:
                self._refuse(child, message)
            case Exited(child=child):
                if child in self._children:  # else it came after the time in which it was waited for
                    self._children[child].report(_exit_of(message))
            case Ready() | Failed() | Forked():
                # Out of turn. User code runs in a template, so it may be more than a mistake.
                self.process.kill()

    def _birth(self, child: str, pid: int, fork_ms: float) -> None:
        # Whatever is named here may later be killed, so it is believed only of the template's own children.
        if parent_of(pid) not in (self.process.pid, None):
            self.process.kill()
            return
        process = self._children[child] = Process(pid, watched=self._watched)
        process.exit.add_done_callback(lambda _: self._children.pop(child))
        born = self._forks.pop(child)
        if born.done():
            process.kill()
        else:
            born.set_result(Born(process, fork_ms))

    def _refuse(self, child: str, message: Exited) -> None:
        """It ended without having been born: the kernel refused the fork."""
        born = self._forks.pop(child)
        if not born.done():
            number = _exit_of(message).code or 0
            why = f"this machine has no room for another process now ({os.strerror(number)})"
            born.set_exception(PlatformFault(why, retry_after_s=RETRY_AFTER_S))

    def _gone(self) -> None:
        self._control.drain()
        self._control.close()
        waiting: list[asyncio.Future[Ready] | asyncio.Future[Born]] = [self._ready, *self._forks.values()]
        for answer in waiting:
            if not answer.done():
                answer.set_exception(TemplateGone(self.name))
        for child in list(self._children.values()):
            child.orphan()
        self._on_gone()


def _exit_of(message: Exited) -> Exit:
    try:
        code = os.waitstatus_to_exitcode(message.status)
    except ValueError:  # not the status of an end
        code = None
    return Exit(code=code, cpu_us=message.cpu_us, rss_bytes_max=message.rss_bytes_max)
