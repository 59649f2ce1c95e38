"""How calls between functions end: too late, cancelled, dead, drained."""

from __future__ import annotations

import asyncio
import signal

import msgspec
import pytest

from lambent.core.errors import Draining
from lambent.core.invocation import Status
from lambent.engines.memory_worker import Dies, Scene
from lambent.gateway.presence import Presence
from lambent.wire.frames import Ask, Cancel, Drop, Told
from tests.support.asking import echo, error_of, passing, script, timed
from tests.support.node import node
from tests.support.virtual_time import run


def test_a_caller_whose_client_leaves_takes_along_what_it_waits_for() -> None:
    ended: list[str] = []

    async def inner(body: bytes, scene: Scene) -> bytes:
        try:
            await asyncio.sleep(3600)
        finally:
            ended.append("inner")
        return body

    async def story() -> None:
        async with node(script(inner=inner)) as n:
            n.deploy("outer", timeout_s=900)
            n.deploy("inner", timeout_s=900)
            client = Presence(lambda: None)
            asking = asyncio.create_task(n.dispatcher.invoke(n.invocation("outer"), client=client))
            await asyncio.sleep(5)
            client.leave()
            outcome = await asking
            await asyncio.sleep(1)
            assert outcome.status is Status.CANCELLED
            assert ended == ["inner"]
            assert {(one.deployment, one.status) for one in n.usage} == {
                ("inner", Status.CANCELLED),
                ("outer", Status.CANCELLED),
            }

    run(story())


@pytest.mark.parametrize("how", ["killed", "timed out"])
def test_a_caller_whose_worker_ends_takes_along_what_it_waits_for(how: str) -> None:
    async def inner(body: bytes, scene: Scene) -> bytes:
        await asyncio.sleep(3600)
        return body

    async def outer(body: bytes, scene: Scene) -> bytes:
        scene.say(Ask(scene.call.call_id, 1, "inner"), b"{}")
        await asyncio.sleep(3)
        if how == "killed":
            raise Dies(-signal.SIGKILL)
        await asyncio.sleep(3600)
        return b""

    async def story() -> None:
        async with node(script(outer=outer, inner=inner)) as n:
            n.deploy("outer", timeout_s=5)
            n.deploy("inner", timeout_s=900)
            outcome = await n.dispatcher.invoke(n.invocation("outer"))
            await asyncio.sleep(1)
            assert outcome.status is (Status.EXITED if how == "killed" else Status.TIMED_OUT)
            assert [(one.deployment, one.status) for one in n.usage][-1] == ("inner", Status.CANCELLED)
            assert len(n.usage) == 2

    run(story())


def test_a_callee_whose_worker_dies_fails_by_a_clear_kind_and_the_next_one_runs() -> None:
    deaths = iter([True, False])

    async def inner(body: bytes, scene: Scene) -> bytes:
        if next(deaths):
            raise Dies(-signal.SIGKILL)
        return b"alive"

    async def story() -> None:
        async with node(script(inner=inner)) as n:
            n.deploy("outer")
            n.deploy("inner")
            first = await n.dispatcher.invoke(n.invocation("outer"))
            assert first.body.startswith(b"Runtime.ExitError: ")
            assert b"signal 9 (SIGKILL)" in first.body
            assert (await n.dispatcher.invoke(n.invocation("outer"))).body == b"alive"

    run(story())


@pytest.mark.parametrize("before", [[b"first"], []], ids=["a worker is free", "none is"])
def test_one_that_is_asked_for_and_given_up_in_one_breath_does_not_run(before: list[bytes]) -> None:
    ran: list[bytes] = []

    async def inner(body: bytes, scene: Scene) -> bytes:
        ran.append(body)
        return body

    async def outer(body: bytes, scene: Scene) -> bytes:
        scene.say(Ask(scene.call.call_id, 1, "inner"), b"{}")
        scene.say(Drop(scene.call.call_id, 1))
        told, said = await scene.told.get()
        assert isinstance(told, Told)
        await asyncio.sleep(1)
        assert scene.told.empty()
        return said

    async def story() -> None:
        async with node(script(outer=outer, inner=inner)) as n:
            n.deploy("outer")
            n.deploy("inner")
            for body in before:
                await n.dispatcher.invoke(n.invocation("inner", body))
            outcome = await n.dispatcher.invoke(n.invocation("outer"))
            assert error_of(outcome.body).error_type == "Lambent.Cancelled"
            assert ran == before

    run(story())


def test_one_that_is_not_wanted_any_more_is_cancelled_and_told_of_once() -> None:
    async def inner(body: bytes, scene: Scene) -> bytes:
        await asyncio.sleep(3600)
        return body

    async def outer(body: bytes, scene: Scene) -> bytes:
        for _ in range(2):  # the second time it waits for its turn
            scene.say(Ask(scene.call.call_id, 7, "inner"), b"{}")
            scene.say(Ask(scene.call.call_id, 8, "inner"), b"{}")
            await asyncio.sleep(1)
            scene.say(Drop(scene.call.call_id, 8))
            scene.say(Drop(scene.call.call_id, 7))
            scene.say(Drop(scene.call.call_id, 9))
            told = [await scene.told.get() for _ in range(2)]
            assert {error_of(body).error_type for _, body in told} == {"Lambent.Cancelled"}
        await asyncio.sleep(1)
        assert scene.told.empty()
        return b"fine"

    async def story() -> None:
        async with node(script(outer=outer, inner=inner)) as n:
            n.deploy("outer")
            n.deploy("inner", workers_max=1, timeout_s=900)
            assert (await n.dispatcher.invoke(n.invocation("outer"))).body == b"fine"
            assert n.dispatcher.queued("default", "inner") == 0

    run(story())


