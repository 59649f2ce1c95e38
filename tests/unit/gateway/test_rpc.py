"""gRPC's calls leave nothing behind."""

from __future__ import annotations

import asyncio
import gc
from pathlib import Path
from typing import Any, cast

import grpc.aio
import pytest

from lambent.gateway.protocols import Behind
from lambent.gateway.protocols.open_inference import rpc_server
from lambent.gateway.protocols.open_inference.rpc import Rpc
from lambent.wire.inference_proto import MESSAGES, SERVICE
from tests.support.patience import PATIENT_S

CALLS = 20


@pytest.fixture
def without_collections() -> Any:
    gc.collect()
    gc.disable()
    yield
    gc.enable()
    gc.collect()


@pytest.mark.usefixtures("without_collections")
def test_the_message_of_a_call_that_has_ended_waits_for_no_collection_of_cycles(tmp_path: Path) -> None:
    unasked: Any = cast(Any, None)  # who asks whether the server is ready needs nothing else

    kind = MESSAGES["ServerReadyRequest"]
    alive: list[int] = []

    async def story() -> None:
        async with asyncio.TaskGroup() as tasks:
            behind = Behind(
                invoker=unasked,
                routes=unasked,
                keys=unasked,
                clock=unasked,
                bodies=unasked,
                body_bytes_max=1000,
            )
            rpc = Rpc(behind, models=unasked, tasks=tasks, version="1", accepts=lambda: True)
            address = f"unix:{tmp_path / 'rpc'}"
            server = await rpc_server.start((address,), rpc.handler(), body_bytes_max=1000, tls=None)
            try:
                async with grpc.aio.insecure_channel(address) as channel:
                    ready = channel.unary_unary(f"/{SERVICE}/ServerReady")
                    for _ in range(CALLS):
                        await ready(b"", timeout=PATIENT_S)
                    alive.append(sum(isinstance(one, kind) for one in gc.get_objects()))
            finally:
                await server.stop(None)

    asyncio.run(story())
    assert alive[0] < CALLS / 2  # the last ones may be ending
