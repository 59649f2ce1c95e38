"""Shapes of the control API: keys."""

from __future__ import annotations

import msgspec

from lambent.core.invocation import Role


class KeyView(msgspec.Struct, frozen=True, kw_only=True):
    """A key without its secret."""

    key_id: str
    name: str
    role: Role
    created_unix_ms: int


class KeyRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Make a key."""

    name: str
    role: Role = Role.INVOKE


class KeyReply(msgspec.Struct, frozen=True):
    """A new key with its secret, which is told this once: `api_key` for a Bearer, the pair for SigV4."""

    key: KeyView
    api_key: str
    access_key_id: str
    secret_access_key: str
