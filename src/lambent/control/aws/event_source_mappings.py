"""Event source mappings: functions are called for our own queues. Nothing here reads AWS's streams."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Final, Protocol

import msgspec

from lambent.clock import Clock
from lambent.control.aws.books import Books
from lambent.control.aws.found import Finder
from lambent.control.aws.state import HELD, Kind, MappingBook
from lambent.control.aws.tags import check_tags
from lambent.control.holding import Names
from lambent.core.invocation import Role
from lambent.core.sources import Report, Source
from lambent.wire.aws.control import Answer, Call, ControlOperation
from lambent.wire.aws.eventpatterns import BadPattern, read_pattern
from lambent.wire.aws.faults import Fault, bad_parameter, conflict, gone
from lambent.wire.aws.mapping_requests import (
    CreateMappingRequest,
    ListMappingsResponse,
    Mapping,
    UpdateMappingRequest,
)
from lambent.wire.aws.names import LATEST, FunctionName, Place, read_name
from lambent.wire.aws.reading import Query, page, read, violated
from lambent.wire.aws.sqs_attributes import FIFO, name_of_arn

MAPPINGS: Final = "/2015-03-31/event-source-mappings"
ONE: Final = f"{MAPPINGS}/{{UUID}}"
PAGE_MAX: Final = 100
UUID_CHARACTERS: Final = 36
NOTHING_YET: Final = "No records processed"
NOTHING: Final = "The resource you requested does not exist."
# To say Enabled of anything but a queue would be to say that somebody polls.
UNSERVED: Final = "Nothing here reads this event source: the mapping is kept, and calls no function"
BY_USER: Final = "USER_INITIATED"
STREAMS: Final = ("kinesis", "dynamodb")
QUEUES: Final = "sqs"
PLAIN_BATCH_MAX: Final = 10  # a larger batch has to be gathered
FIFO_BATCH_MAX: Final = 10

Run = Callable[[Call], Awaitable[Answer]]

log = logging.getLogger(__name__)


class Sources(Protocol):
    """Who calls functions for queues."""

    def put(self, source: Source) -> None:
        """Serve a source from now on, in place of the one of the same id."""

    def remove(self, source: str) -> None:
        """Serve it no more. Harmless where there is none."""

    def is_ending(self, source: str) -> bool:
        """Whether what it took still runs."""

    def problem(self, source: str) -> str:
        """What was wrong with its last batch, in words."""


class MappingVerbs:
    """Create, get, update, delete and list."""

    def __init__(
        self,
        *,
        finder: Finder,
        books: Books,
        clock: Clock,
        sources: Sources,
        names: Names,
        has_queue: Callable[[str, str], bool],
    ) -> None:
        """`has_queue`: whether a project has a queue of a name."""
        self._finder: Final = finder
        self._books: Final = books
        self._clock: Final = clock
        self._sources: Final = sources
        self._names: Final = names
        self._has_queue: Final = has_queue

    async def restore(self, project: str) -> None:
        """At start: what was switched on is served."""
        books = await self._books.of_kind(MappingBook, project, Kind.MAPPING)
        for (key, _), book in books.items():
            try:
                self._apply(project, Place(), key, book)
            except BadPattern as error:  # stored by a server that did not look at it
                log.warning("mapping_not_served", extra={"mapping": key, "reason": str(error)})

    def operations(self) -> Iterator[ControlOperation]:
        """What AWS calls them."""
        for name, method, path, run in (
            ("CreateEventSourceMapping", "POST", MAPPINGS, self._alone(self._create)),
            ("GetEventSourceMapping", "GET", ONE, self._get),
            ("UpdateEventSourceMapping", "PUT", ONE, self._alone(self._update)),
            ("DeleteEventSourceMapping", "DELETE", ONE, self._alone(self._delete)),
            ("ListEventSourceMappings", "GET", MAPPINGS, self._list),
        ):
            yield ControlOperation(name=name, method=method, path=path, run=run)

    def _alone(self, change: Run) -> Run:
        """One change of a project's mappings at a time: each looks at what there is before it writes."""

        async def run(call: Call) -> Answer:
            async with self._names.held(call.principal.project, [HELD]):
                return await change(call)

        return run

    async def _create(self, call: Call) -> Answer:
        call.principal.require(Role.DEPLOY)
        request = read(call.body, CreateMappingRequest)
        if request.event_source_arn is None:
            raise bad_parameter("Unrecognized event source.")
        service = _service(request)
        _check_kind(request, service)
        name = await self._function(call, request.function_name)
        self._check(call, request)
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
        self._apply(call.principal.project, call.place, key, book)
        return Answer(202, self._told(call.place, key, book, under_way="Creating" if _is_on(book) else ""))

    async def _get(self, call: Call) -> Answer:
        key, book = await self._found(call, Role.READ)
        return Answer(200, self._told(call.place, key, book))

    async def _update(self, call: Call) -> Answer:
        key, before = await self._found(call, Role.DEPLOY)
        request = read(call.body, UpdateMappingRequest)
        if request.function_name is not None:
            await self._function(call, request.function_name)
        said = {name: one for name, one in msgspec.structs.asdict(request).items() if one is not None}
        changed = msgspec.structs.replace(before.request, **said)
        self._check(call, changed)
        book = MappingBook(request=changed, modified_unix_ms=self._clock.unix_ms())
        await self._books.put(call.principal.project, Kind.MAPPING, key, book)
        self._apply(call.principal.project, call.place, key, book)
        turned = {(True, False): "Disabling", (False, True): "Enabling"}
        under_way = turned.get((_is_on(before), _is_on(book)), "Updating")
        return Answer(202, self._told(call.place, key, book, under_way=under_way))

    async def _delete(self, call: Call) -> Answer:
        key, book = await self._found(call, Role.DEPLOY)
        await self._books.remove(call.principal.project, Kind.MAPPING, key)
        self._sources.remove(key)
        return Answer(202, self._told(call.place, key, book, under_way="Deleting"))

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
        listed = [self._told(call.place, key, found[key]) for key in part]
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

    def _check(self, call: Call, request: CreateMappingRequest) -> None:
        """What fits the model, and still cannot be. Raises `Fault`."""
        check_tags(request.tags or {})
        if _service(request) != QUEUES:
            return
        arn = request.event_source_arn or ""
        if not self._has_queue(call.principal.project, name_of_arn(arn)):
            raise bad_parameter(
                "Error occurred while ReceiveMessage. SQS Error Code: "
                "AWS.SimpleQueueService.NonExistentQueue. "
                "SQS Error Message: The specified queue does not exist."
            )
        size = request.batch_size or PLAIN_BATCH_MAX
        if size > FIFO_BATCH_MAX and arn.endswith(FIFO):
            raise bad_parameter(
                f"Invalid request provided. Batch size must be between 1 and {FIFO_BATCH_MAX}"
            )
        if size > PLAIN_BATCH_MAX and not request.maximum_batching_window_in_seconds:
            raise bad_parameter(
                "Maximum batch window in seconds must be greater than 0 if maximum batch size is greater "
                f"than {PLAIN_BATCH_MAX}"
            )
        try:
            for pattern in _patterns(request):
                read_pattern(pattern)
        except BadPattern as error:
            raise bad_parameter("Invalid filter pattern definition.") from error

    def _apply(self, project: str, place: Place, key: str, book: MappingBook) -> None:
        """Let it be served as it is kept."""
        if _is_on(book):
            self._sources.put(_source(project, place, key, book.request))
        else:
            self._sources.remove(key)

    def _told(self, place: Place, key: str, book: MappingBook, *, under_way: str = "") -> Mapping:
        is_on, is_queue = _is_on(book), _service(book.request) == QUEUES
        settled = "Enabled" if is_on else "Disabling" if self._sources.is_ending(key) else "Disabled"
        problem = self._sources.problem(key)
        request = msgspec.structs.asdict(book.request)
        name = read_name(book.request.function_name, "")
        same = {field: one for field, one in request.items() if field in Mapping.__struct_fields__}
        return Mapping(
            uuid=key,
            function_arn=place.function_arn(name.name, name.qualifier),
            event_source_mapping_arn=(
                f"arn:aws:lambda:{place.region}:{place.account}:event-source-mapping:{key}"
            ),
            last_modified=book.modified_unix_ms / 1000,
            state=(under_way if is_queue or under_way == "Deleting" else "") or settled,
            state_transition_reason=BY_USER if is_queue else UNSERVED,
            last_processing_result=f"PROBLEM: {problem}"
            if problem
            else NOTHING_YET
            if not is_queue
            else None,
            **same,
        )


