"""CloudWatch Logs as far as its readers need it: which logs there are, and what is in them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final, Protocol, TypeVar

import msgspec

from lambent.core.invocation import Role
from lambent.gateway.protocols.aws.asked import Asked, Operation, request_id
from lambent.gateway.protocols.aws.services import JSON_1_1
from lambent.gateway.responses import Reply
from lambent.pool.routes import Route, Routes
from lambent.wire.aws import logs as wire
from lambent.wire.aws.faults import Fault
from lambent.wire.aws.filterpatterns import BadPattern, read_pattern
from lambent.wire.aws.logs import Event
from lambent.wire.process import worker_mark
from lambent.wire.typed import from_json

T = TypeVar("T")

MODEL: Final = "Logs_20140328"
LAST_MS: Final = 253_402_300_799_000  # of the year 9999, after which no date can be written


class Stored(Protocol):
    """The logs of deployments. All methods block."""

    def since(self, project: str, name: str, stamp: str = "") -> Sequence[str]:
        """Every finished line from the time `stamp`, as text in ISO 8601, on; oldest first."""

    def size_bytes(self, project: str, name: str) -> int:
        """What a log takes on disk."""

    def streams(self, project: str, name: str) -> dict[str, str]:
        """What each worker's part of it is called, as far as that is known."""


