"""What does not fit AWS's model is said in AWS's sentences; pages do not move under who reads them."""

from __future__ import annotations

import contextlib
import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambent.wire.aws.faults import Fault
from lambent.wire.aws.function_requests import CreateFunctionRequest
from lambent.wire.aws.reading import Query, page, read

FITS: dict[str, Any] = {"FunctionName": "f", "Role": "arn:aws:iam::000000000000:role/r", "Code": {}}
INVALID = "1 validation error detected: Value "


def fault_of(body: bytes) -> Fault:
    with pytest.raises(Fault) as caught:
        read(body, CreateFunctionRequest)
    return caught.value


LONG = "x" * 129
NULL = "Member must not be null"
SAID: list[tuple[dict[str, Any], str, str]] = [
    ({"FunctionName": None}, "null at 'functionName'", NULL),
    ({"Timeout": 0}, "'0' at 'timeout'", "Member must have value greater than or equal to 1"),
    ({"Handler": "a b"}, "'a b' at 'handler'", r"Member must satisfy regular expression pattern: [^\s]+"),
    ({"Handler": LONG}, f"'{LONG}' at 'handler'", "Member must have length less than or equal to 128"),
    ({"PackageType": "Tar"}, "'Tar' at 'packageType'", "Member must satisfy enum value set: [Zip, Image]"),
    (
        {"EphemeralStorage": {"Size": 1}}, "'1' at 'ephemeralStorage.size'",
        "Member must have value greater than or equal to 512",
    ),
    ({"EphemeralStorage": {}}, "null at 'ephemeralStorage.size'", NULL),
    (
        {"Architectures": ["z80"]}, "'[z80]' at 'architectures'",
        f"Member must satisfy constraint: [Member must satisfy enum value set: [x86_64, arm64], {NULL}]",
    ),
    (
        {"Tags": {"": "x"}}, "'{=x}' at 'tags'",
        ("Map keys must satisfy constraint: [Member must have length less than or equal to 128, "
         "Member must have length greater than or equal to 1]"),
    ),
    (
        {"Tags": {"a": "x" * 257}}, f"'{{a={'x' * 257}}}' at 'tags'",
        f"Map value must satisfy constraint: [Member must have length less than or equal to 256, {NULL}]",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "where", "constraint"), SAID, ids=[str(one[0])[:40] for one in SAID])
def test_a_value_out_of_its_bounds(changes: dict[str, Any], where: str, constraint: str) -> None:
    body = {name: one for name, one in {**FITS, **changes}.items() if one is not None}
    fault = fault_of(json.dumps(body).encode())
    assert (fault.kind, fault.http_status) == ("ValidationException", 400)
    assert fault.message == f"{INVALID}{where} failed to satisfy constraint: {constraint}"


@pytest.mark.parametrize(
    "body", [b"[", b"[]", b"null", b"\xff", b"[" * 5000, json.dumps({**FITS, "Timeout": "x"}).encode()]
)
def test_what_is_no_json_or_of_another_type(body: bytes) -> None:
    assert (fault_of(body).kind, fault_of(body).http_status) == ("SerializationException", 400)


def test_null_is_absent_and_what_is_unknown_is_nothing() -> None:
    found = read(json.dumps({**FITS, "Timeout": None, "New": 1}).encode(), CreateFunctionRequest)
    assert found.timeout is None


def more(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    names = st.sampled_from([*FITS, "Tags", ""])
    return st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4)


PLAIN = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()


@given(st.recursive(PLAIN, more))
def test_any_json_is_read_or_refused(value: Any) -> None:
    with contextlib.suppress(Fault):
        read(json.dumps(value).encode("utf-8", "surrogatepass"), CreateFunctionRequest)


def test_numbers_and_words_of_a_query() -> None:
    assert Query({}).number("MaxItems", 50, most=100) == 50
    assert Query({"MaxItems": ["7"]}).number("MaxItems", 50, most=100) == 7
    for wrong, kind in (
        ("0", "Validation"),
        ("101", "Validation"),
        ("x", "Serialization"),
        ("9" * 40, "Serial"),
    ):
        with pytest.raises(Fault) as caught:
            Query({"MaxItems": [wrong]}).number("MaxItems", 50, most=100)
        assert caught.value.kind.startswith(kind)
    with pytest.raises(Fault):
        Query({"a": ["b"]}).text("a", re.compile("c"))


@given(st.sets(st.text("abc", min_size=1, max_size=3), max_size=12), st.integers(1, 5), st.data())
def test_pages_have_everything_once_whatever_goes_meanwhile(
    keys: set[str], size: int, data: st.DataObject
) -> None:
    items = sorted(keys)
    seen: list[str] = []
    marker: str | None = ""
    while marker is not None:
        query = Query({"MaxItems": [str(size)], "Marker": [marker]})
        part, marker = page(items, query, key=str)
        seen += part
        if items and data.draw(st.booleans()):
            items.remove(data.draw(st.sampled_from(items)))
    assert len(seen) == len(set(seen))
    assert set(items) <= set(seen)
