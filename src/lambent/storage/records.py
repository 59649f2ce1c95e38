"""What another system's API keeps beside our deployments, and its store.

AWS's API has words for functions that mean nothing here (roles, tags, policies) and things of its own
(layers, URL configurations). They are kept as it sent them, and given back. As in `base`, what a method
returns from is on disk.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

import msgspec

from lambent.core.errors import StorageBroken
from lambent.wire.typed import from_fields

K = TypeVar("K")


class Kept(Protocol):
    """What is kept as a record under its id."""

    @property
    def id(self) -> str: ...

    @property
    def project(self) -> str: ...

    @property
    def created_unix_ms(self) -> int: ...


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """One thing of a `kind`, which `name` and `key` tell from others of its kind; `body` is plain JSON."""

    project: str
    kind: str
    name: str
    key: str = ""
    body: dict[str, Any] = {}
    changed_unix_ms: int = 0


def record_of(kind: str, value: Kept) -> Record:
    """A value with an id and a project as a record of its kind."""
    return Record(
        project=value.project,
        kind=kind,
        name=value.id,
        body=msgspec.to_builtins(value),
        changed_unix_ms=value.created_unix_ms,
    )


def value_of(record: Record, kind: type[K]) -> K:
    """What a record was made of. Raises `StorageBroken`."""
    try:
        return from_fields(record.body, kind)
    except msgspec.ValidationError as error:
        raise StorageBroken(f"the record {record.name} of {record.kind} cannot be read: {error}") from error


class Records(Protocol):
    """Records of every project."""

    def put(self, *records: Record) -> None:
        """Insert or replace all of them, in one transaction."""

    def find(self, project: str, kind: str, name: str, key: str = "") -> Record | None: ...

    def all(self, project: str, kind: str, name: str | None = None) -> Sequence[Record]:
        """Those of a kind, or of one name alone, by name and key."""

    def projects(self) -> Sequence[str]:
        """Whose records there are, by name."""

    def remove(self, project: str, kind: str, name: str, key: str = "") -> bool:
        """Forget one. Whether it was there."""

    def forget(self, project: str, name: str, kinds: Sequence[str]) -> None:
        """Forget everything of these kinds that goes by a name."""