@pytest.mark.parametrize(
    ("timeout_s", "rest_s", "before", "said"),
    [
        pytest.param(2, None, 0, "timeout_s=2 of lambent.call", id="the call's own timeout"),
        pytest.param(2, None, 1, "timeout_s=2 of lambent.call", id="while it waits for a worker"),
        pytest.param(0, 3, 0, "deadline that 'outer' itself was given", id="the caller's deadline"),
        pytest.param(9, 3, 0, "deadline that 'outer' itself was given", id="whichever is earlier"),
        pytest.param(1, 3, 1, "timeout_s=1 of lambent.call", id="and that the other way round"),
    ],
)
def test_who_is_too_late_is_told_by_whose_time(
    timeout_s: float, rest_s: float | None, before: int, said: str
) -> None:
    heard: list[bytes] = []

    async def inner(body: bytes, scene: Scene) -> bytes:
        await asyncio.sleep(600)
        return body

    async def outer(body: bytes, scene: Scene) -> bytes:
        heard.append(await timed(timeout_s)(body, scene))
        return heard[0]

    async def story() -> None:
        async with node(script(outer=outer, inner=inner)) as n:
            n.deploy("outer", timeout_s=900, concurrency=2)
            n.deploy("inner", timeout_s=900, workers_max=1)
            others = [asyncio.create_task(n.dispatcher.invoke(n.invocation("inner"))) for _ in range(before)]
            await asyncio.sleep(1)
            since_s = n.clock.now_s()
            invocation = n.invocation("outer")
            if rest_s is not None:
                invocation = msgspec.structs.replace(invocation, deadline_s=since_s + rest_s)
            await n.dispatcher.invoke(invocation)
            kind, _, error = heard[0].partition(b"|") if heard else (b"", b"", b"")
            if heard:  # where the caller's own time is over, it may not be there to hear it
                assert kind == b"Lambent.DeadlinePassed"
                assert said in error_of(error).error_message
            else:
                assert rest_s == 3
            assert n.clock.now_s() - since_s <= min(timeout_s or 9, rest_s or 9) + 1.01
            assert not any(other.done() for other in others)

    run(story())


def test_the_worker_of_who_is_too_late_is_told_what_time_it_has_and_lives_on() -> None:
    rests: list[float] = []

    async def inner(body: bytes, scene: Scene) -> bytes:
        rests.append(scene.call.remaining_ms)
        await asyncio.sleep(600 if len(rests) == 1 else 0)
        return body

    async def story() -> None:
        async with node(script(outer=timed(2), inner=inner)) as n:
            n.deploy("outer")
            n.deploy("inner", timeout_s=900, workers_max=1)
            assert (await n.dispatcher.invoke(n.invocation("outer"))).body.startswith(b"Lambent.Deadline")
            assert (await n.dispatcher.invoke(n.invocation("outer"))).body == b"ok"
            assert rests == pytest.approx([2000, 2000], abs=200)
            assert n.workers("inner-1") == 1

    run(story())


def test_a_callee_that_is_over_its_own_timeout_says_so_itself() -> None:
    async def inner(body: bytes, scene: Scene) -> bytes:
        await asyncio.sleep(600)
        return body

    async def story() -> None:
        async with node(script(inner=inner)) as n:
            n.deploy("outer", timeout_s=60)
            n.deploy("inner", timeout_s=2)
            outcome = await n.dispatcher.invoke(n.invocation("outer"))
            assert outcome.body.startswith(b"Sandbox.Timedout: ")
            assert b"after 2.00 seconds" in outcome.body

    run(story())


def test_a_server_that_drains_lets_what_runs_call_others_and_nobody_else() -> None:
    async def outer(body: bytes, scene: Scene) -> bytes:
        await asyncio.sleep(2)
        return await passing(body, scene)

    async def story() -> None:
        async with node(script(outer=outer, inner=echo)) as n:
            n.deploy("outer")
            n.deploy("inner")
            running = asyncio.create_task(n.dispatcher.invoke(n.invocation("outer", b"accepted")))
            await asyncio.sleep(1)
            draining = asyncio.create_task(n.dispatcher.drain(30))
            await asyncio.sleep(0)
            with pytest.raises(Draining):
                await n.dispatcher.invoke(n.invocation("inner"))
            assert (await running).body == b"accepted"
            await draining

    run(story())


def test_what_is_told_to_a_call_that_is_cancelled_comes_to_its_worker_no_more() -> None:
    async def inner(body: bytes, scene: Scene) -> bytes:
        await asyncio.sleep(2)
        return body

    heard: list[object] = []

    async def outer(body: bytes, scene: Scene) -> bytes:
        scene.say(Ask(scene.call.call_id, 1, "inner"), b"{}")
        try:
            return (await scene.told.get())[1]
        finally:
            await asyncio.sleep(0)
            while not scene.told.empty():
                heard.append(scene.told.get_nowait()[0])

    async def story(leaves_after_s: float) -> None:
        async with node(script(outer=outer, inner=inner)) as n:
            n.deploy("outer")
            n.deploy("inner")
            await n.dispatcher.invoke(n.invocation("outer"))
            for _ in range(2):
                client = Presence(lambda: None)
                asking = asyncio.create_task(n.dispatcher.invoke(n.invocation("outer"), client=client))
                await asyncio.sleep(leaves_after_s)
                client.leave()
                assert (await asking).status in (Status.OK, Status.CANCELLED)
            assert not any(isinstance(one, Cancel) for one in heard)
            assert n.workers("outer-1") == 1

    for after_s in (1.5, 2.0, 2.5):
        run(story(after_s), tick_s=0.5)