def _check_kind(request: CreateMappingRequest, service: str) -> None:
    """What a kind of source cannot be asked for. Raises `Fault`."""
    if service in STREAMS and request.starting_position is None:
        text = violated("startingPosition", None, "Member must not be null.").message
        raise bad_parameter(text)
    if service == "dynamodb" and request.starting_position == "AT_TIMESTAMP":
        raise bad_parameter(f"Unsupported starting position for arn type: {request.event_source_arn}")
    if service == QUEUES and request.destination_config is not None:
        raise bad_parameter("Unsupported DestinationConfig parameter for given event source mapping type.")


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


def _service(request: CreateMappingRequest) -> str:
    return (request.event_source_arn or "::").split(":")[2]


def _is_on(book: MappingBook) -> bool:
    """Whether it is to be served; what nobody reads is not."""
    return _service(book.request) == QUEUES and book.request.enabled is not False


def _patterns(request: CreateMappingRequest) -> Sequence[str]:
    filters = request.filter_criteria.filters if request.filter_criteria else None
    return [one.pattern or "{}" for one in filters or ()]


def _source(project: str, place: Place, key: str, request: CreateMappingRequest) -> Source:
    name, arn = read_name(request.function_name, ""), request.event_source_arn or ""
    qualifier = name.qualifier.removeprefix(LATEST)
    scaling = request.scaling_config
    partial = bool(request.function_response_types)
    return Source(
        id=key,
        project=project,
        queue=name_of_arn(arn),
        deployment=name.name,
        alias=qualifier,
        version="" if qualifier and not qualifier.isdecimal() else qualifier or LATEST,
        arn=arn,
        called_arn=place.function_arn(name.name, qualifier),
        batch_max=request.batch_size or PLAIN_BATCH_MAX,
        window_s=float(request.maximum_batching_window_in_seconds or 0),
        running_max=(scaling.maximum_concurrency or 0) if scaling else 0,
        patterns=tuple(_patterns(request)),
        report=Report.ITEMS if partial else Report.WHOLE,
    )
