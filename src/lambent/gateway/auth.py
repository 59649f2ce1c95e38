"""Who asks: keys as bearers or as signers of AWS requests, and what each may do.

A key is `lk_<id>_<secret>`: 8 hex digits and 43 url-safe characters (256 random bits). Only the SHA-256 of
the secret is stored; a fast hash is enough where there is nothing to guess. The pair for AWS's signatures
needs no storage either: it is derived from the server's master key.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import os
import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Final, TypeVar

import msgspec

from lambent.clock import Clock
from lambent.core.errors import PlatformFault, Unauthenticated
from lambent.core.invocation import Principal, Role
from lambent.storage.base import Key
from lambent.storage.base import Keys as Store
from lambent.wire import sigv4
from lambent.wire.aws import chunked
from lambent.wire.keys import KeyReply, KeyView

SECRET_CHARACTERS: Final = 43
KEY_ID: Final = re.compile(r"[0-9a-f]{8}")
KEYS_KNOWN_MAX: Final = 10_000
ID_TRIES_MAX: Final = 100  # of one among four billion
LOCAL_KEY: Final = "local"

K = TypeVar("K")
V = TypeVar("V")


class Credentials(msgspec.Struct, frozen=True):
    """All forms of one key, secrets included."""

    api_key: str
    access_key_id: str
    secret_access_key: str


class Signer(msgspec.Struct, frozen=True):
    """Who signs for AWS's doors, and with what in one scope."""

    principal: Principal
    signing_key: bytes


