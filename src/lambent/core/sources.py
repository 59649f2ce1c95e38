"""A queue as a source of invocations: how messages are put into batches, and how many run at once. Pure."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec

from lambent.core.deferral import running_max
from lambent.core.spec import DeploymentSpec

# Of a batch's messages. As an event they are larger: JSON escapes, and each has its attributes.
BATCH_BYTES_MAX: Final = 4 << 20
HIDDEN_MARGIN_S: Final = 30.0
PAUSE_FIRST_S: Final = 1.0
PAUSE_S_MAX: Final = 30.0


class Report(StrEnum):
    """What a function's answer says of the messages of a batch."""

    WHOLE = "whole"  # all are done, or none
    ITEMS = "items"  # which are not done


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """A queue that a deployment is invoked for.

    A batch has up to `batch_max` messages, gathered for `window_s` after the first. At most `running_max` run
    at once, 0 for what the deployment allows. Messages that match none of `patterns` are removed, unless
    there are none. `arn` and `called_arn` are what its records and its function are called by AWS's clients,
    `version` the version that they asked for.
    """

    id: str
    project: str
    queue: str
    deployment: str
    alias: str = ""
    version: str = ""
    arn: str = ""
    called_arn: str = ""
    batch_max: int = 10
    window_s: float = 0.0
    running_max: int = 0
    patterns: tuple[str, ...] = ()
    report: Report = Report.WHOLE


def batches_max(source: Source, spec: DeploymentSpec) -> int:
    """How many batches run at once: a worker's worth of slots is left to those who wait for their answer."""
    own = running_max(spec)
    return min(source.running_max, own) if source.running_max else own


def hidden_s(source: Source, spec: DeploymentSpec, visibility_s: float) -> float:
    """How long a message that is taken is hidden: as long as its batch may take to gather, wait and run.

    Else a batch that waits for a wake would be run by somebody else as well.
    """
    return max(visibility_s, source.window_s + spec.hold_s + spec.timeout_s + HIDDEN_MARGIN_S)


def shown_after_s(visibility_s: float, *, held_s: float) -> float:
    """When a message that failed is seen again, from now, as if the queue's own timeout had held."""
    return max(0.0, visibility_s - held_s)


def pause_s(refusals: int) -> float:
    """How long to wait after so many refusals in a row, such as those of a full deployment."""
    return min(PAUSE_S_MAX, PAUSE_FIRST_S * 2.0 ** min(refusals - 1, 10))
