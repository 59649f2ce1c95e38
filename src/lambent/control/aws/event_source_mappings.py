"""Event source mappings: kept and given back. Nothing here reads AWS's queues and streams: each says so."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Final

import msgspec

from lambent.clock import Clock
from lambent.control.aws.books import Books
from lambent.control.aws.found import Finder
from lambent.control.aws.state import Kind, MappingBook
from lambent.core.invocation import Role
from lambent.wire.aws.control import Answer, Call, ControlOperation
from lambent.wire.aws.faults import Fault, bad_parameter, conflict, gone
from lambent.wire.aws.mapping_requests import (
    CreateMappingRequest,
    ListMappingsResponse,
    Mapping,
    UpdateMappingRequest,
)
from lambent.wire.aws.names import LATEST, FunctionName, Place, read_name
from lambent.wire.aws.reading import Query, page, read, violated

MAPPINGS: Final = "/2015-03-31/event-source-mappings"
ONE: Final = f"{MAPPINGS}/{{UUID}}"
PAGE_MAX: Final = 100
UUID_CHARACTERS: Final = 36
NOTHING: Final = "The resource you requested does not exist."
# AWS's states are Enabled and Disabled. To say Enabled would be to say that somebody polls.
STATE: Final = "Disabled"
WHY: Final = "Nothing here reads this event source: the mapping is kept, and calls no function"
STREAMS: Final = ("kinesis", "dynamodb")


class MappingVerbs:
    """Create, get, update, delete and list."""

    def __init__(self, *, finder: Finder, books: Books, clock: Clock) -> None:
        self._finder: Final = finder
        self._books: Final = books
        self._clock: Final = clock

    def operations(self) -> Iterator[ControlOperation]:
        """What AWS calls them."""
        for name, method, path, run in (
            ("CreateEventSourceMapping", "POST", MAPPINGS, self._create),
            ("GetEventSourceMapping", "GET", ONE, self._get),
            ("UpdateEventSourceMapping", "PUT", ONE, self._update),
            ("DeleteEventSourceMapping", "DELETE", ONE, self._delete),
            ("ListEventSourceMappings", "GET", MAPPINGS, self._list),
        ):
            yield ControlOperation(name=name, method=method, path=path, run=run)

    async def _create(self, call: Call) -> Answer:
        call.principal.require(Role.DEPLOY)
        request = read(call.body, CreateMappingRequest)
        if request.event_source_arn is None:
            raise bad_parameter("Unrecognized event source.")
        service = request.event_source_arn.split(":")[2]
        if service in STREAMS and request.starting_position is None:
            raise violated("startingPosition", None, "Member must not be null.")
        name = await self._function(call, request.function_name)
        for key, other in (await self._all(call)).items():
            same = (request.event_source_arn, name.name)
            if (other.request.event_source_arn, read_name(other.request.function_name, "").name) == same:
                raise conflict(
                    f'The event source arn (" {request.event_source_arn} ") and function (" {name.name} ") '
                    "provided mapping already exists. Please update or delete the existing mapping with UUID "
                    f"{key}"
                )
        book = MappingBook(request=_with_defaults(request, service), modified_unix_ms=self._clock.unix_ms())
        key = str(uuid.uuid4())
        await self._books.put(call.principal.project, Kind.MAPPING, key, book)
        return Answer(202, _told(call.place, key, book))

    async def _get(self, call: Call) -> Answer:
        key, book = await self._found(call, Role.READ)
        return Answer(200, _told(call.place, key, book))

    async def _update(self, call: Call) -> Answer:
        key, before = await self._found(call, Role.DEPLOY)
        request = read(call.body, UpdateMappingRequest)
        if request.function_name is not None:
            await self._function(call, request.function_name)
        said = {name: one for name, one in msgspec.structs.asdict(request).items() if one is not None}
        changed = msgspec.structs.replace(before.request, **said)
        book = MappingBook(request=changed, modified_unix_ms=self._clock.unix_ms())
        await self._books.put(call.principal.project, Kind.MAPPING, key, book)
        return Answer(202, _told(call.place, key, book))

    async def _delete(self, call: Call) -> Answer:
        key, book = await self._found(call, Role.DEPLOY)
        await self._books.remove(call.principal.project, Kind.MAPPING, key)
        told = msgspec.structs.replace(_told(call.place, key, book), state="Deleting")
        return Answer(202, told)

    async def _list(self, call: Call) -> Answer:
        call.principal.require(Role.READ)
        query = Query(call.query)
        source, function = query.text("EventSourceArn"), query.text("FunctionName")
        name = read_name(function, "").name if function else ""
        found = {
            key: book
            for key, book in (await self._all(call)).items()
            if source in ("", book.request.event_source_arn)
            and name in ("", read_name(book.request.function_name, "").name)
        }
        part, marker = page(sorted(found), query, key=str, most=PAGE_MAX)
        listed = [_told(call.place, key, found[key]) for key in part]
        return Answer(200, ListMappingsResponse(event_source_mappings=listed, next_marker=marker))

    async def _all(self, call: Call) -> dict[str, MappingBook]:
        books = await self._books.of_kind(MappingBook, call.principal.project, Kind.MAPPING)
        return {name: book for (name, _), book in books.items()}

    async def _found(self, call: Call, role: Role) -> tuple[str, MappingBook]:
        call.principal.require(role)
        key = call.labels[0]
        if len(key) < UUID_CHARACTERS:
            raise violated("uUID", key, "Member must have length greater than or equal to 36")
        if len(key) > UUID_CHARACTERS:
            raise violated("uUID", key, "Member must have length less than or equal to 36")
        book = await self._books.find(MappingBook, call.principal.project, Kind.MAPPING, key)
        if book is None:
            raise gone(NOTHING)
        return key, book

    async def _function(self, call: Call, text: str) -> FunctionName:
        name = read_name(text, "")
        try:
            await self._finder.version(call.principal.project, call.place, name)
        except Fault as error:
            raise bad_parameter("Function does not exist") from error
        return name


def _with_defaults(request: CreateMappingRequest, service: str) -> CreateMappingRequest:
    """What AWS fills in, by the kind of source."""
    wanted: dict[str, object] = {
        "batch_size": 10 if service == "sqs" else 100,
        "maximum_batching_window_in_seconds": 0,
        "function_response_types": [],
    }
    if service in STREAMS:
        wanted |= {
            "parallelization_factor": 1,
            "bisect_batch_on_function_error": False,
            "maximum_record_age_in_seconds": -1,
            "maximum_retry_attempts": -1,
            "tumbling_window_in_seconds": 0,
        }
    unsaid = {name: one for name, one in wanted.items() if getattr(request, name) is None}
    return msgspec.structs.replace(request, **unsaid)


def _told(place: Place, key: str, book: MappingBook) -> Mapping:
    request = msgspec.structs.asdict(book.request)
    name = read_name(book.request.function_name, "")
    same = {field: one for field, one in request.items() if field in Mapping.__struct_fields__}
    return Mapping(
        uuid=key,
        function_arn=place.function_arn(name.name, name.qualifier.removeprefix(LATEST)),
        event_source_mapping_arn=f"arn:aws:lambda:{place.region}:{place.account}:event-source-mapping:{key}",
        last_modified=book.modified_unix_ms / 1000,
        state=STATE,
        state_transition_reason=WHY,
        last_processing_result="No records processed",
        **same,
    )
