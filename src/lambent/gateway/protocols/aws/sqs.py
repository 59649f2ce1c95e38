"""SQS: who is asked, how faults are worded, and what both families of its operations find out first."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import msgspec

from lambent.bindings.queues import Queues
from lambent.core.invocation import Role
from lambent.gateway.protocols.aws.asked import Asked, Operation, request_id
from lambent.gateway.protocols.aws.services import Found, TargetService
from lambent.gateway.requests import Request
from lambent.gateway.responses import Header, Reply
from lambent.storage.queues import Queue
from lambent.wire.aws.faults import Fault
from lambent.wire.aws.sqs_faults import code_of, in_its_words, missing, no_queue

SCOPE: Final = "sqs"
TARGET: Final = "AmazonSQS"
MODEL: Final = "com.amazonaws.sqs#"
JSON_1_0: Final[Header] = (b"content-type", b"application/x-amz-json-1.0")
QUEUE_URL: Final = re.compile(r"(?:.*/)?([A-Za-z0-9_.-]{1,80})", re.DOTALL)


class SqsService:
    """The service by its JSON protocol. Clients hear the older codes as well, which programs match on."""

    def __init__(self, operations: Mapping[str, Operation]) -> None:
        """`operations` go by their names."""
        self._service: Final = TargetService(SCOPE, TARGET, operations)
        self.scope: Final = SCOPE

    def claims(self, request: Request) -> bool:
        """Whether the target is the service's."""
        return self._service.claims(request)

    def find(self, request: Request) -> Found:
        """The operation."""
        return self._service.find(request)

    def refuse(self, request: Request, fault: Fault) -> Reply:
        """The type is a member of the JSON, the older code a header."""
        told = in_its_words(fault)
        body = {"__type": MODEL + told.kind, "message": told.message}
        headers = [
            JSON_1_0,
            (b"x-amzn-errortype", told.kind.encode()),
            (b"x-amzn-query-error", code_of(told).encode()),
            *request_id(request.invocation_id),
        ]
        return Reply(fault.http_status, headers, msgspec.json.encode(body))


def named(queues: Queues, asked: Asked, url: str, role: Role) -> Queue:
    """The queue of a URL. Raises `Fault`, `Forbidden`."""
    asked.principal.require(role)
    if not url:
        raise missing("QueueUrl")
    match = QUEUE_URL.fullmatch(url)
    queue = queues.find(asked.principal.project, match[1]) if match else None
    if queue is None:
        raise no_queue()
    return queue


def url_of(asked: Asked, name: str) -> str:
    """A queue's URL, as this client reaches the server."""
    host = asked.header(b"host") or "127.0.0.1"
    return f"{asked.request.scope['scheme']}://{host}/{asked.place.account}/{name}"


def answer(asked: Asked, value: object | None = None) -> Reply:
    """An answer of the service; no body where there is nothing to say."""
    headers = [JSON_1_0, *request_id(asked.request.invocation_id)]
    return Reply(200, headers, b"" if value is None else msgspec.json.encode(value))
