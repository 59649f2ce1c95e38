"""CSV and TSV: columns of whole numbers, of numbers, or of text, as all their fields are."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lambent.runtimes.datasets.tables import Columns
from lambent.wire.rows import BadData, csv_rows


def opened(folder: Path, files: Sequence[str]) -> Columns:
    """Read them one behind the other. Raises `BadData` where their headers differ or a row is ragged."""
    header: list[str] = []
    texts: list[list[str]] = []
    for file in files:
        with (folder / file).open(encoding="utf-8-sig", newline="") as lines:
            rows = csv_rows(lines, file)
            found = next(rows)
            if header and found != header:
                raise BadData(
                    f"{file} has other columns than {files[0]} ({', '.join(found)}): choose with only(...)"
                )
            header = found
            texts.extend(rows)
    columns = [*map(list, zip(*texts, strict=True))] or [[] for _ in header]
    return Columns({name: typed(column) for name, column in zip(header, columns, strict=True)}, len(texts))


def typed(texts: list[str]) -> Any:
    """Numbers where all fields are, an empty one being no number (NaN); as arrays where numpy is there."""
    for kind in (_whole, _number):
        try:
            return _packed([*map(kind, texts)])
        except (ValueError, OverflowError):
            continue
    return _packed(texts)


def _whole(text: str) -> int:
    return int(_plain(text))


def _number(text: str) -> float:
    return float(_plain(text)) if text.strip() else float("nan")


def _plain(text: str) -> str:
    if "_" in text:
        raise ValueError(text)  # Python reads 1_000 as a number; no file means that
    return text


def _packed(values: list[Any]) -> Any:
    array = _array()
    if array is None:
        return values
    return array(values, dtype=object) if values and isinstance(values[0], str) else array(values)


def _array() -> Callable[..., Any] | None:
    try:
        found: Callable[..., Any] = importlib.import_module("numpy").array
    except ModuleNotFoundError:
        return None
    return found
