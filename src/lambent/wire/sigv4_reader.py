"""Signatures as clients send them one after another: they differ in their time and their digest alone."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from lambent.wire import sigv4
from lambent.wire.sigv4 import Signature, SignedRequest

DIGEST_CHARACTERS: Final = 64
KNOWN_MAX: Final = 1000


class Reader:
    """Reads them as `sigv4.read` does, and remembers what many have in common: key, scope, signed headers."""

    def __init__(self) -> None:
        self._known: Final[OrderedDict[bytes, Signature]] = OrderedDict()  # by all in front of the digest

    def read(self, request: SignedRequest) -> Signature | None:
        """As `sigv4.read`."""
        authorization = sigv4.header(request, b"authorization")
        common, mark, digest = authorization.rpartition(b"Signature=")
        known = self._known.get(common)
        signed_at = sigv4.header(request, b"x-amz-date").decode("latin-1")
        if known is not None and signed_at[:8] == known.date and len(digest) == DIGEST_CHARACTERS:
            return Signature(
                access_key_id=known.access_key_id,
                date=known.date,
                region=known.region,
                service=known.service,
                signed_at=signed_at,
                signed_headers=known.signed_headers,
                digest=digest.decode("latin-1"),
            )
        found = sigv4.read(request)
        if found is not None and mark and found.digest.encode("latin-1") == digest:
            self._known[common] = found
            if len(self._known) > KNOWN_MAX:
                self._known.popitem(last=False)
        return found
