"""The parts of the client for what went wrong or was told: dead letters and webhooks."""

from __future__ import annotations

from typing import Final, Protocol, TypeVar
from urllib.parse import quote, urlencode

import msgspec

from lambent.wire.api import (
    DeadLetterDetail,
    DeadLetterReply,
    DeadLetterRequest,
    DeadLetterView,
    DeliveryView,
    RotateRequest,
    WebhookSecretView,
)

V = TypeVar("V")


class Get(Protocol):
    """Reads from the control API."""

    def __call__(self, path: str, kind: type[V], /) -> V: ...


class Post(Protocol):
    """Asks the control API for something."""

    def __call__(self, path: str, request: msgspec.Struct | None, kind: type[V], /) -> V: ...


class DeadLetters:
    """Asynchronous invocations that could not be done. They outlive their deployment."""

    def __init__(self, get: Get, post: Post) -> None:
        self._get: Final = get
        self._post: Final = post

    def counts(self) -> dict[str, int]:
        """How many each deployment has, where it has any."""
        return self._get("/api/v1/dead-letters", dict[str, int])

    def all(self, name: str, *, after: str = "", limit: int = 100) -> tuple[DeadLetterView, ...]:
        """Those of a deployment, oldest first, behind the one with the id `after`; 1000 at the most."""
        query = urlencode({"limit": limit, **({"after": after} if after else {})})
        return self._get(f"{_path(name)}?{query}", tuple[DeadLetterView, ...])

    def show(self, name: str, letter: str) -> DeadLetterDetail:
        """One with its event and its error."""
        return self._get(f"{_path(name)}/{quote(letter, safe='')}", DeadLetterDetail)

    def redrive(self, name: str, letter: str = "") -> int:
        """Try one, or all, as if just accepted; returns how many."""
        return self._post(f"{_path(name)}/redrive", DeadLetterRequest(letter), DeadLetterReply).count

    def purge(self, name: str, letter: str = "") -> int:
        """Forget one, or all; returns how many."""
        return self._post(f"{_path(name)}/purge", DeadLetterRequest(letter), DeadLetterReply).count


class Webhooks:
    """Messages to webhooks and the secret that they are signed with."""

    def __init__(self, get: Get, post: Post) -> None:
        self._get: Final = get
        self._post: Final = post

    def deliveries(self, *, limit: int = 100) -> tuple[DeliveryView, ...]:
        """The messages of the last week, newest first; 1000 at the most."""
        return self._get(f"/api/v1/webhooks/deliveries?limit={limit}", tuple[DeliveryView, ...])

    def secret(self) -> WebhookSecretView:
        """What messages are signed with; needs an admin's key."""
        return self._get("/api/v1/webhooks/secret", WebhookSecretView)

    def rotate(self, *, overlap_s: float = 86_400.0) -> WebhookSecretView:
        """Sign with a new secret, and for `overlap_s` with the one before it as well."""
        path = "/api/v1/webhooks/secret/rotate"
        return self._post(path, RotateRequest(overlap_s), WebhookSecretView)


def _path(name: str) -> str:
    return f"/api/v1/deployments/{quote(name, safe='')}/dead-letters"
