"""Webhooks: what became of their messages, and the secret that they are signed with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

from lambent.control.operations import Asked, Operation, Parameter
from lambent.core.invocation import Role
from lambent.storage.tickets import Delivery
from lambent.wire.api import DeliveryView, RotateRequest, WebhookSecretView

PAGE: Final = 100
PAGE_MAX: Final = 1000


class Secrets(Protocol):
    """A project's secrets."""

    @property
    def current(self) -> str:
        """The one that signs."""

    @property
    def previous(self) -> str:
        """The one before it, as long as it signs as well, else empty."""

    @property
    def overlap_until_unix_ms(self) -> int:
        """How long that is."""


class Webhooks(Protocol):
    """Who delivers."""

    async def all(self, project: str, *, limit: int) -> Sequence[Delivery]:
        """Messages, newest first."""

    async def secrets(self, project: str) -> Secrets:
        """What a project's messages are signed with now."""

    async def rotate(self, project: str, *, overlap_s: float) -> Secrets:
        """A new secret; the one before it goes on signing as well for `overlap_s`."""


class WebhookVerbs:
    """Everything under /webhooks."""

    def __init__(self, webhooks: Webhooks) -> None:
        self._webhooks: Final = webhooks

    def operations(self) -> Sequence[Operation]:
        """The table."""
        return (
            Operation(
                name="listDeliveries",
                method="GET",
                path="/webhooks/deliveries",
                role=Role.READ,
                summary="Messages to webhooks of the last week, newest first",
                run=self._list,
                query=(Parameter("limit", f"how many at the most, {PAGE} unless told", "integer"),),
                reply=tuple[DeliveryView, ...],
            ),
            Operation(
                name="showWebhookSecret",
                method="GET",
                path="/webhooks/secret",
                role=Role.ADMIN,
                summary="What the project's webhooks are signed with",
                run=self._secret,
                reply=WebhookSecretView,
            ),
            Operation(
                name="rotateWebhookSecret",
                method="POST",
                path="/webhooks/secret/rotate",
                role=Role.ADMIN,
                summary="Sign with a new secret, and with the old one as well for a while",
                run=self._rotate,
                body=RotateRequest,
                reply=WebhookSecretView,
            ),
        )

    async def _list(self, asked: Asked) -> tuple[DeliveryView, ...]:
        limit = asked.number("limit", PAGE, low=1, high=PAGE_MAX)
        return tuple(map(_view, await self._webhooks.all(asked.project, limit=limit)))

    async def _secret(self, asked: Asked) -> WebhookSecretView:
        return _secret_view(await self._webhooks.secrets(asked.project))

    async def _rotate(self, asked: Asked) -> WebhookSecretView:
        return _secret_view(await self._webhooks.rotate(asked.project, overlap_s=asked.body.overlap_s))


def _secret_view(secrets: Secrets) -> WebhookSecretView:
    return WebhookSecretView(
        secret=secrets.current,
        previous=secrets.previous,
        overlap_until_unix_ms=secrets.overlap_until_unix_ms,
    )


def _view(delivery: Delivery) -> DeliveryView:
    return DeliveryView(
        id=delivery.id,
        invocation=delivery.ticket,
        deployment=delivery.deployment,
        url=delivery.url,
        state=delivery.state.value,
        attempts=delivery.attempts,
        error=delivery.error,
        due_unix_ms=delivery.due_unix_ms,
        created_unix_ms=delivery.created_unix_ms,
    )
