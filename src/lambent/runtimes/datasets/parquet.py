"""Parquet, by pyarrow: mapped, and read as one table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from lambent.runtimes.datasets.opening import package
from lambent.runtimes.datasets.sources import Batch
from lambent.wire.rows import BadData


class Parquet:
    """Implements `sources.Source`."""

    def __init__(self, table: Any) -> None:
        self.table: Final = table
        self.names: Final[Sequence[str]] = tuple(table.column_names)
        self.count: Final[int] = table.num_rows

    @property
    def whole(self) -> Mapping[str, Any]:
        """Every column as an array."""
        return {name: _array(self.table[name]) for name in self.names}

    def take(self, items: Sequence[int], names: Sequence[str]) -> Batch:
        """These rows of these columns, as arrays."""
        part = self.table.select([*names])
        if isinstance(items, range) and items.step == 1:
            part = part.slice(items.start, len(items))
        else:
            part = part.take([*items])
        return {name: _array(part[name]) for name in names}

    def key(self, item: int) -> int:
        """By its number: rows that are added come behind."""
        return item


def opened(folder: Path, files: Sequence[str]) -> Parquet:
    """Read them one behind the other. Raises `BadData` for what is no Parquet, or of other columns."""
    arrow = package("pyarrow", "a dataset of Parquet files", "pyarrow")
    parquet = package("pyarrow.parquet", "a dataset of Parquet files", "pyarrow")
    tables = []
    for file in files:
        try:
            tables.append(parquet.read_table(folder / file, memory_map=True))
        except (arrow.ArrowException, OSError) as error:
            told = " ".join(str(error).split())
            raise BadData(f"{file} is no Parquet file that can be read: {told}") from error
    try:
        return Parquet(arrow.concat_tables(tables))
    except arrow.ArrowException as error:
        raise BadData(
            "the Parquet files have other columns than one another: choose with only(...)"
        ) from error


def _array(column: Any) -> Any:
    return column.to_numpy()
