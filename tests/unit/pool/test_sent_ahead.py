"""Short calls are sent to a busy worker ahead of their turn: that must show in nothing but the speed."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable

import msgspec
import pytest

from lambent.core.admission import AHEAD_MAX
from lambent.core.errors import Draining
from lambent.core.invocation import Outcome, PrintTail, Status
from lambent.engines.memory_worker import Dies, Program, Scene
from lambent.pool.traffic import Traffic
from lambent.wire.process import RevisionPlan
from tests.support.node import Node, node
from tests.support.virtual_time import run

TICK_S = 0.0001
SHORT_S = 0.0002  # so that as many as may be are sent ahead

Behaviour = Callable[[bytes, Scene], Awaitable[None]]


class Worked:
    """What the workers saw: a program that echoes after `SHORT_S` and does what a call's body asks for."""

    def __init__(self, behaviours: dict[bytes, Behaviour] | None = None) -> None:
        self.begun: list[bytes] = []
        self.first = asyncio.Event()
        self.most = 0  # that one worker ran at once
        self._behaviours = behaviours or {}

    def script(self, plan: RevisionPlan) -> Program:
        running = Counter[str]()

        async def work(body: bytes, scene: Scene) -> bytes:
            self.begun.append(body)
            self.first.set()
            running["now"] += 1
            self.most = max(self.most, running["now"])
            try:
                await asyncio.sleep(SHORT_S)
                verb = body.partition(b" ")[0]
                if verb in self._behaviours:
                    await self._behaviours[verb](body, scene)
            finally:
                running["now"] -= 1
            return body if plan.revision == "f-1" else plan.revision.encode()

        return Program(run=work)


async def measured(
    n: Node, *, timeout_s: float = 60, hold_s: float = 60, queue_depth_max: int = 1000
) -> None:
    """Deploy for one worker, and let one run be measured: from then on calls may be sent ahead."""
    n.deploy(workers_max=1, timeout_s=timeout_s, hold_s=hold_s, queue_depth_max=queue_depth_max)
    await n.dispatcher.invoke(n.invocation(body=b"first"))


def started(n: Node, *bodies: bytes) -> list[asyncio.Task[Outcome]]:
    return [asyncio.create_task(n.dispatcher.invoke(n.invocation(body=body))) for body in bodies]


def leases(n: Node) -> int:
    """How many calls the one worker has been sent and not answered."""
    crew = n.pool.crew("f-1")
    assert crew is not None
    (member,) = crew.members
    return member.leases


def numbered(count: int) -> list[bytes]:
    return [b"n %d" % number for number in range(count)]


async def hangs(_: bytes, __: Scene) -> None:
    await asyncio.Event().wait()


async def dies(_: bytes, __: Scene) -> None:
    raise Dies(3)


def test_calls_run_in_the_order_of_their_arrival_one_at_a_time() -> None:
    async def story() -> None:
        worked = Worked()
        async with node(worked.script) as n:
            await measured(n)
            tasks = started(n, *numbered(30))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert leases(n) == 1 + AHEAD_MAX
            bodies = [outcome.body for outcome in await asyncio.gather(*tasks)]
            assert bodies == numbered(30)
            assert worked.begun == [b"first", *numbered(30)]
            assert worked.most == 1

    run(story(), tick_s=TICK_S)


def test_nothing_is_sent_ahead_before_a_run_was_measured() -> None:
    async def story() -> None:
        worked = Worked()
        async with node(worked.script) as n:
            n.deploy(workers_max=1)
            tasks = started(n, *numbered(5))
            await worked.first.wait()
            assert leases(n) == 1
            await asyncio.gather(*tasks)

    run(story(), tick_s=TICK_S)


def test_one_long_run_ends_the_sending_ahead() -> None:
    async def story() -> None:
        async def long(_: bytes, __: Scene) -> None:
            await asyncio.sleep(0.5)

        worked = Worked({b"long": long})
        async with node(worked.script) as n:
            await measured(n)
            await n.dispatcher.invoke(n.invocation(body=b"long"))
            tasks = started(n, *numbered(10))
            await asyncio.sleep(TICK_S)
            assert leases(n) == 1
            await asyncio.gather(*tasks)

    run(story(), tick_s=TICK_S)


