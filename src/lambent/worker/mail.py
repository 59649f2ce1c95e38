"""What a worker that runs one call at a time was sent, sorted: calls in order, and words about them.

A worker reads between its calls. What concerns the call that runs is read where user code gives way, and when
a signal says that something has come.
"""

from __future__ import annotations

from collections import deque
from typing import Final

import msgspec

from lambent.core.invocation import JSON, FunctionError, Status
from lambent.wire.frames import Batch, Call, Cancel, Credit, Told, ToWorker
from lambent.worker.stream import BodyTooLarge, Stream

Work = tuple[Call | Batch, bytearray]


class Mail:
    """Sorts the frames of a stream."""

    def __init__(self, stream: Stream) -> None:
        self._stream: Final = stream
        self._work: Final[deque[Work | BodyTooLarge]] = deque()
        self._cancelled: Final[set[int]] = set()
        self._credit: Final[dict[int, int]] = {}
        self._told: Final[dict[tuple[int, int], tuple[Told, bytearray]]] = {}
        self._heard_of: list[int] = []  # the asks that were told since this was asked last
        self._over = False

    def next(self) -> Work | None:
        """The next call, or a batch; `None` where no more will come. Raises what `Stream.receive` raises."""
        while not self._work and not self._over:
            self.wait()
        work = self._work.popleft() if self._work else None
        if isinstance(work, BodyTooLarge):
            raise work
        return work

    def wait(self) -> bool:
        """Wait for one more frame; False where none will come."""
        if self._over:
            return False
        self._take()
        return True

    def look(self) -> None:
        """Sort what has come, without waiting."""
        while not self._over and self._stream.pull():
            self._take()

    def is_cancelled(self, call_id: int) -> bool:
        """Whether nobody waits for this call any more."""
        return call_id in self._cancelled

    def credit(self, call_id: int) -> int:
        """Bytes that were granted to the answer of a call since this was asked last."""
        return self._credit.pop(call_id, 0)

    def told(self, call_id: int, ask_id: int) -> tuple[Told, bytearray] | None:
        """What came of an invocation that a call asked for, once it has come."""
        return self._told.pop((call_id, ask_id), None)

    def heard_of(self) -> list[int]:
        """The asks of the call that runs whose end has come since this was asked last."""
        heard, self._heard_of = self._heard_of, []
        return heard

    def close(self, call_id: int) -> None:
        """A call was answered. The server numbers its calls in order, so nothing is said of earlier ones."""
        if self._cancelled or self._credit:
            self._cancelled.difference_update([known for known in self._cancelled if known <= call_id])
            self._credit.pop(call_id, None)
        if self._told:
            self._told.clear()  # nobody asks for them any more
        if self._heard_of:
            self._heard_of = []

    def _take(self) -> None:
        try:
            frame = self._stream.receive()
        except BodyTooLarge as error:
            if isinstance(error.header, Told):
                self._sort(_too_large(error.header, error))
            else:  # of a call whose turn has not come: whose has must not hear of it
                self._work.append(error)
        else:
            self._sort(frame)

    def _sort(self, frame: tuple[ToWorker, bytearray] | None) -> None:
        match frame:
            case (Call() | Batch() as work, body):
                self._work.append((work, body))
            case (Cancel(call_id), _):
                self._cancelled.add(call_id)
            case (Told(call_id, ask_id) as told, body):
                self._told[call_id, ask_id] = told, body
                self._heard_of.append(ask_id)
            case (Credit(call_id, size_bytes), _):
                self._credit[call_id] = self._credit.get(call_id, 0) + size_bytes
            case _:
                self._over = True  # the end of the stream, or `Stop`, behind all calls


def _too_large(told: Told, error: BodyTooLarge) -> tuple[Told, bytearray]:
    why = FunctionError(str(error), "MemoryError")
    failed = Told(told.call_id, told.ask_id, Status.FAILED, JSON)
    return failed, bytearray(msgspec.json.encode(why))
