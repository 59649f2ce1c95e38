"""gRPC's calls leave nothing behind."""

from __future__ import annotations

import asyncio
import gc
import tempfile
import tracemalloc
from collections.abc import Awaitable, Callable
from typing import Any, cast

import grpc.aio
import pytest

from lambent.clock import SystemClock
from lambent.core.errors import NotFound
from lambent.core.invocation import Principal, Role
from lambent.gateway.bodies import Bodies
from lambent.gateway.protocols import Behind
from lambent.gateway.protocols.open_inference import rpc_server
from lambent.gateway.protocols.open_inference.rpc import Rpc
from lambent.wire.inference_proto import MESSAGES, SERVICE
from tests.support.patience import PATIENT_S

CALLS = 20
MESSAGE_BYTES = 200_000


@pytest.fixture
def without_collections() -> Any:
    gc.collect()
    gc.disable()
    yield
    gc.enable()
    gc.collect()


class Known:
    """Whoever asks is somebody, and there is no model."""

    async def authenticate(self, _: object) -> Principal:
        return Principal("default", "key", Role.READ)

    def find(self, *_: object) -> None:
        raise NotFound("there is no model")

    load = unload = find


def asking(bodies: Bodies, story: Callable[[grpc.aio.UnaryUnaryMultiCallable], Awaitable[None]]) -> None:
    """Run a story that asks whether models are ready."""
    unasked: Any = cast(Any, None)  # which needs nothing else
    known: Any = Known()

    async def told() -> None:
        async with asyncio.TaskGroup() as tasks:
            behind = Behind(
                invoker=unasked,
                routes=unasked,
                keys=known,
                clock=unasked,
                bodies=bodies,
                body_bytes_max=2 * MESSAGE_BYTES,
            )
            rpc = Rpc(behind, models=known, tasks=tasks, version="1", accepts=lambda: True)
            with tempfile.TemporaryDirectory() as folder:
                address = f"unix:{folder}/rpc"
                server = await rpc_server.start(
                    (address,), rpc.handler(), body_bytes_max=2 * MESSAGE_BYTES, tls=None
                )
                try:
                    async with grpc.aio.insecure_channel(address) as channel:
                        await story(channel.unary_unary(f"/{SERVICE}/ModelReady"))
                finally:
                    await server.stop(None)

    asyncio.run(told())


def named(size_bytes: int) -> bytes:
    asked: bytes = MESSAGES["ModelReadyRequest"](name="x" * size_bytes).SerializeToString()
    return asked


@pytest.mark.usefixtures("without_collections")
def test_the_message_of_a_call_that_has_ended_waits_for_no_collection_of_cycles() -> None:
    left_bytes: list[int] = []

    async def story(ready: grpc.aio.UnaryUnaryMultiCallable) -> None:
        await ready(named(MESSAGE_BYTES), timeout=PATIENT_S)
        tracemalloc.start()
        for _ in range(CALLS):
            await ready(named(MESSAGE_BYTES), timeout=PATIENT_S)
        left_bytes.append(tracemalloc.get_traced_memory()[0])
        tracemalloc.stop()

    asking(Bodies(SystemClock(), bytes_max=16 * MESSAGE_BYTES), story)
    assert left_bytes[0] < CALLS / 2 * MESSAGE_BYTES  # the last ones may be ending


def test_messages_have_the_room_that_other_bodies_leave() -> None:
    bodies = Bodies(SystemClock(), bytes_max=4 * MESSAGE_BYTES, uncounted_bytes=10)

    async def story(ready: grpc.aio.UnaryUnaryMultiCallable) -> None:
        async with bodies.hold("default") as hold:
            hold.grow_to(2 * MESSAGE_BYTES)
            with pytest.raises(grpc.aio.AioRpcError) as told:
                await ready(named(MESSAGE_BYTES), timeout=PATIENT_S)
            assert told.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert "LAMBENT_BODIES_BYTES_MAX" in (told.value.details() or "")
            await ready(named(5), timeout=PATIENT_S)
        await ready(named(MESSAGE_BYTES), timeout=PATIENT_S)
        assert bodies.held_bytes == 0

    asking(bodies, story)


def test_what_is_no_message_is_the_callers_fault() -> None:
    async def story(ready: grpc.aio.UnaryUnaryMultiCallable) -> None:
        with pytest.raises(grpc.aio.AioRpcError) as told:
            await ready(b"\xff\xff", timeout=PATIENT_S)
        assert told.value.code() is grpc.StatusCode.INVALID_ARGUMENT

    asking(Bodies(SystemClock(), bytes_max=16 * MESSAGE_BYTES), story)
