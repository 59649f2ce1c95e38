"""CloudWatch Logs' door: whatever is sent, the answer is one of AWS's."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lambent.core.errors import LambentError
from lambent.gateway.protocols.aws import logs
from lambent.gateway.protocols.aws.door import AwsDoor
from lambent.gateway.protocols.aws.sender import Senders
from lambent.gateway.protocols.aws.services import TargetService
from lambent.gateway.requests import Receive, Request, Scope, Send
from lambent.gateway.responses import send
from lambent.storage.logs import DeploymentLogs
from tests.unit.gateway.asgi import House, Response, request

GROUP = "/aws/lambda/hello"
OPERATIONS = ["DescribeLogGroups", "DescribeLogStreams", "GetLogEvents", "FilterLogEvents"]


class Desk:
    """The door of logs, over those of one function."""

    def __init__(self, house: House, folder: Path) -> None:
        self._house = house
        route = house.routes.get("default", "hello")
        assert route is not None
        plan = msgspec.structs.replace(route.plan, log_group=GROUP, log_stream="2026/11/23/[3]0123")
        house.routes.put(msgspec.structs.replace(route, plan=plan))
        stored = DeploymentLogs(folder / "logs", house.clock)
        stored.write(plan, "w-0123456789ab", b"one\ntwo\nthree\n")
        service = TargetService("logs", logs.MODEL, logs.Logs(stored, house.routes).operations())
        self._door = AwsDoor(services=[service], senders=Senders(house.keys), bodies=house.bodies)

    def ask(self, operation: str, body: bytes) -> Response:
        """What one operation answers."""

        async def story() -> Response:
            headers = {
                "authorization": f"Bearer {(await self._house.key()).api_key}",
                "x-amz-target": f"Logs_20140328.{operation}",
            }
            return await request(self._app, "POST", "/", body, headers)

        return asyncio.run(story())

    async def _app(self, scope: Scope, receive: Receive, send_message: Send) -> None:
        asked = Request(scope, receive, send_message)
        try:
            reply = await self._door.answer(asked)
        except LambentError as error:
            reply = self._door.refuse(asked, error)
        assert reply is not None
        await send(reply, scope, send_message)


@pytest.fixture
def desk(house: House, tmp_path: Path) -> Desk:
    return Desk(house, tmp_path)


def test_a_page_has_what_was_printed(desk: Desk) -> None:
    answer = desk.ask("FilterLogEvents", msgspec.json.encode({"logGroupName": GROUP, "limit": 2}))
    assert answer.headers["content-type"] == "application/x-amz-json-1.1"
    said = answer.json()
    assert [event["message"] for event in said["events"]] == ["one\n", "two\n"]
    assert {event["logStreamName"] for event in said["events"]} == {"2026/11/23/[3]01230123456789ab"}
    rest = {"logGroupName": GROUP, "nextToken": said["nextToken"]}
    assert [
        one["message"] for one in desk.ask("FilterLogEvents", msgspec.json.encode(rest)).json()["events"]
    ] == ["three\n"]


anything = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**40), 2**70),
    st.text(max_size=20),
    st.lists(st.text(max_size=5), max_size=2),
    st.sampled_from([GROUP, "f/1:1", "b/9:9", "ERROR", "0123456789ab"]),
)
MEMBERS = [
    "logGroupName", "logGroupIdentifier", "logStreamName", "logStreamNames", "logStreamNamePrefix",
    "startTime", "endTime", "limit", "nextToken", "filterPattern", "startFromHead", "orderBy", "descending",
    "logGroupNamePrefix", "logGroupNamePattern",
]  # fmt: skip


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150)
@given(
    st.sampled_from(OPERATIONS),
    st.dictionaries(st.sampled_from(MEMBERS), anything, max_size=5),
    st.sampled_from([{}, {"logGroupName": GROUP}]),
)
def test_whatever_is_sent_the_answer_is_one_of_awss(
    desk: Desk, operation: str, members: dict[str, object], named: dict[str, object]
) -> None:
    answer = desk.ask(operation, msgspec.json.encode({**members, **named}))
    kinds = ("InvalidParameterException", "ResourceNotFoundException", "SerializationException")
    assert answer.status == 200 or (answer.status == 400 and answer.json()["__type"] in kinds), answer.body


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"\xff", b"null"])
def test_what_is_no_request(desk: Desk, body: bytes) -> None:
    assert desk.ask("GetLogEvents", body).status == 400
