"""Pages of lists, as every list operation of SageMaker makes them."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable, Sequence

import msgspec

from lambent.control.aws.sagemaker.shelf import Book
from lambent.wire.aws.sagemaker_control import Listed, invalid

Key = tuple[float | str, str]


def page(books: Iterable[Book], asked: Listed) -> tuple[Sequence[Book], str | None]:
    """The books of one page, and the token of the next where there is one. Raises `Fault`.

    A token says after what the next page begins, so that what is made or removed meanwhile moves nothing.
    """
    is_down = asked.sort_order == "Descending"
    key = _key(asked)
    found = sorted((book for book in books if _fits(book, asked)), key=key, reverse=is_down)
    if asked.next_token is not None:
        after = _read(asked.next_token)
        found = [book for book in found if _is_after(key(book), after, is_down=is_down)]
    part = found[: asked.max_results]
    more = len(found) > len(part)
    return part, _written(key(part[-1])) if more else None


def _key(asked: Listed) -> Callable[[Book], Key]:
    match asked.sort_by:
        case "Name":
            return lambda book: ("", book.name)
        case "Status":
            return lambda book: (str(book.status), book.name)
        case _:
            return lambda book: (float(book.created_unix_ms), book.name)


def _fits(book: Book, asked: Listed) -> bool:
    created_s, modified_s = book.created_unix_ms / 1e3, book.modified_unix_ms / 1e3
    return (
        (asked.name_contains or "").lower() in book.name.lower()
        and (asked.status_equals is None or book.status == asked.status_equals)
        and _between(created_s, asked.creation_time_after, asked.creation_time_before)
        and _between(modified_s, asked.last_modified_time_after, asked.last_modified_time_before)
    )


def _between(time_s: float, after: float | None, before: float | None) -> bool:
    return (after is None or time_s >= after) and (before is None or time_s <= before)


def _is_after(key: Key, other: Key, *, is_down: bool) -> bool:
    try:
        return key < other if is_down else key > other
    except TypeError:  # the token of another order
        raise invalid("Invalid NextToken") from None


def _written(key: Key) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(key)).decode()


def _read(token: str) -> Key:
    try:
        first, name = msgspec.json.decode(base64.urlsafe_b64decode(token))
    except (binascii.Error, ValueError, TypeError) as error:
        raise invalid("Invalid NextToken") from error
    return first, str(name)