class Logs:
    """DescribeLogGroups, DescribeLogStreams, GetLogEvents, FilterLogEvents."""

    def __init__(self, stored: Stored, routes: Routes) -> None:
        self._stored: Final = stored
        self._routes: Final = routes

    def operations(self) -> Mapping[str, Operation]:
        """By name."""
        runs = {
            "DescribeLogGroups": self._groups,
            "DescribeLogStreams": self._streams,
            "GetLogEvents": self._get,
            "FilterLogEvents": self._filter,
        }
        return {name: Operation(name=name, run=run) for name, run in runs.items()}

    async def _groups(self, asked: Asked) -> Reply:
        wanted = _read(asked, wire.GroupsAsked)
        routes = sorted(self._routes_of(asked), key=lambda route: route.plan.log_group)
        names = [
            route
            for route in routes
            if route.plan.log_group.startswith(wanted.log_group_name_prefix)
            and _has(route.plan.log_group, wanted.log_group_name_pattern)
            and route.plan.log_group > (wanted.next_token or "")
        ]
        page = names[: wanted.limit]
        groups = [await asyncio.to_thread(self._group, asked, route) for route in page]
        more = page[-1].plan.log_group if len(names) > len(page) else None
        return _answer(asked, {"logGroups": groups}, more)

    async def _streams(self, asked: Asked) -> Reply:
        wanted = _read(asked, wire.StreamsAsked)
        route = self._route(asked, wanted.log_group_name, wanted.log_group_identifier)
        events = await self._events(route)
        spans: dict[str, tuple[int, int]] = {}
        for event in events:
            first, _ = spans.get(event.stream, (event.unix_ms, 0))
            spans[event.stream] = (first, event.unix_ms)
        arn = _group_arn(asked, route)
        streams = [
            wire.LogStream(
                log_stream_name=name,
                creation_time=first,
                first_event_timestamp=first,
                last_event_timestamp=last,
                last_ingestion_time=last,
                upload_sequence_token=f"{last}",
                arn=f"{arn}:log-stream:{name}",
            )
            for name, (first, last) in sorted(spans.items(), reverse=wanted.descending)
            if name.startswith(wanted.log_stream_name_prefix)
        ]
        if wanted.order_by == "LastEventTime":
            streams.sort(key=lambda stream: stream.last_event_timestamp, reverse=wanted.descending)
        start = int(wanted.next_token) if wanted.next_token and wanted.next_token.isdecimal() else 0
        end = start + wanted.limit
        more = str(end) if len(streams) > end else None
        return _answer(asked, {"logStreams": streams[start:end]}, more)

    async def _get(self, asked: Asked) -> Reply:
        wanted = _read(asked, wire.EventsAsked)
        route = self._route(asked, wanted.log_group_name, wanted.log_group_identifier)
        mark = worker_mark(wanted.log_stream_name)
        whole = [one for one in await self._events(route) if worker_mark(one.stream) == mark]
        if not whole:
            raise wire.no_stream()
        events = [
            one
            for one in whole
            if one.unix_ms >= (wanted.start_time or 0)
            and (wanted.end_time is None or one.unix_ms < wanted.end_time)
        ]
        token = wire.position_of(wanted.next_token) if wanted.next_token else None
        if token is None and wanted.start_from_head:
            page = wire.page_after(events, None, wanted.limit)
        elif token is not None and token[0] == "f":
            page = wire.page_after(events, token[1], wanted.limit)
        else:
            page = wire.page_before(events, token[1] if token else None, wanted.limit)
        # Where there is no more, the client hears the token that it sent.
        here = token[1] if token else (wanted.end_time or whole[-1].unix_ms, 0)
        last = page.events[-1].position if page.events else here
        first = page.events[0].position if page.events else here
        said = [
            {"timestamp": one.unix_ms, "message": one.message, "ingestionTime": one.unix_ms}
            for one in page.events
        ]
        tokens = {
            "nextForwardToken": wire.token_of("f", last),
            "nextBackwardToken": wire.token_of("b", first),
        }
        return _answer(asked, {"events": said, **tokens})

    async def _filter(self, asked: Asked) -> Reply:
        wanted = _read(asked, wire.FilterAsked)
        if wanted.log_stream_names and wanted.log_stream_name_prefix:
            raise _invalid("logStreamNamePrefix and logStreamNames are mutually exclusive.")
        route = self._route(asked, wanted.log_group_name, wanted.log_group_identifier)
        try:
            matches = read_pattern(wanted.filter_pattern)
        except BadPattern as error:
            raise _invalid(f"Invalid filter pattern: {error}") from error
        marks = {worker_mark(name) for name in wanted.log_stream_names or ()}
        after = wire.position_of(wanted.next_token)[1] if wanted.next_token else None
        since_ms = max(wanted.start_time or 0, after[0] if after else 0)

        def chosen() -> wire.Page:
            events = [
                one
                for one in self._read_events(route, since_ms)
                if one.unix_ms >= since_ms
                and (wanted.end_time is None or one.unix_ms <= wanted.end_time)
                and one.stream.startswith(wanted.log_stream_name_prefix)
                and (not marks or worker_mark(one.stream) in marks)
                and matches(one.message)
            ]
            return wire.page_after(events, after, wanted.limit)

        page = await asyncio.to_thread(chosen)
        said = [
            {
                "logStreamName": one.stream,
                "timestamp": one.unix_ms,
                "message": one.message,
                "ingestionTime": one.unix_ms,
                "eventId": one.event_id,
            }
            for one in page.events
        ]
        more = wire.token_of("f", page.events[-1].position) if page.more else None
        return _answer(asked, {"events": said, "searchedLogStreams": []}, more)

    async def _events(self, route: Route) -> Sequence[Event]:
        return await asyncio.to_thread(self._read_events, route, 0)

    def _read_events(self, route: Route, since_ms: int) -> Sequence[Event]:
        stamp = ""
        if since_ms:
            when = datetime.fromtimestamp(min(since_ms, LAST_MS) / 1000, UTC).isoformat(
                timespec="milliseconds"
            )
            stamp = when.removesuffix("+00:00")
        lines = self._stored.since(route.project, route.name, stamp)
        return wire.read_lines(lines, self._stored.streams(route.project, route.name))

    def _group(self, asked: Asked, route: Route) -> wire.LogGroup:
        arn = _group_arn(asked, route)
        return wire.LogGroup(
            log_group_name=route.plan.log_group,
            creation_time=route.created_unix_ms,
            arn=f"{arn}:*",
            stored_bytes=self._stored.size_bytes(route.project, route.name),
            log_group_arn=arn,
        )

    def _routes_of(self, asked: Asked) -> Sequence[Route]:
        asked.principal.require(Role.READ)
        project = asked.principal.project
        return [one for one in self._routes.all() if one.project == project and one.plan.log_group]

    def _route(self, asked: Asked, name: str, identifier: str) -> Route:
        """Whose log it is. Raises `Fault` where nobody's."""
        if bool(name) == bool(identifier):
            raise _invalid("Exactly one of logGroupName and logGroupIdentifier must be given.")
        wanted = name or identifier.partition(":log-group:")[2].removesuffix(":*") or identifier
        for route in self._routes_of(asked):
            if route.plan.log_group == wanted:
                return route
        raise wire.no_group()


def _read(asked: Asked, kind: type[T]) -> T:
    try:
        return from_json(asked.body or b"{}", kind)
    except msgspec.ValidationError as error:
        raise _invalid(f"1 validation error detected: {error}") from error
    except msgspec.DecodeError as error:
        raise Fault("SerializationException", 400, str(error), extra={}) from error


def _answer(asked: Asked, value: Mapping[str, object], more: str | None = None) -> Reply:
    whole = value if more is None else {**value, "nextToken": more}
    headers = [JSON_1_1, *request_id(asked.request.invocation_id)]
    return Reply(200, headers, msgspec.json.encode(whole))


def _group_arn(asked: Asked, route: Route) -> str:
    place = asked.place
    return f"arn:aws:logs:{place.region}:{place.account}:log-group:{route.plan.log_group}"


def _has(name: str, pattern: str) -> bool:
    """A part of the name, without regard to case, as AWS looks for it."""
    return pattern.lower() in name.lower()


def _invalid(text: str) -> Fault:
    return Fault("InvalidParameterException", 400, text, extra={})
