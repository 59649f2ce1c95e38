"""SQS's permissions: statements of a queue's policy, which is kept and judges nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from lambent.bindings.queues import Queues
from lambent.core.errors import NotFound
from lambent.core.invocation import Role
from lambent.gateway.protocols.aws.asked import Asked, Operation
from lambent.gateway.protocols.aws.sqs import answer, named
from lambent.gateway.responses import Reply
from lambent.storage.queues import Queue
from lambent.wire.aws import sqs as wire
from lambent.wire.aws.sqs import read
from lambent.wire.aws.sqs_attributes import queue_arn
from lambent.wire.aws.sqs_faults import bad_value, missing, no_queue
from lambent.wire.typed import from_json

POLICY: Final = "Policy"
VERSION: Final = "2008-10-17"
STATEMENTS_MAX: Final = 20


class Policy(msgspec.Struct, frozen=True):
    """A policy, of which only the list of statements is looked into."""

    version: str = msgspec.field(name="Version", default=VERSION)
    id: str = msgspec.field(name="Id", default="")
    statements: tuple[dict[str, Any], ...] = msgspec.field(name="Statement", default=())


class PolicyOperations:
    """AddPermission and RemovePermission."""

    def __init__(self, queues: Queues) -> None:
        self._queues: Final = queues

    def operations(self) -> Mapping[str, Operation]:
        """By name."""
        runs = {"AddPermission": self._add, "RemovePermission": self._remove}
        return {name: Operation(name=name, run=run) for name, run in runs.items()}

    async def _add(self, asked: Asked) -> Reply:
        wanted = read(asked.body, wire.Permission)
        queue = named(self._queues, asked, wanted.queue_url, Role.DEPLOY)
        accounts, actions = wanted.aws_account_ids or [], wanted.actions or []
        for name, said in (("Label", wanted.label), ("AWSAccountIds", accounts), ("Actions", actions)):
            if not said:
                raise missing(name)
        statement = {
            "Sid": wanted.label,
            "Effect": "Allow",
            "Principal": {"AWS": _one_or_all([f"arn:aws:iam::{account}:root" for account in accounts])},
            "Action": _one_or_all([f"SQS:{action}" for action in actions]),
            "Resource": queue_arn(asked.place, queue.name),
        }

        def add(policy: Policy) -> tuple[dict[str, Any], ...]:
            if any(one.get("Sid") == wanted.label for one in policy.statements):
                raise bad_value(wanted.label, "Label", "Already exists.")
            if len(policy.statements) >= STATEMENTS_MAX:
                raise bad_value(wanted.label, "Label", f"A policy has at most {STATEMENTS_MAX} statements.")
            return (*policy.statements, statement)

        return await self._change(asked, queue, add)

    async def _remove(self, asked: Asked) -> Reply:
        wanted = read(asked.body, wire.Permission)
        queue = named(self._queues, asked, wanted.queue_url, Role.DEPLOY)
        if not wanted.label:
            raise missing("Label")

        def remove(policy: Policy) -> tuple[dict[str, Any], ...]:
            left = tuple(one for one in policy.statements if one.get("Sid") != wanted.label)
            if len(left) == len(policy.statements):
                raise bad_value(wanted.label, "Label", "can't find label.")
            return left

        return await self._change(asked, queue, remove)

    async def _change(
        self, asked: Asked, queue: Queue, change: Callable[[Policy], tuple[dict[str, Any], ...]]
    ) -> Reply:
        arn = queue_arn(asked.place, queue.name)

        def changed(now: Queue) -> Queue:
            policy = _policy_of(now, arn)
            extra = {name: value for name, value in now.extra.items() if name != POLICY}
            if statements := change(policy):
                kept = msgspec.structs.replace(policy, statements=statements)
                extra[POLICY] = msgspec.json.encode(kept).decode()
            return msgspec.structs.replace(now, extra=extra)

        try:
            await self._queues.change(queue.project, queue.name, changed)
        except NotFound as error:  # it was deleted meanwhile
            raise no_queue() from error
        return answer(asked)


def _policy_of(queue: Queue, arn: str) -> Policy:
    """The policy of a queue, or one to begin with. Raises `Fault` where it is none that can be added to."""
    text = queue.extra.get(POLICY)
    if not text:
        return Policy(id=f"{arn}/SQSDefaultPolicy")
    try:
        return from_json(text.encode(), Policy)
    except msgspec.DecodeError:
        raise bad_value(text[:200], POLICY, "It is no list of statements that can be added to.") from None


def _one_or_all(texts: Sequence[str]) -> str | Sequence[str]:
    """As AWS writes it: a single one without a list."""
    return texts[0] if len(texts) == 1 else texts
