"""Endpoints raised in the background: their deployments made, their status told when that is done.

An endpoint is a deployment of its name. Its first variant is the active revision; the second has its share
as a revision on trial has, without bounds, so nobody judges it. Each is an alias too, for `TargetVariant`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Final

import msgspec

from lambent.control.activation import Activation
from lambent.control.aliases import Aliasing
from lambent.control.aws.sagemaker.plans import percent_of
from lambent.control.aws.sagemaker.shelf import Book, Plan, Served, Shelf
from lambent.control.deployments import Deployments
from lambent.core.errors import LambentError, NotFound
from lambent.wire.aliases import AliasRequest, Canary
from lambent.wire.api import DeployRequest
from lambent.wire.aws.sagemaker import ALL_TRAFFIC
from lambent.wire.aws.sagemaker_control import UNDER_WAY, Kind, Status
from lambent.wire.model_archive import WHOLE

log = logging.getLogger(__name__)

REASON_CHARACTERS_MAX: Final = 1024
replace: Final = msgspec.structs.replace


class Raising:
    """One task for each endpoint that is being made or changed."""

    def __init__(
        self,
        *,
        shelf: Shelf,
        deployments: Deployments,
        aliasing: Aliasing,
        activation: Activation,
        tasks: asyncio.TaskGroup,
    ) -> None:
        self._shelf: Final = shelf
        self._deployments: Final = deployments
        self._aliasing: Final = aliasing
        self._activation: Final = activation
        self._tasks: Final = tasks
        self._running: Final[dict[tuple[str, str], asyncio.Task[None]]] = {}

    async def restore(self, project: str) -> None:
        """At start: go on with what was under way when the server ended."""
        for book in await self._shelf.all(project, Kind.ENDPOINT):
            if book.status in UNDER_WAY:
                self.start(project, book)

    def start(self, project: str, book: Book) -> None:
        """Let an endpoint become what its plan says."""
        key = (project, book.name)
        task = self._tasks.create_task(self._raise(project, book), name=f"endpoint {book.name}")
        self._running[key] = task
        task.add_done_callback(lambda _: self._running.pop(key, None))

    async def stop(self, project: str, name: str) -> None:
        """Nothing is done for an endpoint any more."""
        task = self._running.get((project, name))
        if task is not None:
            task.cancel()
            await asyncio.wait((task,))

    async def remove(self, project: str, name: str) -> None:
        """Take its deployment away, where there is one."""
        try:
            await self._deployments.remove(project, name)
        except NotFound:
            return

    async def _raise(self, project: str, book: Book) -> None:
        plan = book.plan
        if plan is None:
            return
        ended = replace(book, status=Status.IN_SERVICE, reason="", before=None)
        try:
            await self._serve(project, book.name, plan, before=book.before)
        except LambentError as error:
            ended = await self._failed(project, book, error)
        async with self._shelf.held(project, Kind.ENDPOINT, book.name):
            now = await self._shelf.find(project, Kind.ENDPOINT, book.name)
            if now is not None:  # its tags may have changed meanwhile
                await self._shelf.put(project, Kind.ENDPOINT, replace(ended, tags=now.tags))
        log.info("endpoint_raised", extra={"deployment": book.name, "status": ended.status})

    async def _failed(self, project: str, book: Book, error: LambentError) -> Book:
        """What was served before is served again, as on AWS."""
        reason = error.message[:REASON_CHARACTERS_MAX]
        if book.before is None:
            return replace(book, status=Status.FAILED, reason=reason)
        try:
            await self._serve(project, book.name, book.before, before=book.plan)
        except LambentError:
            return replace(book, status=Status.FAILED, reason=reason, before=None)
        return replace(book, plan=book.before, before=None, status=Status.IN_SERVICE, reason=reason)

    async def _serve(self, project: str, name: str, plan: Plan, *, before: Plan | None) -> None:
        numbers: dict[str, int] = {}
        first, *others = plan.variants
        numbers[first.variant] = await self._deploy(project, name, first, None)
        if not others and self._activation.on_trial(project, name):
            await self._deployments.rollback(project, name, None)
        for other in others:
            canary = Canary(percent=percent_of(plan), max_error_rate=None)
            numbers[other.variant] = await self._deploy(project, name, other, canary)
        for variant, number in numbers.items():
            if variant != ALL_TRAFFIC or others:
                await self._aliasing.put(project, name, variant, AliasRequest(revision=number))
        for variant in _gone(plan, before):
            await self._forget(project, name, variant)

    async def _deploy(self, project: str, name: str, served: Served, canary: Canary | None) -> int:
        """The number of the variant's revision."""
        request = DeployRequest(
            artifact=served.digest, target=WHOLE, name=name, settings=served.settings, canary=canary
        )
        made = await self._deployments.deploy(project, request)
        return made.revisions[0].number

    async def _forget(self, project: str, name: str, variant: str) -> None:
        try:
            await self._aliasing.remove(project, name, variant)
        except NotFound:
            return


def _gone(plan: Plan, before: Plan | None) -> Sequence[str]:
    there = {one.variant for one in plan.variants}
    return [one.variant for one in before.variants if one.variant not in there] if before else ()
