"""A template's queues, and the functions that are called for them, put on a server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote

import msgspec

from lambent.client.errors import BundleError
from lambent.client.sam.api import Api
from lambent.client.sam.stack import Event, Function, Queue

MAPPINGS: Final = "/2015-03-31/event-source-mappings"
# What may be said of an SQS event beside its queue, and what holds where it is not said.
SETTINGS: Final[Mapping[str, Any]] = {
    "BatchSize": 10,
    "Enabled": True,
    "FilterCriteria": {},
    "FunctionResponseTypes": [],
    "MaximumBatchingWindowInSeconds": 0,
    "ScalingConfig": {},
}


def put_queues(api: Api, queues: Sequence[Queue]) -> None:
    """Make or change all of them. One may be the dead-letter queue of another, so that is said last."""
    there = {url.rpartition("/")[2]: url for url in _listed(api)}
    for queue in queues:
        attributes = {name: one for name, one in queue.attributes.items() if name != "RedrivePolicy"}
        if queue.name not in there:
            wanted = {"QueueName": queue.name, "Attributes": attributes, "tags": queue.tags}
            there[queue.name] = api.queues("CreateQueue", wanted)["QueueUrl"]
        elif changing := {name: one for name, one in attributes.items() if name != "FifoQueue"}:
            api.queues("SetQueueAttributes", {"QueueUrl": there[queue.name], "Attributes": changing})
    for queue in queues:
        if policy := queue.attributes.get("RedrivePolicy"):
            attributes = {"RedrivePolicy": policy}
            api.queues("SetQueueAttributes", {"QueueUrl": there[queue.name], "Attributes": attributes})


def put_mappings(api: Api, function: Function) -> None:
    """Let a function be called for the queues that its events name. Raises `BundleError`."""
    for name, event in function.properties.events.items():
        if event.type == "SQS":
            _put(api, function, f"{function.logical_id}.Events.{name}", event)


def _put(api: Api, function: Function, where: str, event: Event) -> None:
    arn = event.properties.get("Queue")
    if not isinstance(arn, str):
        raise BundleError(f"{where} has no Queue")
    alias = function.properties.auto_publish_alias
    called = f"{function.name}:{alias}" if alias else function.name
    told = {name: event.properties.get(name, default) for name, default in SETTINGS.items()}
    query = f"EventSourceArn={quote(arn, safe='')}&FunctionName={quote(function.name, safe='')}"
    found = api.call("GET", f"{MAPPINGS}?{query}")["EventSourceMappings"]
    if found:
        api.call("PUT", f"{MAPPINGS}/{found[0]['UUID']}", {"FunctionName": called, **told})
    else:
        api.call("POST", MAPPINGS, {"FunctionName": called, "EventSourceArn": arn, **told})


def _listed(api: Api) -> Sequence[str]:
    urls: Sequence[str] = api.queues("ListQueues", {}).get("QueueUrls", ())
    return urls


def attribute_texts(told: Mapping[str, Any]) -> dict[str, str]:
    """A queue's properties as the service writes them: numbers, truths and policies as text."""
    return {name: _text(one) for name, one in told.items()}


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return msgspec.json.encode(value).decode() if isinstance(value, dict) else str(value)
