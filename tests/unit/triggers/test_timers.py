"""Timers in virtual time: each tick is accepted once, whatever happens between two steps."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import pytest

from lambent.core.errors import InvalidSpec, NotFound
from lambent.core.invocation import Invocation, Outcome
from lambent.core.spec import DeploymentSpec, Kind
from lambent.core.timers import Source, Timer
from lambent.gateway.acceptance import Acceptance
from lambent.jobs.lanes import QueueFull
from lambent.pool.routes import Route
from lambent.storage.sql import SqlStore
from lambent.triggers.timers import KIND, Accept, Timers
from lambent.wire.aws.scheduled_events import event_of
from lambent.wire.process import RevisionPlan, Runtime
from tests.support.virtual_time import run
from tests.unit.jobs.durable import PROJECT, House, here, outcome, working

HOURLY = Timer(name="hourly", expression="cron(0 * * * ? *)")
START_UNIX_MS = 1_699_999_200_000  # 22:00, thirteen minutes before the story begins
HOUR_MS = 3_600_000


class Recorder:
    """Runs everything, and keeps what it was given."""

    def __init__(self) -> None:
        self.events: list[dict[str, object]] = []

    async def __call__(self, invocation: Invocation) -> Outcome:
        self.events.append(msgspec.json.decode(invocation.body))
        return outcome()


class Starts:
    """Starts no run, and remembers which were asked for."""

    def __init__(self) -> None:
        self.keys: list[tuple[str, str]] = []

    async def __call__(self, project: str, job: str, key: str) -> None:
        self.keys.append((job, key))


def timers_of(house: House, accept: Accept | None = None, start: Starts | None = None) -> Timers:
    accept, start = accept or Acceptance(house.queue, house.routes).accept, start or Starts()
    return Timers(
        house.store.records, accept=accept, start=start, routes=house.routes, clock=house.clock, disk=here
    )


@asynccontextmanager
async def ticking(
    house: House, accept: Accept | None = None, start: Starts | None = None
) -> AsyncIterator[Timers]:
    timers = timers_of(house, accept, start)
    await timers.restore(PROJECT)
    loop = asyncio.create_task(timers.run())
    try:
        yield timers
    finally:
        loop.cancel()
        await asyncio.wait([loop])


def test_each_tick_is_run_once_and_tells_its_time(store: SqlStore) -> None:
    runs = Recorder()

    async def story() -> None:
        async with working(store, runs) as house, ticking(house) as timers:
            await timers.replace(PROJECT, "f", [HOURLY])
            await asyncio.sleep(3 * 3600)

    run(story())
    assert [one["time"] for one in runs.events] == [
        f"2023-11-{at}:00:00Z" for at in ("14T23", "15T00", "15T01")
    ]
    assert (
        runs.events[0].items()
        >= {
            "version": "0",
            "detail-type": "Scheduled Event",
            "source": "aws.events",
            "account": "000000000000",
            "region": "us-east-1",
            "resources": ["arn:aws:events:us-east-1:000000000000:rule/hourly"],
            "detail": {},
        }.items()
    )
    assert len({one["id"] for one in runs.events}) == 3


def test_a_tick_of_a_jobs_schedule_starts_a_run_once(store: SqlStore) -> None:
    starts = Starts()

    async def story() -> None:
        async with working(store, Recorder()) as house:
            spec = DeploymentSpec(name="fit", kind=Kind.JOB, schedule="30 * * * *; Europe/Berlin")
            plan = RevisionPlan(
                revision="r-fit", deployment="fit", project=PROJECT, number=1, runtime=Runtime.JOB
            )
            async with ticking(house, start=starts):
                house.routes.put(Route(project=PROJECT, name="fit", spec=spec, plan=plan))
                await asyncio.sleep(60)
                before = store.records.all(PROJECT, KIND)
                await asyncio.sleep(2 * 3600)
            store.records.put(*before)  # as if no tick had been marked
            async with ticking(house, start=starts):
                await asyncio.sleep(60)

    run(story())
    assert [job for job, _ in starts.keys] == ["fit"] * 3
    assert starts.keys[2] == starts.keys[1]  # the runner has a run for this key
    assert starts.keys[0] != starts.keys[1]


def test_what_was_missed_while_no_server_ran_is_made_good_once(store: SqlStore) -> None:
    runs = Recorder()

    async def story() -> None:
        async with working(store, runs) as house:
            async with ticking(house) as timers:
                await timers.replace(PROJECT, "f", [HOURLY])
            await asyncio.sleep(5 * 3600)
            async with ticking(house):
                await asyncio.sleep(60)
            async with ticking(house):
                await asyncio.sleep(60)

    run(story())
    assert [one["time"] for one in runs.events] == ["2023-11-15T03:00:00Z"]


def test_who_is_killed_before_a_tick_is_marked_does_not_run_it_again(store: SqlStore) -> None:
    runs = Recorder()

    async def story() -> None:
        async with working(store, runs) as house:
            async with ticking(house) as timers:
                await timers.replace(PROJECT, "f", [HOURLY])
                before = store.records.all(PROJECT, KIND)
                await asyncio.sleep(3600)
            store.records.put(*before)  # as if the mark had not been written
            async with ticking(house):
                await asyncio.sleep(60)

    run(story())
    assert len(runs.events) == 1


def test_a_tick_that_finds_the_queue_full_is_tried_again(store: SqlStore) -> None:
    runs, refused = Recorder(), []

    async def story() -> None:
        async with working(store, runs) as house:
            own = Acceptance(house.queue, house.routes).accept

            async def accept(invocation: Invocation, /, *, key: str) -> object:
                if len(refused) < 3:
                    refused.append(key)
                    raise QueueFull("no room")
                return await own(invocation, key=key)

            async with ticking(house, accept) as timers:
                await timers.replace(PROJECT, "f", [HOURLY])
                await asyncio.sleep(3600)

    run(story())
    assert len({*refused}) == 1
    assert len(runs.events) == 1


def test_a_deployment_that_is_full_holds_up_nobody_elses_ticks(store: SqlStore) -> None:
    runs = Recorder()

    async def story() -> None:
        async with working(store, runs) as house:
            house.deploy("g")
            own = Acceptance(house.queue, house.routes).accept

            async def accept(invocation: Invocation, /, *, key: str) -> object:
                if invocation.deployment == "f":
                    raise QueueFull("no room")
                return await own(invocation, key=key)

            async with ticking(house, accept) as timers:
                await timers.replace(PROJECT, "f", [HOURLY])
                await timers.replace(PROJECT, "g", [HOURLY])
                await asyncio.sleep(3600)

    run(story())
    assert len(runs.events) == 1


def test_what_cannot_be_read_ends_no_start(store: SqlStore) -> None:
    async def story() -> None:
        async with working(store, Recorder()) as house:
            async with ticking(house) as timers:
                await timers.replace(PROJECT, "f", [HOURLY])
            [record] = store.records.all(PROJECT, KIND)
            nowhere = {**record.body, "timer": {**record.body["timer"], "zone": "Gone/Nowhere"}}
            store.records.put(
                msgspec.structs.replace(record, key="a", body=nowhere),
                msgspec.structs.replace(record, key="b", body={"of": "a later version"}),
            )
            async with ticking(house) as timers:
                assert [one.name for one in timers.of(PROJECT, "f")] == ["hourly"]

    run(story())


def test_an_alias_that_nobody_answers_under_costs_its_tick_alone(store: SqlStore) -> None:
    runs = Recorder()

    async def story() -> None:
        async with working(store, runs) as house, ticking(house) as timers:
            lost = msgspec.structs.replace(HOURLY, name="lost", alias="gone")
            await timers.replace(PROJECT, "f", [lost, HOURLY])
            await asyncio.sleep(3600)
            assert [one.last_unix_ms is not None for one in timers.of(PROJECT, "f")] == [True, True]

    run(story())
    assert len(runs.events) == 1


def test_what_is_not_named_any_more_ends_and_what_stays_goes_on(store: SqlStore) -> None:
    runs = Recorder()
    often = Timer(name="often", expression="rate(30 minutes)")

    async def story() -> None:
        async with working(store, runs) as house, ticking(house) as timers:
            await timers.replace(PROJECT, "f", [HOURLY, often])
            await asyncio.sleep(1200)
            [view] = await timers.replace(PROJECT, "f", [often])
            # It goes on counting from when it was made.
            assert view.next_unix_ms == house.clock.unix_ms() + 600_000
            await asyncio.sleep(3600)
            await timers.replace(PROJECT, "f", [])
            await asyncio.sleep(3600)
            assert store.records.all(PROJECT, KIND) == []

    run(story())
    assert len(runs.events) == 2


def test_a_deployment_that_is_removed_takes_its_timers_with_it(store: SqlStore) -> None:
    runs = Recorder()

    async def story() -> None:
        async with working(store, runs) as house, ticking(house) as timers:
            await timers.replace(PROJECT, "f", [HOURLY])
            house.routes.remove(PROJECT, "f")
            store.records.forget(PROJECT, "f", [KIND])
            await asyncio.sleep(3600)
            assert timers.of(PROJECT, "f") == ()
            house.deploy()
            assert timers.of(PROJECT, "f") == ()
            with pytest.raises(NotFound):
                await timers.replace(PROJECT, "g", [HOURLY])

    run(story())
    assert runs.events == []


def test_a_deployments_own_schedule_comes_and_goes_with_its_setting(store: SqlStore) -> None:
    runs = Recorder()

    async def story() -> None:
        async with working(store, runs) as house, ticking(house) as timers:
            house.deploy(schedule="30 1 * * *; Europe/Berlin")
            await asyncio.sleep(1)
            [view] = timers.of(PROJECT, "f")
            assert (view.name, view.expression, view.zone) == ("", "30 1 * * *", "Europe/Berlin")
            assert len(await timers.replace(PROJECT, "f", [HOURLY])) == 2  # a template's are beside it
            await timers.replace(PROJECT, "f", [])
            await asyncio.sleep(3 * 3600)
            house.deploy(description="another", schedule="30 1 * * *; Europe/Berlin")
            await asyncio.sleep(1)
            assert timers.of(PROJECT, "f")[0].last_unix_ms is not None  # it goes on
            house.deploy()
            await asyncio.sleep(24 * 3600)
            assert timers.of(PROJECT, "f") == ()
            assert store.records.all(PROJECT, KIND) == []

    run(story())
    assert [one["time"] for one in runs.events] == ["2023-11-15T00:30:00Z"]
    assert runs.events[0]["resources"] == ["arn:aws:events:us-east-1:000000000000:rule/f"]


def test_names_are_told_apart_and_counted(store: SqlStore) -> None:
    async def story() -> None:
        async with working(store, Recorder()) as house:
            timers = timers_of(house)
            with pytest.raises(InvalidSpec, match="a name of its own"):
                await timers.replace(PROJECT, "f", [HOURLY, HOURLY])
            many = [msgspec.structs.replace(HOURLY, name=str(number)) for number in range(101)]
            with pytest.raises(InvalidSpec, match="at most 100"):
                await timers.replace(PROJECT, "f", many)

    run(story())


def test_the_scheduler_fills_in_what_an_input_asks_for() -> None:
    asks = '{"at": "<aws.scheduler.scheduled-time>", "id": "<aws.scheduler.execution-id>"}'
    timer = Timer(name="s", expression="rate(1 hour)", source=Source.SCHEDULER, input=asks)
    told = event_of(timer, "f", tick_unix_ms=START_UNIX_MS + HOUR_MS, id_="x")
    assert msgspec.json.decode(told) == {"at": "2023-11-14T23:00:00Z", "id": "x"}
    as_rule = msgspec.structs.replace(timer, source=Source.RULE)
    assert event_of(as_rule, "f", tick_unix_ms=0, id_="x").decode() == asks


def test_the_schedulers_own_event_has_its_detail_as_text() -> None:
    timer = Timer(name="s", expression="rate(1 hour)", source=Source.SCHEDULER)
    told = msgspec.json.decode(event_of(timer, "f", tick_unix_ms=START_UNIX_MS, id_="x"))
    assert (told["source"], told["detail"]) == ("aws.scheduler", "{}")
    assert told["resources"] == ["arn:aws:scheduler:us-east-1:000000000000:schedule/default/s"]
