"""The part of the client for aliases and for what is on trial."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final
from urllib.parse import quote

from lambent.client.dead_letters import Get, Post
from lambent.core.routing import Weights, check_alias, check_header, read_weights
from lambent.wire.aliases import AliasRequest, AliasView, PromoteRequest


class Aliases:
    """The aliases of deployments. Every method raises what the client's own do."""

    def __init__(self, *, get: Get, put: Post, post: Post, delete: Callable[[str], None]) -> None:
        self._get: Final = get
        self._put: Final = put
        self._post: Final = post
        self._delete: Final = delete

    def all(self, name: str) -> tuple[AliasView, ...]:
        """Those of a deployment. An empty name is its own traffic, where something is, or was, on trial."""
        return self._get(_path(name), tuple[AliasView, ...])

    def put(
        self,
        name: str,
        alias: str,
        weights: Weights | str | int,
        *,
        sticky_header: str = "",
        max_error_rate: float | None = None,
        max_p95_ms: float | None = None,
        promote_after_s: float | None = None,
    ) -> AliasView:
        """Let `alias` stand for a revision (`3`), or share its traffic: `3:90,4:10` tries 4 on a tenth of it.

        Raises `InvalidSpec` for what makes no sense; the bounds are those of `lambent.wire.aliases.Canary`.
        """
        check_alias(alias)
        check_header(sticky_header)
        wanted = weights if isinstance(weights, Weights) else read_weights(str(weights))
        request = AliasRequest(
            revision=wanted.number,
            candidate=wanted.candidate,
            percent=wanted.percent,
            sticky_header=sticky_header,
            max_error_rate=max_error_rate,
            max_p95_ms=max_p95_ms,
            promote_after_s=promote_after_s,
        )
        return self._put(_path(name, alias), request, AliasView)

    def remove(self, name: str, alias: str) -> None:
        """Take an alias away."""
        check_alias(alias)
        self._delete(_path(name, alias))

    def promote(self, name: str, *, alias: str = "", percent: float = 100.0) -> AliasView:
        """Give what is on trial under an alias, or under the deployment's own name, so much, or all."""
        path = f"/api/v1/deployments/{quote(name, safe='')}/promote"
        return self._post(path, PromoteRequest(alias=alias, percent=percent), AliasView)


def _path(name: str, alias: str = "") -> str:
    path = f"/api/v1/deployments/{quote(name, safe='')}/aliases"
    return f"{path}/{quote(alias, safe='')}" if alias else path
