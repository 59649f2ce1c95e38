"""Event source mappings that an earlier server left."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, cast

from lambent.control.aws.books import Books
from lambent.control.aws.event_source_mappings import MappingVerbs
from lambent.control.aws.state import Kind, MappingBook
from lambent.control.holding import Names
from lambent.core.sources import Source
from lambent.storage.sql import SqlStore
from lambent.wire.aws.eventpatterns import read_pattern
from lambent.wire.aws.mapping_requests import CreateMappingRequest, Filter, FilterCriteria
from tests.support.virtual_time import ManualClock


class Served:
    """Remembers what is served, and reads patterns as who serves does."""

    def __init__(self) -> None:
        self.sources: dict[str, Source] = {}

    def put(self, source: Source) -> None:
        for pattern in source.patterns:
            read_pattern(pattern)
        self.sources[source.id] = source

    def remove(self, source: str) -> None:
        self.sources.pop(source, None)

    def is_ending(self, source: str) -> bool:
        return False

    def problem(self, source: str) -> str:
        return ""


def mapping(arn: str, pattern: str = "{}", **more: Any) -> MappingBook:
    criteria = FilterCriteria(filters=[Filter(pattern=pattern)])
    request = CreateMappingRequest(
        function_name="f:1", event_source_arn=arn, filter_criteria=criteria, **more
    )
    return MappingBook(request=request, modified_unix_ms=1)


def test_what_was_switched_on_is_served_and_what_cannot_be_read_keeps_nobody_from_starting(
    tmp_path: Path,
) -> None:
    async def story() -> None:
        clock, served = ManualClock(), Served()
        store = SqlStore.open(tmp_path / "lambent.db", clock)
        books = Books(store.records, clock)
        queue = "arn:aws:sqs:eu-central-1:000000000000:q"
        await books.put("p", Kind.MAPPING, "on", mapping(queue))
        await books.put("p", Kind.MAPPING, "off", mapping(queue, enabled=False))
        await books.put("p", Kind.MAPPING, "bad", mapping(queue, "[]"))
        await books.put("p", Kind.MAPPING, "stream", mapping("arn:aws:kinesis:eu-central-1:000000000000:s"))
        verbs = MappingVerbs(
            finder=cast("Any", None), books=books, clock=clock, sources=served, names=Names(),
            has_queue=lambda *_: True,
        )  # fmt: skip
        await verbs.restore("p")
        [source] = served.sources.values()
        assert (source.id, source.queue, source.deployment, source.alias) == ("on", "q", "f", "1")
        store.close()

    asyncio.run(story())
