"""Bodies in chunks: AWS's published example, and what must not pass for whole."""

from __future__ import annotations

import base64
import hashlib
import hmac
import zlib

import msgspec
import pytest

from lambent.wire import sigv4
from lambent.wire.aws import chunked
from lambent.wire.sigv4 import SignatureRejected, SignedRequest

# The example of the AWS documentation, "Transferring payload in multiple chunks".
SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
SEED = "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9"
CHUNKS = [
    (65536, b"ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648"),
    (1024, b"0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497"),
    (0, b"b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9"),
]
NOW_MS = 1369353600000


def example() -> SignedRequest:
    body = b"".join(
        b"%x;chunk-signature=%b\r\n%b\r\n" % (size, digest, b"a" * size) for size, digest in CHUNKS
    )
    signed_headers = (
        "content-encoding;content-length;host;x-amz-content-sha256;x-amz-date;"
        "x-amz-decoded-content-length;x-amz-storage-class"
    )
    return SignedRequest(
        method="PUT",
        path=b"/examplebucket/chunkObject.txt",
        query=b"",
        headers=[
            (b"host", b"s3.amazonaws.com"),
            (b"x-amz-date", b"20130524T000000Z"),
            (b"x-amz-storage-class", b"REDUCED_REDUNDANCY"),
            (
                b"authorization",
                (
                    "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,"
                    f"SignedHeaders={signed_headers},Signature={SEED}"
                ).encode(),
            ),
            (b"x-amz-content-sha256", b"STREAMING-AWS4-HMAC-SHA256-PAYLOAD"),
            (b"content-encoding", b"aws-chunked"),
            (b"x-amz-decoded-content-length", b"66560"),
            (b"content-length", b"66824"),
        ],
        body=body,
    )


def opened(request: SignedRequest) -> bytes:
    signature = sigv4.read(request)
    assert signature is not None
    key = sigv4.signing_key(signature, SECRET)
    sigv4.verify(request, signature, key, now_unix_ms=NOW_MS)
    assert chunked.is_chunked(request)
    return chunked.decoded(request, signature, key)


def test_the_published_example_is_believed() -> None:
    assert opened(example()) == b"a" * 66560


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param(b"aa\r\n", b"ab\r\n", id="a byte was changed"),
        pytest.param(b"400;", b"3ff;", id="a length was changed"),
        pytest.param(b"0;chunk-signature=b6c6", b"0;chunk-signature=b6c7", id="the last signature"),
        pytest.param(b"\r\n0;chunk", b"\r\n400000000;chunk", id="a length beyond all bounds"),
    ],
)
def test_one_that_was_changed_is_not(old: bytes, new: bytes) -> None:
    request = example()
    assert request.body.count(old)
    with pytest.raises(SignatureRejected):
        opened(msgspec.structs.replace(request, body=request.body.replace(old, new)))


@pytest.mark.parametrize("cut", [0, 5, 90, 66000, -100])
def test_one_that_was_cut_off_is_not(cut: int) -> None:
    request = example()
    with pytest.raises(SignatureRejected):
        opened(msgspec.structs.replace(request, body=request.body[:cut]))


def with_trailers(body: bytes, kind: str) -> tuple[SignedRequest, sigv4.Signature, bytes]:
    request = SignedRequest(
        method="POST",
        path=b"/",
        query=b"",
        headers=[
            (b"x-amz-content-sha256", kind.encode()),
            (b"x-amz-decoded-content-length", b"5"),
            (b"x-amz-trailer", b"x-amz-checksum-crc32"),
        ],
        body=body,
    )
    claim = sigv4.claim_of(
        access_key_id="A", date="20130524", region="r", service="lambda", signed_headers="host"
    )
    signature = sigv4.Signature(claim=claim, signed_at="20130524T000000Z", digest=SEED)
    return request, signature, sigv4.signing_key(signature, SECRET)


def test_chunks_without_signatures_end_with_a_checksum() -> None:
    crc = base64.b64encode(zlib.crc32(b"hello").to_bytes(4, "big"))
    body = b"5\r\nhello\r\n0\r\nx-amz-checksum-crc32:%b\r\n\r\n"
    assert chunked.decoded(*with_trailers(body % crc, chunked.UNSIGNED_CHUNKS)) == b"hello"
    with pytest.raises(SignatureRejected, match="not the checksum"):
        chunked.decoded(*with_trailers(body % b"AAAAAA==", chunked.UNSIGNED_CHUNKS))


def test_trailers_may_be_signed() -> None:
    request, signature, key = with_trailers(b"", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER")
    nothing = hashlib.sha256(b"").hexdigest()

    def sign(algorithm: str, before: str, told: str) -> str:
        text = f"{algorithm}\n{signature.signed_at}\n{signature.claim.scope}\n{before}\n{told}"
        return hmac.new(key, text.encode(), "sha256").hexdigest()

    first = sign("AWS4-HMAC-SHA256-PAYLOAD", SEED, f"{nothing}\n{hashlib.sha256(b'hello').hexdigest()}")
    last = sign("AWS4-HMAC-SHA256-PAYLOAD", first, f"{nothing}\n{nothing}")
    crc = base64.b64encode(zlib.crc32(b"hello").to_bytes(4, "big")).decode()
    hashed = hashlib.sha256(f"x-amz-checksum-crc32:{crc}\n".encode()).hexdigest()
    trailer = sign("AWS4-HMAC-SHA256-TRAILER", last, hashed)

    def body(trailer: str) -> bytes:
        return (
            f"5;chunk-signature={first}\r\nhello\r\n0;chunk-signature={last}\r\n"
            f"x-amz-checksum-crc32:{crc}\r\nx-amz-trailer-signature:{trailer}\r\n\r\n"
        ).encode()

    whole = msgspec.structs.replace(request, body=body(trailer))
    assert chunked.decoded(whole, signature, key) == b"hello"
    with pytest.raises(SignatureRejected):
        chunked.decoded(msgspec.structs.replace(request, body=body("0" * 64)), signature, key)
