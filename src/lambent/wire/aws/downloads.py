"""Addresses under which a function's code can be had for a while without a key, as on AWS.

The address is signed with the server's master key: who has it may read this one archive until it expires.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from typing import Final

PREFIX: Final = "/lambda-code/"
FILE: Final = "code.zip"
VALID_S: Final = 600
PATH: Final = re.compile(
    PREFIX + r"(?P<digest>[0-9a-f]{64})/(?P<expires>\d{1,12})/(?P<signature>[0-9a-f]{64})/" + FILE
)


def path_of(master: bytes, digest: str, *, now_unix_s: int) -> str:
    """The path of an archive, good for `VALID_S` seconds."""
    expires = now_unix_s + VALID_S
    return f"{PREFIX}{digest}/{expires}/{_signature(master, digest, expires)}/{FILE}"


def digest_in(path: str, master: bytes, *, now_unix_s: int) -> str | None:
    """The archive that a path gives access to; None where it does to none, or does no longer."""
    match = PATH.fullmatch(path)
    if match is None:
        return None
    digest, expires = match["digest"], int(match["expires"])
    wanted = _signature(master, digest, expires)
    is_good = hmac.compare_digest(wanted, match["signature"]) and now_unix_s < expires
    return digest if is_good else None


def _signature(master: bytes, digest: str, expires_unix_s: int) -> str:
    return hmac.new(master, f"lambda-code\n{digest}\n{expires_unix_s}".encode(), hashlib.sha256).hexdigest()
