"""A template's events of type Schedule and ScheduleV2: what invokes its functions by the clock.

Source: AWS SAM, "Schedule" and "ScheduleV2" of a function's events; EventBridge Scheduler, CreateSchedule.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final, Literal
from urllib.parse import quote

import msgspec

from lambent.client.sam.api import Api
from lambent.client.sam.stack import Event, Function, Ignored
from lambent.core.errors import InvalidSpec
from lambent.core.timers import Source, Timer, checked_timer
from lambent.wire.typed import from_texts

SCHEDULES: Final = ("Schedule", "ScheduleV2")
WHY: Final = {
    "DeadLetterConfig": "every event is stored here; what the function fails at goes to its own queue",
    "FlexibleTimeWindow": "the function is invoked at the time itself",
    "RetryPolicy": "the function's own retries hold",
}
NEEDLESS: Final = frozenset(
    {"Description", "GroupName", "KmsKeyArn", "OmitName", "PermissionsBoundary", "RoleArn"}
)

NO_WINDOW: Final = {"Mode": "OFF"}  # it is to be said, and says nothing

State = Literal["ENABLED", "DISABLED"]


class Rule(msgspec.Struct, frozen=True, rename="pascal"):
    """The properties of an event of type Schedule."""

    schedule: str
    name: str = ""
    input: str = ""
    enabled: bool | None = None
    state: State | None = None


class Scheduler(msgspec.Struct, frozen=True, rename="pascal"):
    """The properties of an event of type ScheduleV2."""

    schedule_expression: str
    schedule_expression_timezone: str = "UTC"
    name: str = ""
    input: str = ""
    state: State = "ENABLED"
    start_date: Any = None
    end_date: Any = None


KINDS: Final[dict[str, type[Rule] | type[Scheduler]]] = {"Schedule": Rule, "ScheduleV2": Scheduler}


def timers_of(function: Function) -> list[Timer]:
    """What its events say. Raises `InvalidSpec` and `msgspec.ValidationError`, which say what is wrong."""
    return [
        checked_timer(_timer(function, name, event))
        for name, event in function.properties.events.items()
        if event.type in SCHEDULES
    ]


def left_out(where: str, event: Event) -> Iterator[Ignored]:
    """The properties of such an event that mean nothing here."""
    if event.type in SCHEDULES:
        meant = {*KINDS[event.type].__struct_encode_fields__}
        for name in sorted(event.properties.keys() - meant - NEEDLESS):
            if event.properties[name] != NO_WINDOW:
                yield Ignored(f"{where}.{name}", WHY.get(name, "Lambent has nothing like it"))


def put_timers(api: Api, function: Function) -> None:
    """Let these, and no others, invoke a function by the clock. Raises `ApiError`."""
    path = f"/api/v1/deployments/{quote(function.name, safe='')}/timers"
    api.call("PUT", path, {"timers": [msgspec.to_builtins(one) for one in timers_of(function)]})


def _timer(function: Function, event_name: str, event: Event) -> Timer:
    told = from_texts(event.properties, KINDS[event.type])
    name, alias = told.name or f"{function.name}{event_name}", function.properties.auto_publish_alias
    if isinstance(told, Rule):
        is_on = told.state == "ENABLED" if told.state else told.enabled is not False
        return Timer(
            name=name, expression=_known(told.schedule), input=told.input, alias=alias, enabled=is_on
        )
    return Timer(
        name=name,
        expression=_known(told.schedule_expression),
        zone=told.schedule_expression_timezone,
        input=told.input,
        alias=alias,
        source=Source.SCHEDULER,
        enabled=told.state == "ENABLED",
        starts_unix_ms=_unix_ms(told.start_date),
        ends_unix_ms=_unix_ms(told.end_date),
    )


def _known(expression: str) -> str:
    """AWS knows no bare cron."""
    if not expression.startswith(("rate(", "cron(", "at(")):
        raise InvalidSpec(f"{expression!r} is no schedule: write rate(...), cron(...) or at(...)")
    return expression


def _unix_ms(said: Any) -> int:
    """YAML may have read a time as such. One without a zone is in UTC."""
    if said is None:
        return 0
    try:
        at = said if isinstance(said, datetime) else datetime.fromisoformat(str(said))
    except ValueError:
        raise InvalidSpec(f"{str(said)!r} is no time") from None
    return int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)
