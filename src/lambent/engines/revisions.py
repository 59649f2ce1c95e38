"""Revision templates: what has been loaded once and is forked for every worker, and what may not be."""

from __future__ import annotations

import asyncio
import functools
import os
import socket
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from lambent.clock import Clock
from lambent.core.errors import LambentError, LoadFailed, PlatformFault
from lambent.core.spec import Temperature
from lambent.engines.base import LogSink, Primed, Safety
from lambent.engines.endings import KilledLoading
from lambent.engines.environments import Environments
from lambent.engines.flights import Flights
from lambent.engines.logs import LogPipe
from lambent.engines.probe import probe
from lambent.engines.template import Template, TemplateGone
from lambent.wire.process import NOT_FORKED, PROGRAMS, ChildRole, Ready, RevisionPlan

# How many revisions are remembered as proven; one that is forgotten is probed again.
PROVEN_MAX: Final = 10_000
# A template may end, through no fault of the asker, between being chosen and being asked: one more try.
TRIES_MAX: Final = 2

# Raises where the files of a revision cannot be used. Blocks.
Check = Callable[[RevisionPlan], None]


def nothing_to_check(_: RevisionPlan) -> None:
    """Take the files as they are."""


class _Known(msgspec.Struct, frozen=True):
    """What priming came to: a template, or the reasons why there is none."""

    template: Template | None
    safety: Safety