class Keys:
    """The keys of every project, as the doors ask for them. One that was looked up is remembered."""

    def __init__(self, store: Store, master: bytes, clock: Clock) -> None:
        self._store: Final = store
        self._master: Final = master
        self._clock: Final = clock
        self._known: Final[OrderedDict[str, Key]] = OrderedDict()
        self._admitted: Final[OrderedDict[bytes, Principal]] = OrderedDict()  # by the whole key, as it came
        self._signers: Final[OrderedDict[tuple[str, str], Signer]] = OrderedDict()  # by access key and scope
        self._changes = 0

    async def authenticate(self, headers: Mapping[bytes, bytes]) -> Principal:
        """Whose key a request carries. Raises `Unauthenticated`."""
        token = _presented(headers)
        # Found by a hash that is keyed anew in each process: how long it takes tells nothing of other keys.
        return self._admitted.get(token) or await self._examine(token)

    async def authenticate_signed(
        self, request: sigv4.SignedRequest, signature: sigv4.Signature
    ) -> Principal:
        """Whose key signed a request. Raises `Unauthenticated` for an unknown one, `SignatureRejected`."""
        signer = await self._signer(signature)
        sigv4.verify(request, signature, signer.signing_key, now_unix_ms=self._clock.unix_ms())
        return signer.principal

    async def unchunked(self, request: sigv4.SignedRequest, signature: sigv4.Signature) -> bytes:
        """The body of a request that `authenticate_signed` let in, out of its chunks. Raises as that does."""
        signer = await self._signer(signature)
        return chunked.decoded(request, signature, signer.signing_key)

    async def local(self, project: str) -> Credentials:
        """The admin key that the command on this machine uses: made at first start, the same at every later.

        It is derived from the master key, so that whoever may read the state directory has it.
        """
        key_id = self._derive("local id", project).hex()[:8]
        secret = _text(self._derive("local secret", project))
        key = Key(
            id=key_id,
            project=project,
            name=LOCAL_KEY,
            role=Role.ADMIN,
            secret_hash=_hash(secret),
            created_unix_ms=self._clock.unix_ms(),
        )
        if (found := await self._look_up(key_id)) is None:
            await self._put(key)
        return self._credentials(found or key, secret)

    async def create(self, project: str, name: str, role: Role) -> KeyReply:
        """A new key; its secret is told here and never again. Raises `PlatformFault` where no id is free."""
        secret = _text(os.urandom(32))
        key = Key(
            id=await self._free_id(),
            project=project,
            name=name,
            role=role,
            secret_hash=_hash(secret),
            created_unix_ms=self._clock.unix_ms(),
        )
        await self._put(key)
        credentials = self._credentials(key, secret)
        return KeyReply(
            view(key), credentials.api_key, credentials.access_key_id, credentials.secret_access_key
        )

    async def all(self, project: str) -> Sequence[KeyView]:
        """The keys of a project, without their secrets."""
        return [view(key) for key in await asyncio.to_thread(self._store.all, project)]

    async def remove(self, project: str, key_id: str) -> None:
        """Forget a key: when this returns, it opens nothing. Raises `NotFound`."""
        await asyncio.to_thread(self._store.remove, project, key_id)
        self._forget(key_id)

    def remembered(self) -> int:
        """How many keys are let in without a second look, at most `KEYS_KNOWN_MAX`."""
        return len(self._admitted)

    async def _examine(self, token: bytes) -> Principal:
        _, key_id, secret = _parts(token)
        key = self._known.get(key_id) or await self._look_up(key_id)
        stored = key.secret_hash if key else ""
        if key is None or not hmac.compare_digest(_hash(secret), stored):
            raise Unauthenticated("this key is not known here; `lambent keys` lists those that are")
        principal = Principal(key.project, key.id, key.role)
        if self._known.get(key_id) is key:  # else it may have been removed while it was looked up
            _remember(self._admitted, token, principal)
        return principal

    async def _free_id(self) -> str:
        for _ in range(ID_TRIES_MAX):
            key_id = os.urandom(4).hex()
            if await self._look_up(key_id) is None:
                return key_id
        raise PlatformFault(f"{ID_TRIES_MAX} ids for a new key were taken: remove keys that nobody uses")

    async def _put(self, key: Key) -> None:
        await asyncio.to_thread(self._store.put, key)
        self._forget(key.id)

    def _forget(self, key_id: str) -> None:
        self._changes += 1
        self._known.pop(key_id, None)
        self._admitted.clear()
        self._signers.clear()

    async def _look_up(self, key_id: str) -> Key | None:
        changes = self._changes
        key = await asyncio.to_thread(self._store.find, key_id)
        if key is not None and changes == self._changes:  # else it may have been removed while it was read
            _remember(self._known, key_id, key)
        return key

    async def _signer(self, signature: sigv4.Signature) -> Signer:
        """Who signs in the scope of a signature. Raises `Unauthenticated`."""
        name = (signature.claim.access_key_id, signature.claim.scope)
        return self._signers.get(name) or await self._find_signer(name, signature)

    async def _find_signer(self, name: tuple[str, str], signature: sigv4.Signature) -> Signer:
        key_id = self._key_id(signature.claim.access_key_id)
        key = (self._known.get(key_id) or await self._look_up(key_id)) if key_id else None
        if key is None:
            raise Unauthenticated("The security token included in the request is invalid.")
        signing_key = sigv4.signing_key(signature, self._credentials(key, "").secret_access_key)
        signer = Signer(Principal(key.project, key.id, key.role), signing_key)
        if self._known.get(key_id) is key:  # else it may have been removed while it was looked up
            _remember(self._signers, name, signer)
        return signer

    def _credentials(self, key: Key, secret: str) -> Credentials:
        pair = base64.b64encode(self._derive("sigv4", key.id + key.secret_hash)[:30]).decode()
        return Credentials(f"lk_{key.id}_{secret}", self._access_key_id(key.id), pair)

    def _access_key_id(self, key_id: str) -> str:
        """`LAMB` and 16 characters: the key's id and a check, which shows a wrong one without the store."""
        return "LAMB" + base64.b32encode(bytes.fromhex(key_id) + self._derive("check", key_id)[:6]).decode()

    def _key_id(self, access_key_id: str) -> str:
        """The key that an access key id stands for, or nothing where it is not one of ours."""
        try:
            key_id = base64.b32decode(access_key_id.removeprefix("LAMB"))[:4].hex()
        except ValueError:
            return ""
        matches = len(key_id) == 8 and hmac.compare_digest(
            self._access_key_id(key_id).encode(), access_key_id.encode()
        )
        return key_id if matches else ""

    def _derive(self, purpose: str, subject: str) -> bytes:
        return hmac.new(self._master, f"{purpose}\n{subject}".encode(), hashlib.sha256).digest()


def view(key: Key) -> KeyView:
    """A key without its secret."""
    return KeyView(key_id=key.id, name=key.name, role=key.role, created_unix_ms=key.created_unix_ms)


def _remember(kept: OrderedDict[K, V], name: K, value: V) -> None:
    kept[name] = value
    if len(kept) > KEYS_KNOWN_MAX:
        kept.popitem(last=False)


def _presented(headers: Mapping[bytes, bytes]) -> bytes:
    """The key that a request carries."""
    authorization = headers.get(b"authorization", b"")
    if authorization[:7].lower() == b"bearer ":
        return authorization[7:].strip()
    token = headers.get(b"x-api-key", b"")
    if not token:
        raise Unauthenticated("this needs a key: send `Authorization: Bearer KEY` or `X-Api-Key: KEY`")
    return token


def _parts(token: bytes) -> Sequence[str]:
    """`lk`, id and secret of a key."""
    parts = token.decode("latin-1").split("_", 2)
    if len(parts) != 3 or not KEY_ID.fullmatch(parts[1]) or len(parts[2]) != SECRET_CHARACTERS:
        raise Unauthenticated(
            "this is not a key of Lambent: one looks like lk_<8 hex digits>_<43 characters>"
        )
    return parts


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _text(secret: bytes) -> str:
    return base64.urlsafe_b64encode(secret).rstrip(b"=").decode()
