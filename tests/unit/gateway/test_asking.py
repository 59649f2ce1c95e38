"""Functions that call functions, on a node without processes and in virtual time."""

from __future__ import annotations

import asyncio
from itertools import count

import msgspec
import pytest

from lambent.core.composing import ASKED_BYTES_MAX, ASKS_MAX, DEPTH_MAX
from lambent.core.invocation import Outcome, Status
from lambent.core.tracing import Trace, span_of
from lambent.engines.memory_worker import Scene
from lambent.wire.frames import Ask, Form, Told
from tests.support.asking import asks, echo, error_of, passing, script
from tests.support.node import node
from tests.support.virtual_time import run


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


def test_over_the_maximum_a_call_is_refused_more_and_those_before_it_run() -> None:
    async def inner(body: bytes, scene: Scene) -> bytes:
        await asyncio.sleep(1)
        return body

    async def outer(body: bytes, scene: Scene) -> bytes:
        for number in range(ASKS_MAX + 5):
            scene.say(Ask(scene.call.call_id, number, "inner"), b"%d" % number)
        refused = []
        for _ in range(ASKS_MAX + 5):
            header, result = await scene.told.get()
            assert isinstance(header, Told)
            if header.status is not Status.OK:
                refused.append(error_of(result))
        assert {error.error_type for error in refused} == {"Lambent.CallerFault"}
        return b"%d" % len(refused)

    async def story() -> None:
        async with node(script(outer=outer, inner=inner)) as n:
            n.deploy("outer")
            n.deploy("inner", workers_max=8, concurrency=50)
            assert (await n.dispatcher.invoke(n.invocation("outer"))).body == b"5"
            assert len(n.usage) == ASKS_MAX + 1

    run(story())


def test_bodies_over_the_maximum_are_refused_and_a_large_one_goes_alone() -> None:
    async def outer(body: bytes, scene: Scene) -> bytes:
        told, result = await asks(scene, "inner", bytes(ASKED_BYTES_MAX + 1))
        assert (told.status, len(result)) == (Status.OK, ASKED_BYTES_MAX + 1)
        half = bytes(ASKED_BYTES_MAX // 2)
        for number in range(3):
            scene.say(Ask(scene.call.call_id, number, "inner"), half)
        ends = [(await scene.told.get())[0] for _ in range(3)]
        return b",".join(sorted(str(end.status).encode() for end in ends if isinstance(end, Told)))

    async def story() -> None:
        async with node(script(outer=outer, inner=echo)) as n:
            n.deploy("outer")
            n.deploy("inner")
            assert (await n.dispatcher.invoke(n.invocation("outer"))).body == b"failed,ok,ok"

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
