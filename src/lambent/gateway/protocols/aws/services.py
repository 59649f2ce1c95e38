"""AWS's services: how each tells its requests and operations, and how each words a fault."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, Protocol
from urllib.parse import unquote

import msgspec

from lambent.gateway.protocols.aws.asked import Asked, Operation, request_id
from lambent.gateway.requests import Request
from lambent.gateway.responses import JSON_HEADER, Reply
from lambent.wire.aws.faults import Fault

LAMBDA_PATH: Final = re.compile(r"/{1,9}20\d\d-\d\d-\d\d/")
LABEL: Final = re.compile(r"\{[^}]*\}")
TARGET: Final = b"x-amz-target"
JSON_1_1: Final = (b"content-type", b"application/x-amz-json-1.1")


class Found(msgspec.Struct, frozen=True):
    """What a request asks for; `labels` are the decoded values in its path.

    `is_by_path`: whoever asks with the same method and path asks for the same.
    """

    operation: Operation
    labels: Sequence[str] = ()
    is_by_path: bool = False


class Service(Protocol):
    """One of AWS's APIs. `scope` is its name in signatures."""

    @property
    def scope(self) -> str:
        """Such as `lambda`."""

    def claims(self, request: Request) -> bool:
        """Whether it is this service that is asked; by the head of the request alone."""

    def find(self, request: Request) -> Found:
        """The operation that is asked for; one that raises `Fault` where there is none."""

    def refuse(self, request: Request, fault: Fault) -> Reply:
        """A fault in the service's own form."""


class RestService:
    """A service whose operations are told by method and path (REST-JSON).

    It claims what `pattern` matches at the start of the path. Templates are those of the service model, such
    as `/2015-03-31/functions/{FunctionName}/invocations`; the values are read from the path as it was sent,
    so that an encoded slash belongs to its value, and slashes too many do not count.
    """

    def __init__(
        self, scope: str, pattern: re.Pattern[str], operations: Iterable[tuple[str, str, Operation]]
    ) -> None:
        """`operations` are (method, template, operation)."""
        self.scope: Final = scope
        self._pattern: Final = pattern
        self._operations: Final[dict[tuple[str, int], list[tuple[Sequence[str], Operation]]]] = {}
        for method, template, operation in operations:
            words = [LABEL.sub("", word) for word in template.split("/") if word]
            self._operations.setdefault((method, len(words)), []).append((words, operation))

    def claims(self, request: Request) -> bool:
        """Whether the path is the service's."""
        return self._pattern.match(request.path) is not None

    def find(self, request: Request) -> Found:
        """The operation, with the values in the path."""
        raw = [word for word in request.scope["raw_path"].decode("latin-1").split("/") if word]
        for words, operation in self._operations.get((request.method, len(raw)), ()):
            if all(not word or word == sent for word, sent in zip(words, raw, strict=True)):
                labels = [unquote(sent) for word, sent in zip(words, raw, strict=True) if not word]
                return Found(operation, labels, is_by_path=True)
        return _unknown(f"{request.method} {request.path}")

    def refuse(self, request: Request, fault: Fault) -> Reply:
        """The type in a header, the rest as JSON."""
        kind = (b"x-amzn-errortype", fault.kind.encode())
        return Reply(fault.http_status, [JSON_HEADER, kind, *request_id(request.invocation_id)], fault.body())


class TargetService:
    """A service whose operations are told by `X-Amz-Target: prefix.Operation` (JSON 1.1, `POST /`)."""

    def __init__(self, scope: str, prefix: str, operations: Mapping[str, Operation]) -> None:
        """`prefix` is such as `Logs_20140328`; `operations` go by their names."""
        self.scope: Final = scope
        self._prefix: Final = prefix.encode() + b"."
        self._operations: Final = operations

    def claims(self, request: Request) -> bool:
        """Whether the target is the service's."""
        return request.headers.get(TARGET, b"").startswith(self._prefix)

    def find(self, request: Request) -> Found:
        """The operation."""
        name = request.headers[TARGET].removeprefix(self._prefix).decode("latin-1")
        operation = self._operations.get(name)
        return _unknown(name) if operation is None else Found(operation)

    def refuse(self, request: Request, fault: Fault) -> Reply:
        """The type is a member of the JSON."""
        kind = (b"x-amzn-errortype", fault.kind.encode())
        body = {"__type": fault.kind, **fault.extra, "message": fault.message}
        headers = [JSON_1_1, kind, *request_id(request.invocation_id)]
        return Reply(fault.http_status, headers, msgspec.json.encode(body))


class InItsWords:
    """A service that calls faults by other names than those of functions."""

    def __init__(self, service: Service, words: Callable[[Fault], Fault]) -> None:
        self.scope: Final = service.scope
        self.claims: Final = service.claims
        self.find: Final = service.find
        self._service: Final = service
        self._words: Final = words

    def refuse(self, request: Request, fault: Fault) -> Reply:
        """A fault as this service calls it."""
        return self._service.refuse(request, self._words(fault))


def _unknown(what: str) -> Found:
    """Refuses when it is run: what there is, is told to those who have proved themselves."""

    async def refuse(_: Asked) -> Reply:
        raise Fault("UnknownOperationException", 404, f"{what} is not supported here")

    return Found(Operation(name=what, run=refuse))