def test_nobody_is_sent_behind_a_call_that_takes_long_while_another_worker_is_quick() -> None:
    async def story() -> None:
        go_on = asyncio.Event()

        async def long(_: bytes, __: Scene) -> None:
            await go_on.wait()

        worked = Worked({b"long": long})
        async with node(worked.script) as n:
            n.deploy(workers_min=2, workers_max=2, timeout_s=60)
            await asyncio.sleep(1)  # both are there
            await n.dispatcher.invoke(n.invocation(body=b"first"))
            (waits,) = started(n, b"long")
            await asyncio.sleep(0.1)
            begun_s = n.clock.now_s()
            tasks = started(n, *numbered(30))
            await asyncio.gather(*tasks)
            assert n.clock.now_s() - begun_s < 0.05
            assert not waits.done()
            go_on.set()
            assert (await waits).status is Status.OK

    run(story(), tick_s=TICK_S)


@pytest.mark.parametrize("verb", [b"die", b"hang"])
@pytest.mark.parametrize("seed", range(25))
def test_who_ends_the_worker_fails_alone_and_the_others_run_elsewhere_once(seed: int, verb: bytes) -> None:
    dice = random.Random(seed)

    async def one(n: Node, body: bytes, at_s: float) -> Outcome:
        await asyncio.sleep(at_s)
        return await n.dispatcher.invoke(n.invocation(body=body))

    async def story() -> None:
        worked = Worked({b"die": dies, b"hang": hangs})
        async with node(worked.script) as n:
            await measured(n, timeout_s=1.0)
            bodies = [b"%s %d" % (verb if dice.random() < 0.1 else b"n", number) for number in range(60)]
            arrivals = [one(n, body, dice.randrange(200) * TICK_S) for body in bodies]
            outcomes = await asyncio.gather(*arrivals)
            ends = Status.EXITED if verb == b"die" else Status.TIMED_OUT
            for body, outcome in zip(bodies, outcomes, strict=True):
                assert outcome.status is (ends if body.startswith(verb) else Status.OK), body
            assert Counter(worked.begun) == Counter([b"first", *bodies])
            assert Counter(record.status for record in n.usage) == Counter(
                [Status.OK, *(outcome.status for outcome in outcomes)]
            )
            assert n.dispatcher.queued("default", "f") == 0

    run(story(), tick_s=TICK_S)


def test_who_was_sent_ahead_in_vain_keeps_the_place_of_its_arrival_even_in_a_full_queue() -> None:
    async def story() -> None:
        worked = Worked({b"die": dies})
        async with node(worked.script) as n:
            await measured(n, queue_depth_max=4)
            tasks = started(n, b"die", *numbered(AHEAD_MAX + 4))
            outcomes = await asyncio.gather(*tasks)
            assert [outcome.status for outcome in outcomes] == [Status.EXITED] + [Status.OK] * (AHEAD_MAX + 4)
            assert worked.begun == [b"first", b"die", *numbered(AHEAD_MAX + 4)]

    run(story(), tick_s=TICK_S)


def test_the_time_of_a_call_counts_from_its_turn() -> None:
    async def story() -> None:
        async def long(_: bytes, __: Scene) -> None:
            await asyncio.sleep(0.9)

        worked = Worked({b"long": long, b"hang": hangs})
        async with node(worked.script) as n:
            await measured(n, timeout_s=1.0)
            began_s = n.clock.now_s()
            first, second, last = await asyncio.gather(*started(n, b"long 1", b"long 2", b"hang"))
            assert [one.status for one in (first, second, last)] == [Status.OK, Status.OK, Status.TIMED_OUT]
            assert n.clock.now_s() - began_s == pytest.approx(0.9 + 0.9 + 1.0, abs=0.2)
            assert last.timing.run_ms == pytest.approx(1000, abs=2)

    run(story(), tick_s=TICK_S)


@pytest.mark.parametrize("seed", range(10))
def test_a_printed_tail_holds_what_its_own_call_printed_and_nothing_else(seed: int) -> None:
    dice = random.Random(seed)

    async def prints(body: bytes, scene: Scene) -> None:
        scene.print(body)

    async def tail_of(n: Node, body: bytes, at_s: float) -> tuple[bytes, bytes]:
        await asyncio.sleep(at_s)
        wanted = PrintTail.KEPT if dice.random() < 0.3 else PrintTail.DROPPED
        invocation = msgspec.structs.replace(n.invocation(body=body), print_tail=wanted)
        return b"" if wanted is PrintTail.DROPPED else body, (await n.dispatcher.invoke(invocation)).log_tail

    async def story() -> None:
        worked = Worked({b"n": prints})
        async with node(worked.script) as n:
            await measured(n)
            calls = [tail_of(n, body, dice.randrange(60) * TICK_S) for body in numbered(80)]
            for expected, tail in await asyncio.gather(*calls):
                assert tail == expected

    run(story(), tick_s=TICK_S)


