"""Columns in memory, as rows of tables are taken from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from lambent.runtimes.datasets.sources import Batch


class Columns:
    """Implements `sources.Source`. A column is an array or a list."""

    def __init__(self, columns: Mapping[str, Any], count: int) -> None:
        self.whole: Final = columns
        self.names: Final[Sequence[str]] = tuple(columns)
        self.count: Final = count

    def take(self, items: Sequence[int], names: Sequence[str]) -> Batch:
        """These rows of these columns."""
        return {name: _taken(self.whole[name], items) for name in names}

    def key(self, item: int) -> int:
        """By its number: rows that are added come behind."""
        return item


def _taken(column: Any, items: Sequence[int]) -> Any:
    return [column[item] for item in items] if isinstance(column, list) else column[items]
