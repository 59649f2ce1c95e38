"""Signatures as clients send them one after another: they differ in their time and their digest alone."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from lambent.wire import sigv4
from lambent.wire.sigv4 import Claim, Signature, SignatureRejected, SignedRequest

DIGEST_CHARACTERS: Final = 64
KNOWN_MAX: Final = 1000
CLAIM_BYTES_MAX: Final = 1024  # of one that is remembered: who sends it has proved nothing yet


class Reader:
    """Reads them as `sigv4.read` does, and remembers what many have in common: claim and second."""

    def __init__(self) -> None:
        self._known: Final[OrderedDict[bytes, Claim]] = OrderedDict()  # by all in front of the digest
        self._stamp, self._stamp_unix_s = "", 0

    def read(self, request: SignedRequest) -> Signature | None:
        """As `sigv4.read`."""
        authorization = sigv4.header(request, b"authorization")
        common, mark, digest = authorization.rpartition(b"Signature=")
        claim = self._known.get(common)
        if claim is not None and len(digest) == DIGEST_CHARACTERS:
            signed_at = sigv4.header(request, b"x-amz-date").decode("latin-1")
            if signed_at[:8] == claim.date:
                return Signature(
                    claim=claim,
                    signed_at=signed_at,
                    digest=digest.decode("latin-1"),
                    signed_unix_s=self._unix_s(signed_at),
                )
        found = sigv4.read(request)
        if found is None or not mark or len(common) > CLAIM_BYTES_MAX:
            return found
        if found.digest.encode("latin-1") == digest:
            self._known[common] = found.claim
            if len(self._known) > KNOWN_MAX:
                self._known.popitem(last=False)
        return found

    def _unix_s(self, stamp: str) -> int | None:
        """None for one that is no time: that is said where the signature is verified."""
        if stamp != self._stamp:
            try:
                self._stamp, self._stamp_unix_s = stamp, sigv4.unix_s(stamp)
            except SignatureRejected:
                return None
        return self._stamp_unix_s
