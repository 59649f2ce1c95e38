"""Operations of the control side, served by AWS's door."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from urllib.parse import parse_qs

import msgspec

from lambent.core.errors import CallerFault
from lambent.gateway.protocols.aws.asked import Asked, Operation, Run, request_id
from lambent.gateway.protocols.aws.services import JSON_1_1
from lambent.gateway.requests import QUERY_FIELDS_MAX
from lambent.gateway.responses import JSON_HEADER, Header, Reply
from lambent.wire.aws.control import Call, ControlOperation


def served(operations: Iterable[ControlOperation]) -> Iterator[tuple[str, str, Operation]]:
    """The same operations by method and path, as the door takes them."""
    for operation in operations:
        yield (
            operation.method,
            operation.path,
            Operation(
                name=operation.name,
                run=_run(operation),
                request_bytes_max=operation.request_bytes_max,
            ),
        )


def served_by_name(operations: Iterable[ControlOperation]) -> dict[str, Operation]:
    """The same by their names, for services that tell them so."""
    return {
        operation.name: Operation(
            name=operation.name,
            run=_run(operation, content_type=JSON_1_1),
            request_bytes_max=operation.request_bytes_max,
        )
        for operation in operations
    }


def _run(operation: ControlOperation, *, content_type: Header = JSON_HEADER) -> Run:
    async def run(asked: Asked) -> Reply:
        answer = await operation.run(_call(asked))
        if answer.value is None:
            return Reply(answer.status, [*request_id(asked.request.invocation_id)])
        headers = [content_type, *request_id(asked.request.invocation_id)]
        return Reply(answer.status, headers, msgspec.json.encode(answer.value))

    return run


def _call(asked: Asked) -> Call:
    text = asked.request.scope["query_string"].decode("latin-1")
    try:
        query = parse_qs(text, keep_blank_values=True, max_num_fields=QUERY_FIELDS_MAX)
    except ValueError as error:
        raise CallerFault(f"the query has more than {QUERY_FIELDS_MAX} fields") from error
    host = asked.header(b"host") or "127.0.0.1"
    return Call(
        principal=asked.principal,
        place=asked.place,
        labels=asked.labels,
        query=query,
        body=asked.body,
        base_url=f"{asked.request.scope['scheme']}://{host}",
    )
