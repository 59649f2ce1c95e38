"""Work for later: the terms on which an invocation is accepted, and what its deployment allows it."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec

from lambent.core.retrying import RetryPolicy
from lambent.core.spec import DeploymentSpec

RETRY_FACTOR: Final = 4.0
RETRY_CAP_S: Final = 120.0
DELAY_S_MAX: Final = 7 * 86_400.0
ORDER_KEY_CHARACTERS_MAX: Final = 255


class Reach(StrEnum):
    """Which addresses a webhook may have, by who named it."""

    PUBLIC = "public"  # a key that may only invoke: it must not make the server knock on its neighbours
    ANY = "any"  # a key that may deploy: its code runs here and reaches as much


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """What a caller asks for beside the work itself. Empty and zero: nothing.

    Invocations of one deployment with the same `order_key` run one after another, as they were accepted.
    `face` says in whose words it was asked for, as text: in these it is told, and one that fails is not tried
    again, as its clients expect.
    """

    order_key: str = ""
    delay_s: float = 0.0
    webhook: str = ""
    reach: Reach = Reach.PUBLIC
    face: str = ""


class Handling(msgspec.Struct, frozen=True, kw_only=True):
    """How asynchronous invocations under one alias or version are tried, and who hears of their end.

    The fields are the specification's of the same names.
    """

    retries: int
    async_age_max_s: float
    on_success: str = ""
    on_failure: str = ""


def handled(spec: DeploymentSpec, handling: Handling | None) -> DeploymentSpec:
    """A deployment as such an invocation meets it."""
    return spec if handling is None else msgspec.structs.replace(spec, **msgspec.structs.asdict(handling))


def retry_policy(spec: DeploymentSpec) -> RetryPolicy:
    """How often, and until when, an asynchronous invocation of a deployment is tried."""
    return RetryPolicy(
        attempts_max=spec.retries + 1,
        first_s=spec.retry_first_s,
        factor=RETRY_FACTOR,
        cap_s=max(RETRY_CAP_S, spec.retry_first_s),
        age_max_s=spec.async_age_max_s,
    )


def running_max(spec: DeploymentSpec) -> int:
    """How many asynchronous invocations of a deployment may run at once.

    Unless it is set, a worker's worth of slots is left to those who wait for their answer.
    """
    if spec.async_running_max:
        return spec.async_running_max
    return max(1, (spec.workers_max - 1) * spec.concurrency)
