"""SQS's message move tasks: what a dead-letter queue holds goes back, or elsewhere."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Final

import msgspec

from lambent.bindings.moves import Move, Moves, Status
from lambent.bindings.queues import Queues
from lambent.core.errors import Conflict, NotFound, QueueFull
from lambent.core.invocation import Role
from lambent.gateway.protocols.aws.asked import Asked, Operation
from lambent.gateway.protocols.aws.sqs import answer
from lambent.gateway.responses import Reply
from lambent.storage.queues import Queue, Stuck
from lambent.wire.aws import sqs as wire
from lambent.wire.aws.faults import Fault
from lambent.wire.aws.sqs import read
from lambent.wire.aws.sqs_attributes import name_of_arn, queue_arn
from lambent.wire.aws.sqs_faults import OLD, bad_value, invalid_parameter, missing, sqs_fault
from lambent.wire.typed import from_json

PER_SECOND_MAX: Final = 500
LISTED_MAX: Final = 10
REASONS: Final[Mapping[Stuck, str]] = {
    Stuck.NO_SOURCE: "CouldNotDetermineMessageSource",
    Stuck.NO_QUEUE: OLD + "NonExistentQueue",
}


class Handle(msgspec.Struct, frozen=True):
    """What a task handle holds, as JSON in base64."""

    task_id: str = msgspec.field(name="taskId")
    source_arn: str = msgspec.field(name="sourceArn")


class MoveOperations:
    """StartMessageMoveTask, ListMessageMoveTasks, CancelMessageMoveTask."""

    def __init__(self, queues: Queues, moves: Moves) -> None:
        self._queues: Final = queues
        self._moves: Final = moves

    def operations(self) -> Mapping[str, Operation]:
        """By name."""
        runs = {
            "StartMessageMoveTask": self._start,
            "ListMessageMoveTasks": self._list,
            "CancelMessageMoveTask": self._cancel,
        }
        return {name: Operation(name=name, run=run) for name, run in runs.items()}

    async def _start(self, asked: Asked) -> Reply:
        wanted = read(asked.body, wire.StartMove)
        per_second = wanted.max_number_of_messages_per_second
        if per_second is not None and not 1 <= per_second <= PER_SECOND_MAX:
            said = f"Must be an integer from 1 to {PER_SECOND_MAX}."
            raise bad_value(per_second, "MaxNumberOfMessagesPerSecond", said)
        source = self._queue(asked, wanted.source_arn, "SourceArn", Role.DEPLOY)
        mine = self._queues.all(asked.principal.project)
        if all(queue.terms.dead_letters != source.name for queue in mine):
            raise invalid_parameter("Source queue must be configured as a Dead Letter Queue.")
        to = ""
        if wanted.destination_arn:
            target = self._queue(asked, wanted.destination_arn, "DestinationArn", Role.DEPLOY)
            _check_pair(source, target)
            to = target.name
        try:
            move = await self._moves.start(source.project, source.name, to=to, per_second=per_second or 0)
        except NotFound as error:
            raise _gone("SourceArn") from error
        except Conflict as error:
            raise invalid_parameter(
                "There is already a task running. Only one active task is allowed for a source queue arn at "
                "a given time."
            ) from error
        except QueueFull as error:
            raise sqs_fault("RequestThrottled", error.message) from error
        return answer(asked, {"TaskHandle": _handle(asked, move)})

    async def _list(self, asked: Asked) -> Reply:
        wanted = read(asked.body, wire.ListMoves)
        most = 1 if wanted.max_results is None else wanted.max_results
        if not 1 <= most <= LISTED_MAX:
            raise bad_value(most, "MaxResults", f"Must be an integer from 1 to {LISTED_MAX}.")
        source = self._queue(asked, wanted.source_arn, "SourceArn", Role.READ)
        try:
            moves = await self._moves.of(source.project, source.name)
        except NotFound as error:
            raise _gone("SourceArn") from error
        return answer(asked, {"Results": [_told(asked, move) for move in moves[:most]]})

    async def _cancel(self, asked: Asked) -> Reply:
        wanted = read(asked.body, wire.CancelMove)
        if not wanted.task_handle:
            raise missing("TaskHandle")
        try:
            handle = from_json(base64.b64decode(wanted.task_handle, validate=True), Handle)
        except (ValueError, binascii.Error, msgspec.DecodeError):
            raise invalid_parameter("Value for parameter TaskHandle is invalid.") from None
        source = self._queue(asked, handle.source_arn, "SourceArn", Role.DEPLOY)
        try:
            move = await self._moves.cancel(source.project, source.name, handle.task_id)
        except NotFound:
            raise Fault("ResourceNotFoundException", 404, "Task does not exist.", extra={}) from None
        except Conflict as error:
            raise sqs_fault("UnsupportedOperation", "Only active tasks can be cancelled.") from error
        return answer(asked, {"ApproximateNumberOfMessagesMoved": move.moved})

    def _queue(self, asked: Asked, arn: str, parameter: str, role: Role) -> Queue:
        """The queue of an ARN. Raises `Fault`, `Forbidden`."""
        asked.principal.require(role)
        if not arn:
            raise missing(parameter)
        name = name_of_arn(arn)
        if not name:
            raise sqs_fault(
                "InvalidAddress",
                f"You must use this format to specify the {parameter}: "
                "arn:<partition>:<service>:<region>:<account-id>:<resource-id>",
            )
        queue = self._queues.find(asked.principal.project, name)
        if queue is None:
            raise _gone(parameter)
        return queue


def _gone(parameter: str) -> Fault:
    said = f"The resource that you specified for the {parameter} parameter doesn't exist."
    return Fault("ResourceNotFoundException", 404, said, extra={})


def _check_pair(source: Queue, target: Queue) -> None:
    """Raise `Fault` where messages cannot go from one to the other."""
    if source.name == target.name:
        raise invalid_parameter("Source queue arn and destination queue arn cannot be the same.")
    if source.terms.order is not target.terms.order:
        raise invalid_parameter("The source queue and destination queue must be of the same queue type.")


def _handle(asked: Asked, move: Move) -> str:
    handle = Handle(move.id, queue_arn(asked.place, move.source))
    return base64.b64encode(msgspec.json.encode(handle)).decode()


def _told(asked: Asked, move: Move) -> wire.MoveTask:
    return wire.MoveTask(
        task_handle=_handle(asked, move) if move.status is Status.RUNNING else None,
        status=move.status.upper(),
        source_arn=queue_arn(asked.place, move.source),
        destination_arn=queue_arn(asked.place, move.to) if move.to else None,
        max_number_of_messages_per_second=move.per_second or None,
        approximate_number_of_messages_moved=move.moved,
        approximate_number_of_messages_to_move=move.to_move,
        failure_reason=REASONS.get(move.stuck),
        started_timestamp=move.started_unix_ms,
    )
