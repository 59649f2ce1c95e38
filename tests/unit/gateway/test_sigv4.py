"""Signatures made by botocore's own signers, and what must not pass for one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest
from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth, SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from lambent.wire import sigv4
from lambent.wire.sigv4 import Flaw, SignatureRejected, SignedRequest

SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
HOST = "127.0.0.1:8700"
INVOKE = "/2015-03-31/functions/hello/invocations"

SHAPES = [
    pytest.param("POST", INVOKE, {}, b'{"x": 1}', id="invoke"),
    pytest.param("POST", INVOKE, {}, b"", id="empty body"),
    pytest.param("POST", INVOKE + "?Qualifier=live", {"X-Amz-Log-Type": "Tail"}, b"{}", id="qualifier"),
    pytest.param(
        "POST",
        "/2015-03-31/functions/arn%3Aaws%3Alambda%3Aus-east-1%3A000000000000%3Afunction%3Ahello/invocations",
        {},
        b"{}",
        id="an ARN, percent-encoded in the path",
    ),
    pytest.param("GET", "/2015-03-31/functions/", {}, b"", id="trailing slash"),
    pytest.param("GET", "/2015-03-31//functions/./a/../hello", {}, b"", id="dots and empty segments"),
    pytest.param("GET", "/a?b=2&a=3&a=1&c=&d", {}, b"", id="query out of order, repeated and empty"),
    pytest.param("GET", "/a?Arn=x%20y%2Fz&q=%E2%82%AC", {}, b"", id="encoded query"),
    pytest.param("GET", "/%E2%82%AC%20/~x-._", {}, b"", id="unicode path"),
    pytest.param("POST", INVOKE, {"X-Amz-Meta": "  two   spaces  "}, b"{}", id="spaces in a header"),
    pytest.param("POST", INVOKE, {"Content-Type": "application/octet-stream"}, b"\x00\xff", id="bytes"),
    pytest.param("GET", "/", {"Date": "x"}, b"", id="Date instead of X-Amz-Date"),
]


def signed(
    signer: type[SigV4Auth],
    method: str,
    target: str,
    headers: dict[str, str],
    body: bytes,
    *,
    service: str = "lambda",
    access_key_id: str = "LAMBEXAMPLE",
    secret: str = SECRET,
    token: str | None = None,
    **context: Any,
) -> SignedRequest:
    """The request as it would arrive, signed now by botocore."""
    request = AWSRequest(method=method, url=f"http://{HOST}{target}", headers=headers, data=body)
    request.context.update(context)
    signer(Credentials(access_key_id, secret, token), service, "eu-central-1").add_auth(request)
    url = urlsplit(request.url)
    arrived = [(name.lower().encode(), value.encode()) for name, value in request.headers.items()]
    return SignedRequest(
        method=method,
        path=url.path.encode(),
        query=url.query.encode(),
        headers=[(b"host", HOST.encode()), (b"user-agent", b"Boto3/1.44.5"), *arrived],
        body=body,
    )


def signed_at_ms(request: SignedRequest) -> int:
    signature = sigv4.read(request)
    assert signature is not None
    when = datetime.strptime(signature.signed_at, sigv4.TIMESTAMP).replace(tzinfo=UTC)
    return int(when.timestamp() * 1000)


def verify(request: SignedRequest, *, secret: str = SECRET, after_s: float = 1) -> None:
    signature = sigv4.read(request)
    assert signature is not None
    key = sigv4.signing_key(signature, secret)
    sigv4.verify(request, signature, key, now_unix_ms=signed_at_ms(request) + int(after_s * 1000))


def flaw_of(request: SignedRequest, *, secret: str = SECRET, after_s: float = 1) -> Flaw:
    with pytest.raises(SignatureRejected) as caught:
        verify(request, secret=secret, after_s=after_s)
    return caught.value.flaw


@pytest.mark.parametrize(("method", "target", "headers", "body"), SHAPES)
def test_what_botocore_signs_is_believed(
    method: str, target: str, headers: dict[str, str], body: bytes
) -> None:
    verify(signed(SigV4Auth, method, target, headers, body))


@pytest.mark.parametrize(("method", "target", "headers", "body"), SHAPES)
def test_another_secret_is_not_believed(
    method: str, target: str, headers: dict[str, str], body: bytes
) -> None:
    request = signed(SigV4Auth, method, target, headers, body, secret="another")
    assert flaw_of(request) is Flaw.MISMATCH


def test_the_scope_names_key_region_and_service() -> None:
    signature = sigv4.read(signed(SigV4Auth, "POST", INVOKE, {}, b"{}"))
    assert signature is not None
    assert (signature.claim.access_key_id, signature.claim.region, signature.claim.service) == (
        "LAMBEXAMPLE", "eu-central-1", "lambda",
    )  # fmt: skip


def test_a_presigned_url_is_believed_until_it_expires() -> None:
    request = signed(SigV4QueryAuth, "GET", "/2015-03-31/functions/hello?Qualifier=1", {}, b"")
    verify(request, after_s=3599)
    assert flaw_of(request, after_s=3601) is Flaw.EXPIRED


def test_an_unsigned_payload_is_believed_whatever_it_is() -> None:
    request = signed(SigV4Auth, "POST", INVOKE, {}, b"{}", payload_signing_enabled=False)
    verify(msgspec.structs.replace(request, body=b"other"))


def test_a_session_token_is_part_of_what_is_signed() -> None:
    request = signed(SigV4Auth, "POST", INVOKE, {}, b"{}", token="session")
    verify(request)
    headers = [(n, b"other" if n == b"x-amz-security-token" else v) for n, v in request.headers]
    assert flaw_of(msgspec.structs.replace(request, headers=headers)) is Flaw.MISMATCH


@pytest.mark.parametrize("signer", [S3SigV4Auth, S3SigV4QueryAuth])
def test_s3_signs_the_path_as_it_is(signer: type[SigV4Auth]) -> None:
    verify(signed(signer, "GET", "/bucket/a%20b//c", {}, b"", service="s3"))


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"body": b'{"x": 2}'}, id="body"),
        pytest.param({"path": INVOKE.replace("hello", "other").encode()}, id="path"),
        pytest.param({"query": b"Qualifier=1"}, id="query"),
        pytest.param({"method": "PUT"}, id="method"),
    ],
)
def test_a_request_that_was_changed_is_not_believed(change: dict[str, Any]) -> None:
    request = signed(SigV4Auth, "POST", INVOKE, {}, b'{"x": 1}')
    assert flaw_of(msgspec.structs.replace(request, **change)) is Flaw.MISMATCH


def test_a_header_that_was_added_on_the_way_is_not_believed() -> None:
    request = signed(SigV4Auth, "POST", INVOKE, {}, b"{}")
    added = [*request.headers, (b"x-amz-invocation-type", b"Event")]
    assert flaw_of(msgspec.structs.replace(request, headers=added)) is Flaw.MISMATCH


def test_a_wrong_content_hash_is_not_believed() -> None:
    request = signed(SigV4Auth, "POST", INVOKE, {"X-Amz-Content-SHA256": "0" * 64}, b"{}")
    assert flaw_of(request) is Flaw.MISMATCH


@pytest.mark.parametrize(("after_s", "passes"), [(-901, False), (-899, True), (899, True), (901, False)])
def test_clocks_may_differ_by_a_quarter_of_an_hour(after_s: float, passes: bool) -> None:  # noqa: FBT001 a column of the table
    request = signed(SigV4Auth, "POST", INVOKE, {}, b"{}")
    if passes:
        verify(request, after_s=after_s)
    else:
        assert flaw_of(request, after_s=after_s) is Flaw.EXPIRED


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param("/aws4_request", "/aws5_request", id="terminator"),
        pytest.param("SignedHeaders=host;", "SignedHeaders=", id="host is not signed"),
        pytest.param("Signature=", "Signatur=", id="no signature"),
        pytest.param("Credential=LAMBEXAMPLE/2", "Credential=LAMBEXAMPLE/1", id="another date"),
        pytest.param("SignedHeaders=host;x-amz-date", "SignedHeaders=x-amz-date;host", id="unsorted"),
    ],
)
def test_what_is_not_a_signature_is_told_as_incomplete(old: str, new: str) -> None:
    request = signed(SigV4Auth, "POST", INVOKE, {}, b"{}")
    headers = [(n, v.replace(old.encode(), new.encode())) for n, v in request.headers]
    assert headers != list(request.headers)
    with pytest.raises(SignatureRejected) as caught:
        sigv4.read(msgspec.structs.replace(request, headers=headers))
    assert caught.value.flaw is Flaw.INCOMPLETE


# The cases of AWS's published test suite for Signature Version 4, made anew by botocore's signer.
PUBLISHED = [
    pytest.param("GET", "/", {}, b"", id="get-vanilla"),
    pytest.param("POST", "/", {}, b"", id="post-vanilla"),
    pytest.param("GET", "/?", {}, b"", id="get-vanilla-empty-query"),
    pytest.param("GET", "/?Param2=value2&Param1=value1", {}, b"", id="get-vanilla-query-order-key"),
    pytest.param("GET", "/?Param1=value2&Param1=Value1", {}, b"", id="get-vanilla-query-order-value"),
    pytest.param("GET", "/?Param-3=V3&Param=V2&%E1%88%B4=V1", {}, b"", id="get-vanilla-query-order-encoded"),
    pytest.param(
        "GET",
        "/?-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ=-._~abcdefghijklmnopqrstuvwxyz",
        {},
        b"",
        id="get-vanilla-query-unreserved",
    ),
    pytest.param("GET", "/?%E1%88%B4=bar", {}, b"", id="get-vanilla-utf8-query"),
    pytest.param("GET", "/%E1%88%B4", {}, b"", id="get-utf8"),
    pytest.param("GET", "/-._~0123456789abcdefghijklmnopqrstuvwxyz", {}, b"", id="get-unreserved"),
    pytest.param("GET", "/example1/example2/../..", {}, b"", id="get-relative-relative"),
    pytest.param("GET", "/example/..", {}, b"", id="get-relative"),
    pytest.param("GET", "/./", {}, b"", id="get-slash-dot-slash"),
    pytest.param("GET", "/./example", {}, b"", id="get-slash-pointless-dot"),
    pytest.param("GET", "//", {}, b"", id="get-slash"),
    pytest.param("GET", "//example//", {}, b"", id="get-slashes"),
    pytest.param("GET", "/example%20space/", {}, b"", id="get-space"),
    pytest.param("GET", "/", {"My-Header1": "value2,value2,value1"}, b"", id="get-header-key-duplicate"),
    pytest.param(
        "GET", "/", {"My-Header1": " value1", "My-Header2": ' "a   b   c"'}, b"", id="get-header-trim"
    ),
    pytest.param("POST", "/", {"My-Header1": "VALUE1"}, b"", id="post-header-value-case"),
    pytest.param(
        "POST",
        "/",
        {"Content-Type": "application/x-www-form-urlencoded; charset=utf8"},
        b"Param1=value1",
        id="post-x-www-form-urlencoded-parameters",
    ),
]


@pytest.mark.parametrize(("method", "target", "headers", "body"), PUBLISHED)
def test_the_published_cases_are_believed_and_with_another_secret_they_are_not(
    method: str, target: str, headers: dict[str, str], body: bytes
) -> None:
    request = signed(SigV4Auth, method, target, headers, body, service="service")
    verify(request)
    assert flaw_of(request, secret=SECRET + "x") is Flaw.MISMATCH


@pytest.mark.parametrize("added", ["before", "after"])
def test_a_session_token_may_be_added_before_or_after_the_signature(added: str) -> None:
    request = signed(SigV4Auth, "POST", "/", {}, b"", token="token" if added == "before" else None)
    if added == "after":
        headers = [*request.headers, (b"x-amz-security-token", b"token")]
        request = msgspec.structs.replace(request, headers=headers)
    verify(request)


def test_a_query_that_was_signed_encoded_and_sent_plain_is_believed() -> None:
    request = signed(SigV4Auth, "GET", "/?Arn=arn%3Aaws%3Alambda", {}, b"")
    verify(msgspec.structs.replace(request, query=b"Arn=arn:aws:lambda"))
    assert flaw_of(msgspec.structs.replace(request, query=b"Arn=arn:aws:lambdb")) is Flaw.MISMATCH


def test_the_words_of_a_refusal_are_those_of_aws() -> None:
    request = signed(SigV4Auth, "POST", INVOKE, {}, b"{}")
    stamp = datetime.fromtimestamp(signed_at_ms(request) / 1000, UTC)

    def at(after_s: float) -> str:
        return (stamp + timedelta(seconds=after_s)).strftime(sigv4.TIMESTAMP)

    with pytest.raises(SignatureRejected) as late:
        verify(request, after_s=1000)
    assert late.value.message == (
        f"Signature expired: {at(0)} is now earlier than {at(100)} ({at(1000)} - 15 min.)"
    )
    with pytest.raises(SignatureRejected) as early:
        verify(request, after_s=-1000)
    assert early.value.message == (
        f"Signature not yet current: {at(0)} is still later than {at(-100)} ({at(-1000)} + 15 min.)"
    )
    bare = [(b"authorization", b"AWS4-HMAC-SHA256 "), (b"host", b"h")]
    with pytest.raises(SignatureRejected) as none:
        sigv4.read(msgspec.structs.replace(request, headers=bare))
    assert none.value.message.startswith(
        "Authorization header requires 'Credential' parameter. "
        "Authorization header requires 'Signature' parameter. "
        "Authorization header requires 'SignedHeaders' parameter. "
        "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header. "
        "(Hashed with SHA-256 and encoded with Base64) Authorization="
    )


def test_a_request_without_a_signature_has_none() -> None:
    request = SignedRequest(method="GET", path=b"/", query=b"a=b", headers=[(b"host", b"h")], body=b"")
    assert sigv4.read(request) is None


@given(st.text(), st.text(alphabet="Xamz-SignatureCredentialDateExpires=&%/;0129TZ", max_size=300))
def test_nonsense_is_refused_and_never_crashes(authorization: str, query: str) -> None:
    header = (sigv4.ALGORITHM + " " + authorization).encode("utf-8", "replace")
    for headers, target in (
        ([(b"authorization", header)], b""),
        ([], query.encode() + b"&X-Amz-Signature=1"),
    ):
        request = SignedRequest(method="GET", path=b"/", query=target, headers=headers, body=b"")
        with pytest.raises(SignatureRejected):
            sigv4.read(request)


def test_a_name_of_a_signed_header_that_no_header_may_have_is_refused_and_never_crashes() -> None:
    request = signed(SigV4QueryAuth, "GET", "/2015-03-31/functions/", {}, b"")
    query = request.query.replace(b"SignedHeaders=host", b"SignedHeaders=host%3B%E2%98%83%3B%E2%98%84")
    assert query != request.query
    assert flaw_of(msgspec.structs.replace(request, query=query)) is Flaw.MISMATCH


def test_a_signed_header_that_comes_empty_and_then_again_is_both() -> None:
    request = signed(SigV4Auth, "POST", INVOKE, {"x-amz-meta": ",two"}, b"{}")
    headers = [pair for pair in request.headers if pair[0] != b"x-amz-meta"]
    verify(
        msgspec.structs.replace(request, headers=[*headers, (b"x-amz-meta", b""), (b"x-amz-meta", b"two")])
    )
