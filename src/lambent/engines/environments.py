"""Environment templates: one per interpreter and set of imports, shared by the revisions that need it."""

from __future__ import annotations

import asyncio
import ctypes
import functools
import socket
import subprocess
from collections.abc import Sequence
from typing import Final

import msgspec

from lambent.clock import Clock
from lambent.core.errors import LoadFailed
from lambent.engines.flights import Flights
from lambent.engines.logs import LogPipe
from lambent.engines.processes import Process, become_subreaper
from lambent.engines.template import Template

# What of the server's own environment its processes may see. The rest, keys and passwords among it, stays
# here.
PASSED_ON: Final = frozenset({
    "PATH", "HOME", "USER", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "PYTHONPATH", "LD_LIBRARY_PATH",
    "SSL_CERT_FILE", "SSL_CERT_DIR", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY",
    "http_proxy", "https_proxy", "no_proxy",
})  # fmt: skip

AWS_LANGUAGE: Final = "en_US.UTF-8"
LOCALE_ALL: Final = 0x1FBF  # glibc's LC_ALL_MASK; musl takes any name


class EnvironmentSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How environment templates are made.

    `mark` is an assignment that all their descendants inherit in their environment; `keep_s` is how long one
    stays that nobody uses any more.
    """

    interpreter: str
    environ: dict[str, str]
    mark: str
    load_timeout_s: float
    keep_s: float


class Environments:
    """Starts environment templates at need and lets them go when their last user has left.

    A user is a name: a revision, or a worker that was forked for one call alone.
    """

    def __init__(self, settings: EnvironmentSettings, *, watched: set[int], clock: Clock) -> None:
        self._settings: Final = settings
        self._watched: Final = watched
        self._clock: Final = clock
        self._current: Final[dict[tuple[str, ...], Template]] = {}
        self._living: Final[dict[int, tuple[tuple[str, ...], Template]]] = {}  # by pid, with those leaving
        self._timers: Final[dict[tuple[str, ...], asyncio.TimerHandle]] = {}
        self._users: Final[dict[str, tuple[str, ...]]] = {}
        self._flights: Final[Flights[tuple[str, ...], tuple[Template, dict[str, float]]]] = Flights()

    async def acquire(self, imports: Sequence[str], user: str) -> tuple[Template, dict[str, float]]:
        """A usable template, in use by `user` from now on, and the milliseconds of its wake if there was one.

        The user holds it even when this fails, until `release`. Raises `LoadFailed`, `TemplateGone`.
        """
        key = self._users[user] = tuple(sorted(set(imports)))
        if (timer := self._timers.pop(key, None)) is not None:
            timer.cancel()
        template = self._current.get(key)
        if template is not None and template.usable:
            return template, {}
        return await self._flights.join(key, lambda: self._start(key))

    def release(self, user: str) -> None:
        """`user` needs it no more. The last one to leave lets the template stay for `keep_s`."""
        key = self._users.pop(user, None)
        if key is not None and key not in self._users.values():
            loop = asyncio.get_running_loop()
            self._timers[key] = loop.call_later(self._settings.keep_s, self._close_unused, key)

    async def release_now(self, user: str) -> None:
        """`user` needs it no more; if it was the last one, the template has ended when this returns."""
        key = self._users.pop(user, None)
        template = None if key is None else self._close_unused(key)
        if template is not None:
            await template.process.ended()

    def of(self, user: str) -> Template | None:
        """The living template that `user` uses."""
        template = self._current.get(self._users[user]) if user in self._users else None
        return template if template is not None and template.usable else None

    def all(self) -> Sequence[tuple[tuple[str, ...], Template]]:
        """Every environment template that has not ended, with its imports, sorted."""
        return tuple(self._living.values())

    async def close(self) -> None:
        """Let all of them go and wait for their end."""
        await self._flights.close()
        templates = [template for _, template in self.all()]
        for template in templates:
            template.close()
        for template in templates:
            await template.process.ended()

    def _close_unused(self, key: tuple[str, ...]) -> Template | None:
        template = self._current.get(key)
        if template is None or key in self._users.values() or self._flights.flying(key):
            return None
        template.close()
        return template

    async def _start(self, key: tuple[str, ...]) -> tuple[Template, dict[str, float]]:
        began_s = self._clock.now_s()
        template = self._spawn(key)
        ready = await template.loaded(self._settings.load_timeout_s)
        total_ms = (self._clock.now_s() - began_s) * 1000
        others = {part: ms for part, ms in ready.parts_ms.items() if part != "exec"}
        return template, {"exec": max(0.0, total_ms - sum(others.values())), **others}

    def _spawn(self, key: tuple[str, ...]) -> Template:
        settings = self._settings
        become_subreaper()
        name = f"the environment ({', '.join(key) or 'no imports'})"
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        log = LogPipe(on_chunk=lambda _: None)  # nobody's: it belongs to many revisions
        command = [settings.interpreter, "-P", "-m", "lambent.worker.main"]
        command += ["--control-fd", str(theirs.fileno()), "--imports", ",".join(key)]
        try:
            # In the thread of the loop, which lives as long as the server: the kernel's signal on the death
            # of a parent comes when the parent's thread ends.
            popen = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log.writing_fd,
                stderr=log.writing_fd,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
                env=_environ(settings),
                cwd="/",
            )
        except (OSError, ValueError) as error:
            ours.close()
            log.close()
            raise LoadFailed(f"{settings.interpreter} could not be started: {error}") from error
        finally:
            theirs.close()
        log.hand_over()
        process = Process(popen.pid, watched=self._watched)
        # Reaped through its pidfd; `Popen` has to hear of it, or it would wait for a pid that may be
        # another's.
        process.exit.add_done_callback(lambda done: setattr(popen, "returncode", done.result().code or 0))
        on_gone = functools.partial(self._forget, key, popen.pid)
        template = Template(name, process, ours, log, watched=self._watched, on_gone=on_gone)
        self._current[key] = template
        self._living[popen.pid] = (key, template)
        return template

    def _forget(self, key: tuple[str, ...], pid: int) -> None:
        _, template = self._living.pop(pid)
        if self._current.get(key) is template:
            del self._current[key]


def language() -> str:
    """`LANG` of user code: as on AWS Lambda, or the locale with its characters that every machine has."""
    libc = ctypes.CDLL(None)
    libc.newlocale.restype = ctypes.c_void_p
    found = libc.newlocale(LOCALE_ALL, AWS_LANGUAGE.encode(), None)
    if not found:
        return "C.UTF-8"
    libc.freelocale(ctypes.c_void_p(found))
    return AWS_LANGUAGE


def _environ(settings: EnvironmentSettings) -> dict[str, str]:
    mark, _, value = settings.mark.partition("=")
    passed_on = {name: text for name, text in settings.environ.items() if name in PASSED_ON}
    return {"LANG": language(), **passed_on, mark: value}
