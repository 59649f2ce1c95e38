"""Programs that ask for others, for a node without processes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from lambent.core.invocation import FunctionError, Status
from lambent.engines.memory_worker import Program, Scene
from lambent.wire.frames import Ask, Told
from lambent.wire.process import RevisionPlan

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


def timed(timeout_s: float) -> Run:
    async def outer(body: bytes, scene: Scene) -> bytes:
        told, result = await asks(scene, "inner", body, timeout_ms=timeout_s * 1e3)
        return b"ok" if told.status is Status.OK else error_of(result).error_type.encode() + b"|" + result

    return outer
