"""`EventInvokeConfig`: how a function's asynchronous invocations are tried, and who is told of their end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final
from urllib.parse import quote

from lambent.client.sam.api import Api
from lambent.client.sam.stack import EventInvoke, Function, Ignored, InvokeDestination

FUNCTIONS: Final = "/2019-09-25/functions"
TOLD: Final = frozenset({"Lambda", "SQS"})


def left_out(function: Function) -> Iterator[Ignored]:
    """The destinations that hear of nothing here."""
    for name, to in _destinations(function.properties.event_invoke_config):
        where = f"{function.logical_id}.EventInvokeConfig.DestinationConfig.{name}"
        if to.type not in TOLD:
            yield Ignored(where, f"{to.type}: only functions and queues are told")
        elif not to.destination:
            yield Ignored(where, "no queue is made for it: name one as its Destination")


def put_handling(api: Api, function: Function) -> None:
    """Let it hold for the template's alias, or else for the function. Raises `ApiError`."""
    told, alias = function.properties.event_invoke_config, function.properties.auto_publish_alias
    query = f"?Qualifier={quote(alias, safe='')}" if alias else ""
    path = f"{FUNCTIONS}/{quote(function.name, safe='')}/event-invoke-config{query}"
    there = api.find(path)
    if told is None:
        if there is not None:
            api.call("DELETE", path)
        return
    wanted = {
        "MaximumRetryAttempts": told.maximum_retry_attempts,
        "MaximumEventAgeInSeconds": told.maximum_event_age_in_seconds,
        "DestinationConfig": {
            name: {"Destination": to.destination} for name, to in _destinations(told) if to.destination
        },
    }
    if there is None or not _says(there, wanted):
        api.call("PUT", path, {name: value for name, value in wanted.items() if value is not None})


def _destinations(told: EventInvoke | None) -> Iterator[tuple[str, InvokeDestination]]:
    if told is not None and told.destination_config is not None:
        for name, to in (
            ("OnSuccess", told.destination_config.on_success),
            ("OnFailure", told.destination_config.on_failure),
        ):
            if to is not None:
                yield name, to


def _says(there: Mapping[str, object], wanted: Mapping[str, object]) -> bool:
    """Whether what there is, is what is wanted. Destinations that are none are given back as empty."""
    told = there.get("DestinationConfig")
    named = {name: to for name, to in told.items() if to} if isinstance(told, dict) else {}
    return all({**there, "DestinationConfig": named}.get(name) == value for name, value in wanted.items())
