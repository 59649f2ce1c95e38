"""Invokes deployments by the clock, through the durable queue, and starts jobs: `core.timers` says when.

A tick is accepted under a key of its own, and is then marked as passed: who is killed in between meets the
key at the next start, so no tick is run twice. One that passed while no server ran is made good once.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Awaitable, Mapping, Sequence
from typing import Final, Protocol

import msgspec

from lambent.clock import Clock
from lambent.core.errors import InvalidSpec, LambentError
from lambent.core.invocation import Called, Invocation, id_from
from lambent.core.timers import OWN, TIMERS_MAX, Timer, checked_timer, due_tick, next_tick, own_timer
from lambent.pool.routes import Route, Routes
from lambent.storage.groups import Disk
from lambent.storage.records import Record, Records
from lambent.wire.aws.names import LATEST, Place
from lambent.wire.aws.scheduled_events import event_of
from lambent.wire.timers import TimerView
from lambent.wire.typed import from_fields

KIND: Final = "timer"
LOOK_AGAIN_S: Final = 30.0  # the machine's clock may be set while nothing is due
WAIT_S_MIN: Final = 0.01
PAUSE_S: Final = 5.0  # where a tick could not be stored

log = logging.getLogger(__name__)


class Accept(Protocol):
    """Puts an invocation into the durable queue, once for each `key`."""

    def __call__(self, invocation: Invocation, /, *, key: str) -> Awaitable[object]: ...


class Start(Protocol):
    """Starts a run of a job, one for each `key`."""

    def __call__(self, project: str, job: str, key: str, /) -> Awaitable[object]: ...


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """A timer as it lies in the store: since when, the tick up to which it is done, and the last that ran."""

    timer: Timer
    began_unix_ms: int
    after_unix_ms: int
    last_unix_ms: int = 0

    @property
    def next_unix_ms(self) -> int | None:
        """Its next tick."""
        return next_tick(self.timer, began_unix_ms=self.began_unix_ms, after_unix_ms=self.after_unix_ms)


class Standing(msgspec.Struct, frozen=True):
    """A timer and its next tick, which takes a moment to find."""

    kept: Kept
    next_unix_ms: int | None


class Timers:
    """The timers of every deployment."""

    def __init__(
        self,
        records: Records,
        *,
        accept: Accept,
        start: Start,
        routes: Routes,
        clock: Clock,
        disk: Disk = asyncio.to_thread,
    ) -> None:
        self._records: Final = records
        self._accept: Final = accept
        self._start: Final = start
        self._clock: Final = clock
        self._routes: Final = routes
        self._standing: Final[dict[tuple[str, str], dict[str, Standing]]] = {}
        self._moved: Final[set[tuple[str, str]]] = set()  # whose own schedule may be another one
        self._changing: Final = asyncio.Lock()
        self._poke: Final = asyncio.Event()
        self._disk: Final = disk
        self._paused = False
        routes.subscribe(self._follow)

    async def restore(self, project: str) -> None:
        """At start, before the queue forgets a key: what is kept holds, what was missed is made good."""
        for record in await self._disk(lambda: self._records.all(project, KIND)):
            if self._routes.get(project, record.name) is not None:
                self._take_up(project, record)
        try:
            await self._tick()
        except LambentError as error:
            log.warning("timers_stand", extra={"reason": error.message})

    async def run(self) -> None:
        """Work until cancelled. What cannot be stored now is tried again."""
        while not self._paused:
            self._poke.clear()
            wait_s = PAUSE_S
            try:
                await self._tick()
                wait_s = self._wait_s()
            except LambentError as error:
                log.warning("timers_stand", extra={"reason": error.message})
            try:
                async with asyncio.timeout(wait_s):
                    await self._poke.wait()
            except TimeoutError:
                continue

    def pause(self) -> None:
        """Invoke nothing more. For good: the server is about to stop."""
        self._paused = True

    def of(self, project: str, deployment: str) -> Sequence[TimerView]:
        """The timers of a deployment, by name."""
        found = self._standing.get((project, deployment), {})
        return tuple(_view(found[name]) for name in sorted(found))

    async def replace(self, project: str, deployment: str, timers: Sequence[Timer]) -> Sequence[TimerView]:
        """Let these be the timers of a deployment, and no others. One that stays as it is goes on.

        Raises `NotFound`, and `InvalidSpec` where one is not right.
        """
        wanted = _named(timers)
        async with self._changing:
            self._routes.invocable(project, deployment)
            before = dict(self._standing.get((project, deployment), {}))
            before.pop(OWN, None)
            for name in before.keys() - wanted.keys():
                await self._forget(project, deployment, name)
                self._standing[project, deployment].pop(name)
            now_unix_ms = self._clock.unix_ms()
            for name, timer in wanted.items():
                if name not in before or before[name].kept.timer != timer:
                    kept = _changed(before[name].kept if name in before else None, timer, now_unix_ms)
                    await self._keep(project, deployment, kept)
            self._poke.set()
        return self.of(project, deployment)

    async def _tick(self) -> None:
        """Invoke for all that is due. Raises where one could not be stored, once the others are through."""
        refusal: LambentError | None = None
        async with self._changing:
            await self._adopt()
            for (project, deployment), timers in tuple(self._standing.items()):
                for one in tuple(timers.values()):
                    now_unix_ms = self._clock.unix_ms()
                    if self._paused or one.next_unix_ms is None or one.next_unix_ms > now_unix_ms:
                        continue
                    try:
                        await self._fire(project, deployment, one.kept, now_unix_ms)
                    except LambentError as error:
                        refusal = error
        if refusal is not None:
            raise refusal

    async def _adopt(self) -> None:
        """Let the schedules that deployments have as a setting be timers of theirs."""
        for project, deployment in tuple(self._moved):
            route = self._routes.get(project, deployment)
            before = self._standing.get((project, deployment), {}).get(OWN)
            wanted = own_timer(route.spec.schedule) if route and route.spec.schedule else None
            if wanted is None and before is not None:
                await self._forget(project, deployment, OWN)
                self._standing.get((project, deployment), {}).pop(OWN, None)
            elif wanted is not None and (before is None or before.kept.timer != wanted):
                kept = _changed(before.kept if before else None, wanted, self._clock.unix_ms())
                try:
                    await self._keep(project, deployment, kept)
                except InvalidSpec as error:  # its time zone was known when it was deployed
                    log.warning("timer_not_served", extra={"deployment": deployment, "reason": error.message})
            self._moved.discard((project, deployment))

    async def _fire(self, project: str, deployment: str, kept: Kept, now_unix_ms: int) -> None:
        timer = kept.timer
        tick = due_tick(
            timer,
            began_unix_ms=kept.began_unix_ms,
            after_unix_ms=kept.after_unix_ms,
            now_unix_ms=now_unix_ms,
        )
        if tick is None:
            return
        key = f"timer\n{timer.name}\n{kept.began_unix_ms}\n{tick}"
        try:
            await self._told(project, deployment, timer, key, tick)
        except LambentError as error:
            if error.retryable:
                raise
            # Nobody answers under its alias, say: that is not mended by asking again.
            log.warning("tick_lost", extra={"deployment": deployment, "reason": error.message})
        done = msgspec.structs.replace(kept, after_unix_ms=tick, last_unix_ms=tick)
        await self._keep(project, deployment, done)

    async def _told(self, project: str, deployment: str, timer: Timer, key: str, tick: int) -> None:
        """A run of a job starts, anything else is invoked: once for each tick."""
        route = self._routes.get(project, deployment)
        if route is not None and not route.invocable:
            await self._start(project, deployment, key)
            return
        told = id_from(hashlib.sha256(f"{project}\n{deployment}\n{key}".encode()).digest())
        invocation = Invocation(
            id=told,
            project=project,
            deployment=deployment,
            body=event_of(timer, deployment, tick_unix_ms=tick, id_=told),
            alias=timer.alias,
            called=Called(Place().function_arn(deployment, timer.alias), "" if timer.alias else LATEST),
        )
        await self._accept(invocation, key=key)

    async def _keep(self, project: str, deployment: str, kept: Kept) -> None:
        name = kept.timer.name
        record = Record(
            project=project,
            kind=KIND,
            name=deployment,
            key=name,
            body=msgspec.to_builtins(kept),
            changed_unix_ms=self._clock.unix_ms(),
        )
        await self._disk(lambda: self._records.put(record))
        if self._routes.get(project, deployment) is None:  # removed meanwhile, and what was kept of it
            await self._forget(project, deployment, name)
            return
        self._put(project, deployment, kept)

    async def _forget(self, project: str, deployment: str, name: str) -> None:
        await self._disk(lambda: self._records.remove(project, KIND, deployment, name))

    def _take_up(self, project: str, record: Record) -> None:
        """One that cannot be read, or whose time zone is not known any more, ends no start."""
        try:
            self._put(project, record.name, from_fields(record.body, Kept))
        except (InvalidSpec, msgspec.ValidationError) as error:
            log.warning("timer_not_served", extra={"deployment": record.name, "reason": str(error)})

    def _put(self, project: str, deployment: str, kept: Kept) -> None:
        timers = self._standing.setdefault((project, deployment), {})
        timers[kept.timer.name] = Standing(kept, kept.next_unix_ms)

    def _follow(self, before: Route | None, after: Route | None) -> None:
        if before is not None and after is None and not before.beside:
            self._standing.pop((before.project, before.name), None)
        elif after is not None and not after.beside:
            self._moved.add((after.project, after.name))
            self._poke.set()

    def _wait_s(self) -> float:
        now_unix_ms = self._clock.unix_ms()
        ticks = [
            one.next_unix_ms
            for timers in self._standing.values()
            for one in timers.values()
            if one.next_unix_ms is not None
        ]
        return min(LOOK_AGAIN_S, max(WAIT_S_MIN, (min(ticks) - now_unix_ms) / 1e3)) if ticks else LOOK_AGAIN_S


def _named(timers: Sequence[Timer]) -> Mapping[str, Timer]:
    named = {timer.name: checked_timer(timer) for timer in timers}
    if len(named) != len(timers) or OWN in named or len(timers) > TIMERS_MAX:
        raise InvalidSpec(f"a deployment has at most {TIMERS_MAX} timers, each with a name of its own")
    return named


def _changed(before: Kept | None, timer: Timer, now_unix_ms: int) -> Kept:
    """What has passed is not made good under a new expression, nor once it is switched on again."""
    if before is None:
        return Kept(timer=timer, began_unix_ms=now_unix_ms, after_unix_ms=now_unix_ms)
    after = max(before.after_unix_ms, now_unix_ms)
    return msgspec.structs.replace(before, timer=timer, began_unix_ms=now_unix_ms, after_unix_ms=after)


def _view(one: Standing) -> TimerView:
    timer = one.kept.timer
    return TimerView(
        name=timer.name,
        expression=timer.expression,
        zone=timer.zone,
        alias=timer.alias,
        enabled=timer.enabled,
        next_unix_ms=one.next_unix_ms,
        last_unix_ms=one.kept.last_unix_ms or None,
    )
