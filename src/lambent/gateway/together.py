"""Calls of a lane that go out as one batch: who is sent, who is refused, and how each of them ended."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from math import inf
from typing import Final

import msgspec

from lambent.clock import Clock
from lambent.core.batching import Item
from lambent.core.errors import PlatformFault, TooLate
from lambent.core.spec import DeploymentSpec
from lambent.gateway.batching import Batching, Sent
from lambent.gateway.lane import Lane
from lambent.gateway.running import Arrival, Runner, Seat
from lambent.gateway.turn import Turn
from lambent.pool.member import Lease, NotStarted
from lambent.pool.pool import Pool

log = logging.getLogger(__name__)


class Together:
    """Promotes those who wait in lanes that batch."""

    def __init__(
        self,
        pool: Pool,
        runner: Runner,
        clock: Clock,
        tasks: asyncio.TaskGroup,
        *,
        look: Callable[[Lane], None],
    ) -> None:
        """`look` is called when it is time to look at a lane again."""
        self._pool: Final = pool
        self._runner: Final = runner
        self._clock: Final = clock
        self._tasks: Final = tasks
        self._look: Final = look

    def promote(self, lane: Lane, batching: Batching) -> None:
        """Send what is due, refuse what comes too late, and look again when somebody else would."""
        revision = lane.route.plan.revision
        awake_s = self._pool.awake_s(revision)
        while waiting := [turn for turn in lane.waiters if not turn.lease.done()]:
            now_s = self._clock.now_s()
            items = [_item(batching, turn, awake_s) for turn in waiting]
            decision = batching.due(
                items, revision, idle_workers=self._pool.idle(revision), now_s=now_s
            )  # fmt: skip
            dropped = [waiting[place] for place in decision.drop]
            for turn in dropped:
                turn.give_up(too_late(lane.route.spec, turn.arrival, now_s=now_s))
            lease = self._lease(batching, revision, now_s) if decision.take else None
            turns = [waiting[place] for place in decision.take] if lease else []
            del turns[batching.fitting([turn.arrival.invocation for turn in turns]) :]
            gone = {*turns, *dropped}
            lane.keep([turn for turn in waiting if turn not in gone])
            if lease is None:
                if decision.wait_s is not None:
                    batching.look_s = now_s + decision.wait_s
                    lane.look_in(decision.wait_s, self._look_again)
                return
            sent = batching.began(lease, turns[0].arrival.invocation, len(turns), now_s)
            self._seat(lane, batching, sent, lease, turns)

    def _look_again(self, lane: Lane) -> None:
        if lane.batching is not None:
            lane.batching.looked(self._clock.now_s())
        self._look(lane)

    def _lease(self, batching: Batching, revision: str, now_s: float) -> Lease | None:
        """A slot of an idle worker, else a place behind what runs on the one that will be free first."""
        return self._pool.lease(revision) or batching.behind(revision, now_s)

    def _seat(self, lane: Lane, batching: Batching, sent: Sent, lease: Lease, turns: Sequence[Turn]) -> None:
        if len(turns) == 1:
            turns[0].lease.set_result(lease)
            return
        loop = asyncio.get_running_loop()
        seated: list[tuple[Turn, Seat]] = [(turn, loop.create_future()) for turn in turns]
        for turn, seat in seated:
            turn.lease.set_result(seat)
        name = f"batch of {lane.route.name}"
        self._tasks.create_task(self._run(lane, batching, sent, lease, seated), name=name)

    async def _run(
        self, lane: Lane, batching: Batching, sent: Sent, lease: Lease, seated: Sequence[tuple[Turn, Seat]]
    ) -> None:
        """Run them, and tell each at its seat how it ended."""
        here = [(turn, seat) for turn, seat in seated if not seat.done()]
        if not here:  # all of them left in the very tick of their promotion
            lease.give_back()
            return
        arrivals = [turn.arrival for turn, _ in here]
        first, seats = arrivals[0].invocation, [seat for _, seat in here]
        try:
            outcomes = await self._runner.run_together(lease, arrivals, lane.traffic)
            now_s = self._clock.now_s()
            batching.ended(sent, first, len(here), run_s=outcomes.run_s, now_s=now_s)
            for seat, outcome in zip(seats, outcomes.each, strict=True):
                if not seat.done():
                    seat.set_result(outcome)
            # Each of them is answered in a step of its own task, and these are next.
            asyncio.get_running_loop().call_soon(self._told, batching, now_s)
        except NotStarted:
            _fail(seats, NotStarted)
        except Exception:  # the top of a task: a fault of ours must not end the server
            log.exception("batch_crashed", extra={"deployment": lane.route.name})
            _fail(seats, lambda: PlatformFault(f"a batch of {lane.route.name!r} could not be run"))
        finally:
            for seat in seats:
                seat.cancel()  # where the server ends; harmless for those that were told

    def _told(self, batching: Batching, since_s: float) -> None:
        batching.told(self._clock.now_s() - since_s)


def _item(batching: Batching, turn: Turn, awake_s: float) -> Item:
    """What a turn is for batches. Who waited for a wake is not late because of that."""
    since_s = max(turn.arrival.arrived_s, awake_s)
    if turn.item is None:  # it came when this lane did not batch
        return batching.item(turn.arrival.invocation, since_s)
    return (
        turn.item if turn.item.arrived_s >= since_s else msgspec.structs.replace(turn.item, arrived_s=since_s)
    )


def _fail(seats: Sequence[Seat], error: Callable[[], Exception]) -> None:
    """One each: a raised exception collects its own traceback."""
    for seat in seats:
        if not seat.done():
            seat.set_exception(error())


def too_late(spec: DeploymentSpec, arrival: Arrival, *, now_s: float) -> TooLate:
    """What is said to one that could not have been in time."""
    waited_ms = (now_s - arrival.arrived_s) * 1e3
    within = f"within latency_target_ms={spec.latency_target_ms:g}"
    deadline_s = arrival.invocation.deadline_s
    if deadline_s is not None and deadline_s < arrival.arrived_s + (spec.latency_target_ms or inf) / 1e3:
        within = "before the caller's deadline"
    return TooLate(
        f"{spec.name!r} could not answer {within}: this invocation had waited for {waited_ms:.0f} ms",
        retry_after_s=1.0,
    )