class Revisions:
    """Primes revisions, each in one template, and knows from which template its workers are forked."""

    def __init__(
        self,
        environments: Environments,
        *,
        watched: set[int],
        load_timeout_s: float,
        probe_timeout_s: float,
        log_sink: LogSink,
        clock: Clock,
        check: Check,
    ) -> None:
        self._environments: Final = environments
        self._watched: Final = watched
        self._load_timeout_s: Final = load_timeout_s
        self._probe_timeout_s: Final = probe_timeout_s
        self._log_sink: Final = log_sink
        self._clock: Final = clock
        self._check: Final = check
        self._known: Final[dict[str, _Known]] = {}
        self._living: Final[dict[int, tuple[str, Template]]] = {}  # by pid: revision, template
        # What the probe of a revision's first template said. It is a matter of its code, and a wake has no
        # time for it.
        self._proven: Final[dict[str, tuple[str, ...]]] = {}
        # What was found last in a template that has gone: told, and looked at anew when it is loaded again.
        self._found: Final[dict[str, Safety]] = {}
        self._flights: Final[Flights[str, Primed]] = Flights()
        self._doubts: Final[Flights[str, None]] = Flights()

    async def prime(self, plan: RevisionPlan) -> Primed:
        """Bring the revision as far as it goes. Raises `LoadFailed`."""
        if self.source(plan.revision) is not None:
            known = self._known[plan.revision]
            return Primed(temperature=self.temperature(plan.revision), unsafe=known.safety.unsafe)
        return await self._flights.join(plan.revision, lambda: self._prime(plan))

    def priming(self, revision: str) -> bool:
        """Whether it is being primed now."""
        return self._flights.flying(revision)

    def source(self, revision: str) -> Template | None:
        """The template to fork a worker of this revision from, or None when it has to be primed."""
        known = self._known.get(revision)
        if known is None:
            return None
        if known.safety.unsafe:
            return self._environments.of(revision)
        return known.template if known.template is not None and known.template.usable else None

    def temperature(self, revision: str) -> Temperature:
        """How ready its templates are."""
        known = self._known.get(revision)
        if known is None or self._environments.of(revision) is None:
            return Temperature.COLD
        return Temperature.PRIMED if known.template and known.template.usable else Temperature.WARM

    def safety(self, revision: str) -> Safety:
        """What speaks against forking its template, as far as it is known."""
        known = self._known.get(revision)
        return known.safety if known else self._found.get(revision, Safety())

    async def chill(self, revision: str, to: Temperature) -> None:
        """Let its template go; at `cold` its environment's too, unless others use it. It has no workers."""
        known = self._known.get(revision)
        if known is None:
            return
        if to is Temperature.COLD:
            del self._known[revision]
        else:
            self._known[revision] = _Known(None, known.safety)
        if known.template is not None:
            known.template.close()
            await known.template.process.ended()
        # A prime may have begun meanwhile: the environment is then in use again.
        if to is Temperature.COLD and revision not in self._known and not self.priming(revision):
            await self._environments.release_now(revision)

    def all(self) -> Sequence[tuple[str, Template]]:
        """Every revision template that has not ended, with its revision."""
        return tuple(self._living.values())

    def doubt(self, plan: RevisionPlan) -> None:
        """Look at its files again; where they cannot be used any more, let its template go."""
        self._doubts.begin(plan.revision, lambda: self._look(plan))

    async def close(self) -> None:
        """Let all of them go and wait for their end."""
        await self._doubts.close()
        await self._flights.close()
        templates = [template for _, template in self.all()]
        for template in templates:
            template.close()
        for template in templates:
            await template.process.ended()

    async def _look(self, plan: RevisionPlan) -> None:
        try:
            await asyncio.to_thread(self._check, plan)
        except LambentError:  # which whoever needs the revision next will hear
            known = self._known.pop(plan.revision, None)
            if known is not None and known.template is not None:
                known.template.close()

    async def _prime(self, plan: RevisionPlan) -> Primed:
        try:
            killed: KilledLoading | None = None
            for _ in range(TRIES_MAX):
                try:
                    return await self._try(plan)
                except KilledLoading as failure:
                    killed = failure
                except TemplateGone:
                    killed = None
            raise killed or PlatformFault(
                f"the templates of {plan.deployment} ended {TRIES_MAX} times while it was loaded; try again"
            )
        except BaseException:
            self._known.pop(plan.revision, None)
            self._environments.release(plan.revision)
            raise

    async def _try(self, plan: RevisionPlan) -> Primed:
        environment, parts = await self._environments.acquire(plan.imports, plan.revision)
        known = self._known.get(plan.revision)
        if plan.runtime in PROGRAMS:
            known = self._known[plan.revision] = _Known(None, Safety(unsafe=(NOT_FORKED,)))
            self._remember(plan.revision, known.safety)
        elif known is None or not known.safety.unsafe:
            await asyncio.to_thread(self._check, plan)
            template, ready = await self._load(environment, plan, parts)
            try:
                safety = await self._judge(template, ready, plan, parts)
            except BaseException:
                template.close()
                raise
            if safety.unsafe:
                template.close()
            known = self._known[plan.revision] = _Known(None if safety.unsafe else template, safety)
            self._remember(plan.revision, safety)
        unsafe = known.safety.unsafe
        temperature = Temperature.WARM if unsafe else Temperature.PRIMED
        return Primed(temperature=temperature, unsafe=unsafe, parts_ms=parts)

    async def _judge(
        self, template: Template, ready: Ready, plan: RevisionPlan, parts: dict[str, float]
    ) -> Safety:
        """What the template found in itself, unless its owner allows that, and what a fork of it shows."""
        found = ready.unsafe
        if found and not plan.unsafe_allowed:
            return Safety(unsafe=found)
        shown = await self._probe(template, plan, parts)
        return Safety(unsafe=(*shown, *found)) if shown else Safety(overruled=found)

    def _remember(self, revision: str, safety: Safety) -> None:
        self._found.pop(revision, None)
        if safety != Safety():
            if len(self._found) >= PROVEN_MAX:
                del self._found[next(iter(self._found))]
            self._found[revision] = safety

    async def _load(
        self, environment: Template, plan: RevisionPlan, parts: dict[str, float]
    ) -> tuple[Template, Ready]:
        template = await self._fork(environment, plan, parts)
        try:
            ready = await template.loaded(self._load_timeout_s)
        except LoadFailed:
            # It dies with the environment that it was forked from; that is no fault of the user's code.
            if not environment.usable:
                raise TemplateGone(environment.name) from None
            raise
        parts |= ready.parts_ms
        return template, ready

    async def _probe(
        self, template: Template, plan: RevisionPlan, parts: dict[str, float]
    ) -> tuple[str, ...]:
        known = self._proven.get(plan.revision)
        if known is not None:
            return known
        began_s = self._clock.now_s()
        unsafe = await probe(template, plan, timeout_s=self._probe_timeout_s)
        parts["probe"] = (self._clock.now_s() - began_s) * 1000
        if len(self._proven) >= PROVEN_MAX:
            del self._proven[next(iter(self._proven))]
        self._proven[plan.revision] = unsafe
        return unsafe

    async def _fork(self, environment: Template, plan: RevisionPlan, parts: dict[str, float]) -> Template:
        child = f"t-{os.urandom(6).hex()}"
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        log = LogPipe(on_chunk=functools.partial(self._log_sink.write, plan, child))
        try:
            with theirs:
                born = await environment.fork(
                    child, ChildRole.TEMPLATE, plan, (theirs.fileno(), log.writing_fd)
                )
        except BaseException:
            ours.close()
            log.close()
            raise
        log.hand_over()
        parts["fork"] = born.fork_ms
        pid = born.process.pid
        template = Template(
            f"the template of {plan.deployment}",
            born.process,
            ours,
            log,
            watched=self._watched,
            on_gone=functools.partial(self._living.__delitem__, pid),
        )
        self._living[pid] = (plan.revision, template)
        return template
