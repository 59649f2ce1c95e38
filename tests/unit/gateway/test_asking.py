"""Functions that call functions, on a node without processes and in virtual time."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable
from itertools import count
from typing import Any

import msgspec
import pytest

from lambent.core.composing import ASKS_MAX, DEPTH_MAX
from lambent.core.errors import Draining
from lambent.core.invocation import FunctionError, Outcome, Status
from lambent.core.tracing import Trace, span_of
from lambent.engines.memory_worker import Dies, Program, Scene
from lambent.gateway.presence import Presence
from lambent.wire.frames import Ask, Cancel, Drop, Form, Told
from lambent.wire.process import RevisionPlan
from tests.support.node import node
from tests.support.virtual_time import run

Run = Callable[[bytes, Scene], Awaitable[bytes]]


async def asks(scene: Scene, deployment: str, body: bytes = b"{}", **changes: Any) -> tuple[Told, bytes]:
    """One that is asked for and waited for."""
    scene.say(msgspec.structs.replace(Ask(scene.call.call_id, 1, deployment), **changes), body)
    while True:
        header, result = await scene.told.get()
        if isinstance(header, Told):
            return header, result


def error_of(result: bytes) -> FunctionError:
    return msgspec.json.decode(result, type=FunctionError)


async def passing(body: bytes, scene: Scene) -> bytes:
    """Gives what `inner` answers, or the kind and the message of its error."""
    told, result = await asks(scene, "inner", body)
    if told.status is Status.OK:
        return result
    return f"{error_of(result).error_type}: {error_of(result).error_message}".encode()


def script(**programs: Run | Program) -> Callable[[RevisionPlan], Program]:
    made = {"outer": passing, **programs}

    def of(plan: RevisionPlan) -> Program:
        found = made[plan.deployment]
        return found if isinstance(found, Program) else Program(run=found)

    return of


async def echo(body: bytes, scene: Scene) -> bytes:
    return body


def test_a_call_runs_for_the_project_of_its_caller_and_both_are_metered() -> None:
    async def inner(body: bytes, scene: Scene) -> bytes:
        await asyncio.sleep(1)
        return body.upper()

    async def story() -> None:
        async with node(script(inner=inner)) as n:
            n.deploy("outer")
            n.deploy("inner")
            outcome = await n.dispatcher.invoke(n.invocation("outer", b"hello"))
            assert outcome.body == b"HELLO"
            assert [(one.deployment, one.project) for one in n.usage] == [
                ("inner", "default"),
                ("outer", "default"),
            ]
            assert [one.run_us for one in n.usage] == [1_000_000, pytest.approx(1_000_000, abs=200_000)]

    run(story())


def test_a_deployment_of_another_project_is_not_found() -> None:
    async def story() -> None:
        async with node(script(inner=echo)) as n:
            n.deploy("outer")
            route = n.deploy("inner")
            n.routes.remove("default", "inner")
            plan = msgspec.structs.replace(route.plan, project="theirs", revision="theirs-1")
            n.routes.put(msgspec.structs.replace(route, project="theirs", plan=plan))
            outcome = await n.dispatcher.invoke(n.invocation("outer"))
            assert outcome.body.startswith(b"Lambent.NotFound: ")

    run(story())


def test_the_trace_goes_on_with_each_caller_as_the_parent_of_what_it_calls() -> None:
    seen: dict[str, tuple[str, Trace | None]] = {}

    async def inner(body: bytes, scene: Scene) -> bytes:
        seen["inner"] = scene.call.invocation_id, scene.call.trace
        return body

    async def outer(body: bytes, scene: Scene) -> bytes:
        seen["outer"] = scene.call.invocation_id, scene.call.trace
        return await passing(body, scene)

    async def story() -> None:
        async with node(script(outer=outer, inner=inner)) as n:
            n.deploy("outer")
            n.deploy("inner")
            trace = Trace("1" * 32, "2" * 16, "01", "a=1", "Root=x")
            invocation = msgspec.structs.replace(n.invocation("outer"), trace=trace)
            outcome = await n.dispatcher.invoke(invocation)
            assert outcome.trace == seen["outer"][1] == trace
            assert seen["inner"][1] == Trace("1" * 32, span_of(invocation.id), "01", "a=1", "Root=x")
            await n.dispatcher.invoke(bare := n.invocation("outer"))
            assert seen["outer"][1] is None
            begun = Trace(bare.id.replace("-", ""), span_of(bare.id), "03")
            assert seen["inner"][1] == begun

    run(story())


def test_a_chain_that_grows_too_deep_is_told_so() -> None:
    async def outer(body: bytes, scene: Scene) -> bytes:
        told, result = await asks(scene, "outer", b"%d" % (int(body) + 1))
        return result if told.status is Status.OK else body + b" " + result

    async def story() -> None:
        async with node(script(outer=outer)) as n:
            n.deploy("outer", workers_max=100)
            outcome = await n.dispatcher.invoke(n.invocation("outer", b"1"))
            depth, _, error = outcome.body.partition(b" ")
            assert int(depth) == DEPTH_MAX
            assert "16 deep" in error_of(error).error_message
            assert len(n.usage) == DEPTH_MAX

    run(story())


@pytest.mark.parametrize(("workers_max", "concurrency"), [(1, 1), (3, 1), (1, 3), (2, 2)])
def test_a_chain_that_would_wait_for_its_own_slots_is_told_so_at_once(
    workers_max: int, concurrency: int
) -> None:
    async def outer(body: bytes, scene: Scene) -> bytes:
        told, result = await asks(scene, "inner", b"%d" % (int(body) + 1))
        return result if told.status is Status.OK else body + b" " + result

    async def inner(body: bytes, scene: Scene) -> bytes:
        return (await asks(scene, "outer", body))[1]

    async def story() -> None:
        async with node(script(outer=outer, inner=inner)) as n:
            n.deploy("outer", workers_max=workers_max, concurrency=concurrency)
            n.deploy("inner", workers_max=50)
            outcome = await n.dispatcher.invoke(n.invocation("outer", b"0"))
            error = error_of(outcome.body[outcome.body.index(b"{") :])
            assert "would wait for itself" in error.error_message
            assert f"= {workers_max * concurrency}" in error.error_message
            assert len(n.usage) == 2 * workers_max * concurrency
            assert n.clock.now_s() < 30  # nobody waited for a hold to end

    run(story())


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


def test_over_the_maximum_a_call_is_refused_more_and_those_before_it_run() -> None:
    async def inner(body: bytes, scene: Scene) -> bytes:
        await asyncio.sleep(1)
        return body

    async def outer(body: bytes, scene: Scene) -> bytes:
        for number in range(ASKS_MAX + 5):
            scene.say(Ask(scene.call.call_id, number, "inner"), b"%d" % number)
        told = [await scene.told.get() for _ in range(ASKS_MAX + 5)]
        refused = [error_of(body) for header, body in told if header.status is not Status.OK]  # type: ignore[union-attr]
        assert {error.error_type for error in refused} == {"Lambent.CallerFault"}
        return b"%d" % len(refused)

    async def story() -> None:
        async with node(script(outer=outer, inner=inner)) as n:
            n.deploy("outer")
            n.deploy("inner", workers_max=8, concurrency=50)
            assert (await n.dispatcher.invoke(n.invocation("outer"))).body == b"5"
            assert len(n.usage) == ASKS_MAX + 1

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


def timed(timeout_s: float) -> Run:
    async def outer(body: bytes, scene: Scene) -> bytes:
        told, result = await asks(scene, "inner", body, timeout_ms=timeout_s * 1e3)
        return b"ok" if told.status is Status.OK else error_of(result).error_type.encode() + b"|" + result

    return outer


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


def test_the_stream_of_a_callee_is_collected() -> None:
    async def inner(body: bytes, scene: Scene) -> bytes:
        for number in range(3):
            await scene.write(Form.JSON, b"%d" % number)
        return b""

    async def story() -> None:
        async with node(script(inner=inner)) as n:
            n.deploy("outer")
            n.deploy("inner")
            assert (await n.dispatcher.invoke(n.invocation("outer"))).body == b"[0,1,2]"

    run(story())


def test_models_that_run_as_a_batch_may_call_others() -> None:
    numbers = count(1)

    async def outer(body: bytes, scene: Scene) -> bytes:
        if body == b"warm":
            await asyncio.sleep(0.1)
            return body
        told, result = await asks(scene, "inner", body, ask_id=next(numbers))
        assert told.status is Status.OK
        return b"<" + result + b">"

    async def story() -> None:
        async with node(script(outer=outer, inner=echo)) as n:
            n.deploy("outer", max_batch=16, workers_max=1, keep_alive_s=600)
            n.deploy("inner")
            await n.dispatcher.invoke(n.invocation("outer", b"warm"))
            for _ in range(5):
                tasks = [asyncio.create_task(n.dispatcher.invoke(n.invocation("outer", b"warm")))]
                tasks += [
                    asyncio.create_task(n.dispatcher.invoke(n.invocation("outer", b"%d" % one)))
                    for one in range(8)
                ]
                outcomes: list[Outcome] = await asyncio.gather(*tasks)
                assert [one.body for one in outcomes[1:]] == [b"<%d>" % one for one in range(8)]

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
