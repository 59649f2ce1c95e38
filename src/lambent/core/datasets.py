"""What a dataset is called, and what kind of files it is made of."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from lambent.core.errors import InvalidSpec

NAME: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
NUMBER_DIGITS_MAX: Final = 9


class DatasetKind(StrEnum):
    """How the items of a dataset are read."""

    NUMPY = "numpy"
    CSV = "csv"
    JSON_LINES = "jsonl"
    PARQUET = "parquet"
    IMAGES = "images"
    FILES = "files"


SUFFIXES: Final[Mapping[str, DatasetKind]] = MappingProxyType(
    {
        "npz": DatasetKind.NUMPY,
        "npy": DatasetKind.NUMPY,
        "csv": DatasetKind.CSV,
        "tsv": DatasetKind.CSV,
        "jsonl": DatasetKind.JSON_LINES,
        "ndjson": DatasetKind.JSON_LINES,
        "parquet": DatasetKind.PARQUET,
        "png": DatasetKind.IMAGES,
        "jpg": DatasetKind.IMAGES,
        "jpeg": DatasetKind.IMAGES,
        "gif": DatasetKind.IMAGES,
        "bmp": DatasetKind.IMAGES,
        "webp": DatasetKind.IMAGES,
        "tif": DatasetKind.IMAGES,
        "tiff": DatasetKind.IMAGES,
    }
)
# What people lay beside their data to say what it is.
BESIDE: Final = frozenset({"readme", "license", "licence", "changelog", "citation", "dataset_card"})


def check_name(name: str) -> str:
    """`name` itself. Raises `InvalidSpec` where no dataset can be called so."""
    if not NAME.fullmatch(name):
        raise InvalidSpec(
            f"no dataset can be called {name[:80]!r}: up to 63 letters, digits, '.', '-' and '_', with a "
            "letter or a digit at both ends"
        )
    return name


def name_and_number(text: str) -> tuple[str, int | None]:
    """The parts of `NAME` or `NAME@N`, where N is a version's number. Raises `InvalidSpec`."""
    name, at, digits = text.partition("@")
    is_number = digits.isdecimal() and digits.isascii() and len(digits) <= NUMBER_DIGITS_MAX
    if at and not (is_number and int(digits) > 0):
        raise InvalidSpec(f"{text[:80]!r} names no version of a dataset: write it as {name[:40]}@1")
    return check_name(name), int(digits) if at else None


def kind_of(path: str) -> DatasetKind | None:
    """What a file's name says of it; None for what only tells of the others, such as a README."""
    name = path.rpartition("/")[2].lower()
    stem, dot, suffix = name.rpartition(".")
    if (stem if dot else name) in BESIDE:
        return None
    return SUFFIXES.get(suffix, DatasetKind.FILES) if dot else DatasetKind.FILES


def kind_of_all(paths: Iterable[str]) -> DatasetKind:
    """The one kind of these files, or plain files where there are several."""
    kinds = Counter(kind for kind in map(kind_of, paths) if kind is not None)
    return next(iter(kinds)) if len(kinds) == 1 else DatasetKind.FILES
