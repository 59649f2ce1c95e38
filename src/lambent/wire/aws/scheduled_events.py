"""The event of a tick, as AWS sends it.

Source: Amazon EventBridge User Guide, "EventBridge events detail reference"; EventBridge Scheduler User
Guide, "Adding context attributes".
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

import msgspec

from lambent.core.timers import Source, Timer
from lambent.wire.aws.names import Place

FIRST_ATTEMPT: Final = "1"  # to hand it over; what the function makes of it is tried with the same event

NO_DETAIL: Final = msgspec.Raw(b"{}")
DETAIL_AS_TEXT: Final = msgspec.Raw(b'"{}"')


class Scheduled(msgspec.Struct, frozen=True, kw_only=True):
    """What a function gets at a tick. `time` is that of the tick."""

    version: str = "0"
    id: str
    detail_type: str = msgspec.field(default="Scheduled Event", name="detail-type")
    source: str
    account: str
    time: str
    region: str
    resources: tuple[str, ...]
    detail: msgspec.Raw


def event_of(timer: Timer, deployment: str, *, tick_unix_ms: int, id_: str) -> bytes:
    """The body of the invocation at a tick: the timer's own input, or the event that tells of the tick."""
    place = Place()
    at = datetime.fromtimestamp(tick_unix_ms / 1e3, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    name = timer.name or deployment
    if timer.source is Source.RULE:
        arn = f"arn:aws:events:{place.region}:{place.account}:rule/{name}"
        source, detail = "aws.events", NO_DETAIL
    else:
        arn = f"arn:aws:scheduler:{place.region}:{place.account}:schedule/default/{name}"
        source, detail = "aws.scheduler", DETAIL_AS_TEXT
    if timer.input:
        return _input(timer, {"scheduled-time": at, "execution-id": id_, "schedule-arn": arn}).encode()
    event = Scheduled(
        id=id_,
        source=source,
        account=place.account,
        time=at,
        region=place.region,
        resources=(arn,),
        detail=detail,
    )
    return msgspec.json.encode(event)


def _input(timer: Timer, context: dict[str, str]) -> str:
    """As it was given; the scheduler fills in what stands between `<aws.scheduler.` and `>`."""
    text = timer.input
    if timer.source is Source.SCHEDULER:
        for name, value in {**context, "attempt-number": FIRST_ATTEMPT}.items():
            text = text.replace(f"<aws.scheduler.{name}>", value)
    return text
