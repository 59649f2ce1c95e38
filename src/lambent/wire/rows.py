"""Rows out of text, and files that are not what their names say: one clear line where something is wrong."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final

import msgspec

from lambent.core.datasets import DatasetKind, kind_of

HEAD_BYTES: Final = 16  # of a file, by which its kind is known
TAIL_BYTES: Final = 4
PARQUET: Final = b"PAR1"
ENCRYPTED_PARQUET: Final = b"PARE"
# What a file begins with, by what its name ends with.
HEADS: Final[Mapping[str, tuple[bytes, ...]]] = MappingProxyType(
    {
        "npy": (b"\x93NUMPY",),
        "npz": (b"PK\x03\x04", b"PK\x05\x06"),
        "parquet": (PARQUET, ENCRYPTED_PARQUET),
        "png": (b"\x89PNG\r\n\x1a\n",),
        "jpg": (b"\xff\xd8\xff",),
        "jpeg": (b"\xff\xd8\xff",),
        "gif": (b"GIF87a", b"GIF89a"),
        "bmp": (b"BM",),
        "webp": (b"RIFF",),
        "tif": (b"II*\0", b"MM\0*"),
        "tiff": (b"II*\0", b"MM\0*"),
    }
)


class BadData(ValueError):
    """A file of a dataset is missing, damaged, or not what its name says. The message is one line."""


def csv_rows(lines: Iterable[str], file: str) -> Iterator[list[str]]:
    """The header, then each row, all with as many fields. Raises `BadData` that names the line."""
    reader = csv.reader(lines, delimiter="\t" if file.lower().endswith(".tsv") else ",", strict=True)
    header: list[str] | None = None
    try:
        for row in reader:
            if not row:
                continue  # an empty line, as many files have at their end
            if header is None:
                header = row
                _check_header(header, file)
            elif len(row) != len(header):
                raise BadData(
                    f"{file}, line {reader.line_num}: {len(row)} fields, where the header has {len(header)}"
                )
            yield row
    except csv.Error as error:
        raise BadData(f"{file}, line {reader.line_num}: {error}") from error
    except UnicodeDecodeError as error:
        raise BadData(f"{file}, behind line {reader.line_num}: it is not UTF-8") from error
    if header is None:
        raise BadData(f"{file} is empty: it has not even a header")


def json_rows(lines: Iterable[bytes], file: str) -> Iterator[dict[str, Any]]:
    """Each line's object; empty lines are passed over. Raises `BadData` that names the line."""
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = msgspec.json.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise BadData(f"{file}, line {number} is no JSON: {error}") from error
        if not isinstance(row, dict):
            raise BadData(f'{file}, line {number} is no object, such as {{"text": "..."}}')
        yield row


def wrong_head(path: str, *, head: bytes, tail: bytes) -> str:
    """What is wrong with a file whose first and last bytes these are; empty where it may be what it says."""
    suffix = path.rpartition(".")[2].lower()
    if kind_of(path) in (None, DatasetKind.FILES) or suffix not in HEADS:
        return ""
    if not head:
        return f"{path} is empty"
    if not head.startswith(HEADS[suffix]):
        return f"{path} is no {suffix} file: it begins with {head[:8]!r}"
    if suffix == "parquet" and tail not in (PARQUET, ENCRYPTED_PARQUET):
        return f"{path} is a Parquet file without its end: it was not written, or copied, as a whole"
    return ""


def _check_header(header: list[str], file: str) -> None:
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise BadData(f"{file}: the column {twice[0]!r} is in its header twice")
