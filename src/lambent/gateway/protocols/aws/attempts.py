"""A call that an SDK sends again is answered once.

The SDKs send a slow call again under the same id. As on AWS, nobody watches whether the client is still
there: it comes back for the answer.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from lambent.clock import Clock
from lambent.core.invocation import Invocation, Outcome
from lambent.gateway.once import Once, size_of
from lambent.gateway.protocols.aws.asked import Asked


class Answered(msgspec.Struct, frozen=True):
    """An outcome and the request id that it was made under."""

    invocation_id: str
    outcome: Outcome


class Attempts:
    """The answers of late, by the ids under which they were asked for."""

    def __init__(self, clock: Clock) -> None:
        self._once: Final = Once[Answered](clock, size_bytes=lambda answered: size_of(answered.outcome))

    async def run(
        self, asked: Asked, invocation: Invocation, invoke: Callable[[Invocation], Awaitable[Outcome]]
    ) -> Answered:
        """How it ended, or the same call before it. Raises what `invoke` raises."""
        attempt_of = asked.header(b"amz-sdk-invocation-id")
        if not attempt_of:
            return Answered(invocation.id, await invoke(invocation))

        async def work() -> Answered:
            return Answered(invocation.id, await invoke(invocation))

        return await self._once.run((invocation.project, invocation.deployment, attempt_of), work)