def test_those_behind_the_last_call_of_a_worker_that_retires_run_on_the_next() -> None:
    async def story() -> None:
        worked = Worked()

        def mortal(plan: RevisionPlan) -> Program:
            return msgspec.structs.replace(worked.script(plan), calls_max=5)

        async with node(mortal) as n:
            await measured(n)
            outcomes = await asyncio.gather(*started(n, *numbered(40)))
            assert {outcome.status for outcome in outcomes} == {Status.OK}
            assert Counter(worked.begun) == Counter([b"first", *numbered(40)])

    run(story(), tick_s=TICK_S)


def test_a_deploy_leaves_what_was_sent_to_the_old_worker_and_gives_the_rest_to_the_new() -> None:
    async def story() -> None:
        worked = Worked()
        async with node(worked.script) as n:
            await measured(n)
            tasks = started(n, *numbered(20))
            await asyncio.sleep(TICK_S)
            n.deploy(workers_max=1, revision="f-2")
            outcomes = await asyncio.gather(*tasks)
            revisions = [outcome.revision for outcome in outcomes]
            assert revisions == ["f-1"] * (1 + AHEAD_MAX) + ["f-2"] * (20 - 1 - AHEAD_MAX)
            assert worked.begun == [b"first", *numbered(20)]

    run(story(), tick_s=TICK_S)


def test_a_drain_finishes_what_was_sent_ahead() -> None:
    async def story() -> None:
        worked = Worked()
        async with node(worked.script) as n:
            await measured(n)
            tasks = started(n, *numbered(20))
            await asyncio.sleep(TICK_S)
            await n.dispatcher.drain(10)
            assert all(task.done() for task in tasks)
            assert [task.result().body for task in tasks] == numbered(20)

    run(story(), tick_s=TICK_S)


def test_what_outlives_a_drain_fails_in_its_turn_and_is_refused_before_it() -> None:
    async def story() -> None:
        worked = Worked({b"hang": hangs})
        async with node(worked.script) as n:
            await measured(n, timeout_s=100)
            tasks = started(n, b"hang", *numbered(AHEAD_MAX + 3))
            await asyncio.sleep(0.1)
            await n.dispatcher.drain(1)
            turn, *behind = await asyncio.gather(*tasks, return_exceptions=True)
            assert isinstance(turn, Outcome)
            assert turn.status is Status.EXITED
            assert {type(one) for one in behind} == {Draining}
            assert worked.begun == [b"first", b"hang"]

    run(story(), tick_s=TICK_S)


def test_a_call_that_is_cancelled_before_its_turn_harms_none_of_those_around_it() -> None:
    async def story() -> None:
        worked = Worked({b"hang": hangs})
        async with node(worked.script) as n:
            await measured(n, timeout_s=100)
            tasks = started(n, b"n 0", b"hang", b"n 1", b"n 2")
            await asyncio.sleep(TICK_S)
            assert leases(n) == 4
            tasks[1].cancel()
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
            assert isinstance(outcomes[1], asyncio.CancelledError)
            bodies = [one.body for one in outcomes if isinstance(one, Outcome)]
            assert bodies == [b"n 0", b"n 1", b"n 2"]
            assert n.clock.now_s() < 10
            assert [body for body in worked.begun if body != b"hang"] == [b"first", b"n 0", b"n 1", b"n 2"]

    run(story(), tick_s=TICK_S)


@pytest.mark.parametrize(
    ("own_s", "ahead"),
    [
        pytest.param(SHORT_S, AHEAD_MAX, id="another process had its core meanwhile"),
        pytest.param(0.01, 0, id="it took so long"),
        pytest.param(0.0, 0, id="it cannot be told"),
    ],
)
def test_what_other_processes_take_of_a_run_says_nothing_of_the_next(own_s: float, ahead: int) -> None:
    traffic = Traffic(0.0)
    traffic.took(SHORT_S, own_s=SHORT_S)
    traffic.took(0.01, own_s=own_s)
    assert traffic.ahead == ahead
