"""Signatures of webhooks as Standard Webhooks defines them (standardwebhooks.com, specification 1.0.0)."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Sequence
from typing import Final

SECRET_PREFIX: Final = "whsec_"


def secret_of(master: bytes, project: str, number: int) -> str:
    """A project's secret with this number. It is derived, so that none is stored anywhere."""
    bits = hmac.new(master, f"webhook\n{project}\n{number}".encode(), hashlib.sha256).digest()
    return SECRET_PREFIX + base64.b64encode(bits).decode()


def signed_headers(
    secrets: Sequence[str], message_id: str, body: bytes, *, unix_s: int
) -> Sequence[tuple[str, str]]:
    """The headers that prove `body` to whoever has one of `secrets`, each of the form `whsec_BASE64`."""
    signed = f"{message_id}.{unix_s}.".encode() + body
    signatures = (f"v1,{_signature(secret, signed)}" for secret in secrets)
    return (
        ("webhook-id", message_id),
        ("webhook-timestamp", str(unix_s)),
        ("webhook-signature", " ".join(signatures)),
    )


def _signature(secret: str, signed: bytes) -> str:
    key = base64.b64decode(secret.removeprefix(SECRET_PREFIX))
    return base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
