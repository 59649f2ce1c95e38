"""Event source mappings through boto3: kept, given back, and plain about what they do not do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.aws_clients import PREFIX, client_of, make, refused
from tests.support.server import RunningServer

QUEUE = "arn:aws:sqs:eu-central-1:000000000000:"
STREAM = "arn:aws:kinesis:eu-central-1:000000000000:stream/s"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    running = RunningServer(tmp_path_factory.mktemp("mappings") / "state").start()
    try:
        made = client_of(running)
        make(made, "f")
        make(made, "g")
        yield made
    finally:
        running.stop()


def test_a_mapping_is_kept_changed_and_deleted(client: Any) -> None:
    made = client.create_event_source_mapping(EventSourceArn=QUEUE + "a", FunctionName="f", BatchSize=5)
    assert made["ResponseMetadata"]["HTTPStatusCode"] == 202
    assert (made["BatchSize"], made["FunctionArn"]) == (5, PREFIX + "f")
    assert made["State"] == "Disabled"
    assert made["StateTransitionReason"].startswith("Nothing here reads this event source")
    found = client.get_event_source_mapping(UUID=made["UUID"])
    assert {**found, "ResponseMetadata": 0} == {**made, "ResponseMetadata": 0}
    filters = {"Filters": [{"Pattern": '{"a": [1]}'}]}
    changed = client.update_event_source_mapping(UUID=made["UUID"], FunctionName="g", FilterCriteria=filters)
    assert (changed["FunctionArn"], changed["BatchSize"]) == (PREFIX + "g", 5)
    assert changed["FilterCriteria"] == filters
    assert client.delete_event_source_mapping(UUID=made["UUID"])["State"] == "Deleting"
    assert refused(client.get_event_source_mapping, UUID=made["UUID"]) == (
        404, "ResourceNotFoundException", "The resource you requested does not exist.",
    )  # fmt: skip


def test_mappings_are_listed_by_function_and_by_source(client: Any) -> None:
    for name in ("x", "y", "z"):
        client.create_event_source_mapping(EventSourceArn=QUEUE + name, FunctionName="f")
    client.create_event_source_mapping(
        EventSourceArn=STREAM, FunctionName=PREFIX + "g", StartingPosition="LATEST"
    )
    pages = client.get_paginator("list_event_source_mappings").paginate(
        FunctionName="f", PaginationConfig={"PageSize": 2}
    )
    sources = {one["EventSourceArn"] for page in pages for one in page["EventSourceMappings"]}
    assert sources == {QUEUE + name for name in ("x", "y", "z")}
    [one] = client.list_event_source_mappings(EventSourceArn=STREAM)["EventSourceMappings"]
    assert (one["BatchSize"], one["MaximumRetryAttempts"], one["StartingPosition"]) == (100, -1, "LATEST")


@pytest.mark.parametrize(
    ("words", "status", "kind"),
    [
        ({"FunctionName": "nobody"}, 400, "InvalidParameterValueException"),
        ({"EventSourceArn": None}, 400, "InvalidParameterValueException"),
        ({"EventSourceArn": "x"}, 400, "ValidationException"),
        ({"EventSourceArn": STREAM}, 400, "ValidationException"),
        ({"EventSourceArn": QUEUE + "x"}, 409, "ResourceConflictException"),
        ({"BatchSize": 0}, 400, "ValidationException"),
    ],
)
def test_a_mapping_that_cannot_be(client: Any, words: dict[str, Any], status: int, kind: str) -> None:
    if "nobody" not in words.values() and words.get("EventSourceArn") == QUEUE + "x":
        listed = client.list_event_source_mappings(EventSourceArn=QUEUE + "x")["EventSourceMappings"]
        if not listed:
            client.create_event_source_mapping(EventSourceArn=QUEUE + "x", FunctionName="f")
    given = {"EventSourceArn": QUEUE + "new", "FunctionName": "f", **words}
    given = {name: one for name, one in given.items() if one is not None}
    assert refused(client.create_event_source_mapping, **given)[:2] == (status, kind)
