"""What of a request's head, and of an answer's, is passed on."""

from __future__ import annotations

import msgspec
import pytest

from lambent.core.invocation import Asked, Head
from lambent.core.tracing import Trace
from lambent.runtimes.faults import Fault
from lambent.runtimes.proxying.heads import answer_head, request_head, target_of
from lambent.runtimes.proxying.sockets import uri_of
from lambent.wire.frames import Call

CALL = Call(1, "11111111-2222-3333-4444-555555555555", 1000.0)
ASKED = Asked(
    method="POST",
    path="/invoke/shop/a b",
    root_path="/invoke/shop",
    query="q=1",
    headers=(("host", "here"), ("x-twice", "1"), ("x-twice", "2")),
    client=("10.0.0.7", 4711),
    raw_path="/invoke/shop/a%20b",
)


def lines(asked: Asked, *, length: int | None = 0, call: Call = CALL) -> list[str]:
    return request_head(asked, call, length=length).decode("latin-1").split("\r\n")


@pytest.mark.parametrize(
    ("root", "raw", "path", "query", "target"),
    [
        ("/invoke/shop", "/invoke/shop", "/invoke/shop", "", "/"),
        ("/invoke/shop", "/invoke/shop/", "/invoke/shop/", "a=%20", "/?a=%20"),
        ("/invoke/shop", "/invoke/sh%6Fp/a%2Fb//c", "/invoke/shop/a/b//c", "", "/a%2Fb//c"),
        ("", "/a%2Fb", "/a/b", "", "/a%2Fb"),
        ("", "", "/invocations", "", "/invocations"),
        ("", "", "/ä b?", "", "/%C3%A4%20b%3F"),
        ("", "", "", "", "/"),
    ],
)
def test_the_target_is_what_was_sent_below_the_deployment(
    root: str, raw: str, path: str, query: str, target: str
) -> None:
    asked = msgspec.structs.replace(ASKED, root_path=root, raw_path=raw, path=path, query=query)
    assert target_of(asked) == target


def test_a_request_keeps_its_headers_and_says_who_asked() -> None:
    first, *headers = lines(ASKED, length=3)
    assert first == "POST /a%20b?q=1 HTTP/1.1"
    assert headers[:3] == ["host: here", "x-twice: 1", "x-twice: 2"]
    assert {
        "x-forwarded-for: 10.0.0.7", "x-forwarded-proto: http", "x-forwarded-host: here",
        "x-forwarded-prefix: /invoke/shop", 'forwarded: for=10.0.0.7;proto=http;host="here"',
        "content-length: 3",
    } <= set(headers)  # fmt: skip


def test_no_caller_takes_the_host_out_of_its_request() -> None:
    told = lines(msgspec.structs.replace(ASKED, headers=(("host", "here"), ("connection", "Host, x-own"))))
    assert [line for line in told if line.startswith("host")] == ["host: here"]


def test_a_host_does_not_end_the_quotes_that_it_stands_in() -> None:
    said = lines(msgspec.structs.replace(ASKED, headers=(("host", 'a";for=b\\'),)))
    assert r'forwarded: for=10.0.0.7;proto=http;host="a\";for=b\\"' in said


@pytest.mark.parametrize(
    ("host", "named"),
    [
        ("here", "here"),
        ("Shop.example:8700", "Shop.example:8700"),
        ("[::1]:65535", "[::1]:65535"),
        ("", "localhost"),
        ("here:65536", "localhost"),
        ("here/other?", "localhost"),
        ("user:word@here", "localhost"),
        ("here#", "localhost"),
        ("[::1", "localhost"),
    ],
)
def test_a_host_changes_nothing_of_what_a_websocket_is_opened_at(host: str, named: str) -> None:
    asked = msgspec.structs.replace(ASKED, headers=(("host", host),), raw_path="/invoke/shop/a;b//c#d")
    assert uri_of(asked) == f"ws://{named}/a;b//c"


def test_what_proxies_in_front_have_said_is_added_to() -> None:
    asked = msgspec.structs.replace(
        ASKED,
        client=("::1", 1),
        headers=(
            ("host", "here"), ("x-forwarded-for", "1.1.1.1"), ("x-forwarded-for", "2.2.2.2"),
            ("x-forwarded-proto", "https"), ("x-forwarded-prefix", "/front/"), ("forwarded", "for=1.1.1.1"),
        ),
    )  # fmt: skip
    told = set(lines(asked))
    assert {
        "x-forwarded-for: 1.1.1.1, 2.2.2.2, ::1",
        "x-forwarded-proto: https",
        "x-forwarded-prefix: /front/invoke/shop",
        'forwarded: for=1.1.1.1, for="[::1]";proto=http;host="here"',
    } <= told


def test_what_belongs_to_a_connection_stays_on_it() -> None:
    own = (
        ("connection", "close, X-Own"), ("x-own", "1"), ("keep-alive", "5"), ("transfer-encoding", "chunked"),
        ("te", "trailers"), ("upgrade", "h2c"), ("expect", "100-continue"), ("x-other", "2"),
    )  # fmt: skip
    told = lines(msgspec.structs.replace(ASKED, headers=own))
    # That trailers are read is told anew, for the connection to the program.
    assert {line for line in told if line.partition(":")[0] in dict(own)} == {
        "x-other: 2", "te: trailers", "connection: te",
    }  # fmt: skip
    head = answer_head(200, [*own, ("date", "now"), ("set-cookie", "a"), ("set-cookie", "b")])
    assert head == Head(
        200, (("expect", "100-continue"), ("x-other", "2"), ("set-cookie", "a"), ("set-cookie", "b"))
    )
    assert answer_head(426, [("upgrade", "own"), ("connection", "upgrade")]).headers == (("upgrade", "own"),)


def test_a_body_of_unknown_length_is_sent_in_chunks_and_none_is_not_announced() -> None:
    assert "transfer-encoding: chunked" in lines(ASKED, length=None)
    assert "content-length: 0" in lines(ASKED, length=0)
    get = msgspec.structs.replace(ASKED, method="GET")
    assert not [line for line in lines(get, length=0) if line.startswith("content-length")]


def test_the_trace_goes_on() -> None:
    call = msgspec.structs.replace(CALL, trace=Trace(f"{'a' * 32}", f"{'b' * 16}", state="k=v"))
    told = lines(ASKED, call=call)
    assert [line for line in told if line.startswith(f"traceparent: 00-{'a' * 32}-")]
    assert "tracestate: k=v" in told


@pytest.mark.parametrize("value", ["a\r\nX-Smuggled: 1", "a\nb", "a\rb", "a\0b"])
def test_a_header_that_would_end_its_line_is_refused(value: str) -> None:
    with pytest.raises(Fault) as refused:
        lines(msgspec.structs.replace(ASKED, headers=(("x", value),)))
    assert refused.value.status == 400
