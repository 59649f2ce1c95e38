"""One invocation on the slot that it was given: its call, what it says, its bill and its outcome."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from math import ceil, inf
from typing import Final

import msgspec

from lambent.clock import Clock
from lambent.core.errors import DeadlinePassed
from lambent.core.invocation import FunctionError, Invocation, Outcome, PrintTail, Status, Timing
from lambent.core.pricing import OWN_METER
from lambent.core.spec import Kind, Temperature
from lambent.gateway.asking import Asking
from lambent.gateway.flow import Flow, Streams
from lambent.gateway.presence import Presence
from lambent.gateway.reports import Reports
from lambent.metering.journal import UsageRecord
from lambent.pool.member import Lease, Overtime, Ran
from lambent.pool.pool import Pool
from lambent.pool.traffic import Traffic
from lambent.wire.frames import Batch, Call, read_error

INIT_PARTS: Final = ("exec", "import", "load", "init")  # the parts of a wake that AWS bills as the INIT phase


class Arrival(msgspec.Struct, frozen=True):
    """An invocation that was accepted, and what was so when it came.

    `client` is there where user code shall hear that it has left, `streams` where its door can stream.
    """

    invocation: Invocation
    kind: Kind
    arrived_s: float
    temperature: Temperature
    client: Presence | None
    streams: Streams | None


# A place in a batch: how that invocation ended, or `NotStarted`.
Seat = asyncio.Future[Outcome]


class Ends(msgspec.Struct, frozen=True):
    """How each call of a batch ended, and the time in its worker; 0 where that tells nothing of others."""

    each: Sequence[Outcome]
    run_s: float


class Runner:
    """Runs accepted invocations, each once, and meters them."""

    def __init__(
        self,
        pool: Pool,
        clock: Clock,
        meter: Callable[[UsageRecord], None],
        asking: Asking,
        reports: Reports | None = None,
    ) -> None:
        self._asking: Final = asking
        self._reports: Final = reports
        self._pool: Final = pool
        self._clock: Final = clock
        self._meter: Final = meter
        self._call_id = 0

    async def run(self, lease: Lease, arrival: Arrival, traffic: Traffic) -> Outcome:
        """How it ended. Raises `NotStarted` where its worker ended before its turn."""
        plan, invocation = lease.plan, arrival.invocation
        is_socket = invocation.asked is not None and invocation.asked.is_socket
        timeout_s = plan.socket_s if is_socket else plan.timeout_s
        started_s = self._clock.now_s()
        rest_s = inf if invocation.deadline_s is None else invocation.deadline_s - started_s
        if rest_s <= 0:
            lease.give_back()
            raise DeadlinePassed(f"the caller's deadline was over before {plan.deployment!r} could begin")
        self._call_id += 1
        flow = Flow(
            self._call_id, lease, arrival.temperature, arrival.client, arrival.streams,
            caller=invocation, asking=self._asking,
        )  # fmt: skip
        call = Call(
            self._call_id,
            invocation.id,
            min(timeout_s, rest_s) * 1e3,
            invocation.content_type,
            invocation.client_context,
            invocation.more,
            invocation.asked,
            invocation.trace,
            invocation.called,
        )
        reports = self._reports if invocation.called is not None else None
        if reports is not None and invocation.called is not None:
            reports.began(lease, invocation.id, invocation.called)
        try:
            ran = await lease.run(
                call,
                invocation.body,
                timeout_s=min(timeout_s, rest_s),
                overtime=Overtime.ASK if rest_s < timeout_s else Overtime.END,
                print_tail=invocation.print_tail,
                hears=flow.hear,
                on_sent=flow.start,
            )
        finally:
            flow.end()
        # Calls that run side by side would each be told of the CPU time of all.
        cpu_s = ran.cpu_us / 1e6 if plan.concurrency == 1 else None
        traffic.took(ran.run_us / 1e6, cpu_s, own_s=ran.own_us / 1e6)
        if lease.wake is not None:
            self._pool.first_call(lease, arrived_s=arrival.arrived_s, started_s=started_s, run_us=ran.run_us)
        outcome = self._outcome(_whole(ran, flow, arrival), lease, arrival, started_s, flow=flow)
        if reports is not None:
            reports.ended(lease, invocation.id, outcome)
        return outcome

    async def run_together(self, lease: Lease, arrivals: Sequence[Arrival], traffic: Traffic) -> Ends:
        """How each of a batch ended. Each is billed its share of the time. Raises `NotStarted`."""
        plan, started_s = lease.plan, self._clock.now_s()
        self._call_id += 1
        asked = [arrival.invocation for arrival in arrivals]
        calls = tuple(
            Call(
                self._call_id,
                one.id,
                min(plan.timeout_s, inf if one.deadline_s is None else one.deadline_s - started_s) * 1e3,
                one.content_type,
                one.client_context,
                trace=one.trace,
                called=one.called,
            )
            for one in asked
        )
        asks = self._asking.by(asked, lease.tell)
        try:
            ran = await lease.run(
                Batch(self._call_id, calls, tuple(len(one.body) for one in asked)),
                b"".join([one.body for one in asked]),
                timeout_s=plan.timeout_s,
                print_tail=PrintTail.DROPPED,
                hears=asks.hear,
            )
        finally:
            asks.end()
        if lease.wake is not None:
            self._pool.first_call(
                lease, arrived_s=arrivals[0].arrived_s, started_s=started_s, run_us=ran.run_us
            )
        each = []
        for share, arrival in zip(_shares(ran, asked), arrivals, strict=True):
            traffic.took(share.run_us / 1e6, share.cpu_us / 1e6)
            each.append(self._outcome(share, lease, arrival, started_s, ran_us=ran.run_us))
            if self._reports is not None and arrival.invocation.called is not None:
                self._reports.ran(lease, arrival.invocation.id, arrival.invocation.called, each[-1])
        return Ends(each, ran.run_us / 1e6 if ran.status in (Status.OK, Status.TIMED_OUT) else 0.0)

    def _outcome(
        self,
        ran: Ran,
        lease: Lease,
        arrival: Arrival,
        started_s: float,
        *,
        ran_us: int | None = None,
        flow: Flow | None = None,
    ) -> Outcome:
        """`ran.run_us` is what is billed, `ran_us` what it took, where that differs."""
        wake = lease.wake if arrival.temperature is not Temperature.HOT else None
        wake_ms = wake.parts_ms if wake else {}
        billed_ms = OWN_METER.read(run_us=ran.run_us)
        took_us = ran.run_us if ran_us is None else ran_us
        started_unix_ms = self._clock.unix_ms() - took_us // 1000
        usage = _usage(ran, lease, arrival, wake_ms, billed_ms=billed_ms, started_unix_ms=started_unix_ms)
        if flow is not None and (flow.heard_bytes or flow.said_bytes):
            usage = _with_streams(usage, flow)
        self._meter(usage)
        return Outcome(
            status=ran.status,
            body=ran.body,
            content_type=ran.content_type,
            revision=lease.plan.revision,
            temperature=arrival.temperature,
            timing=Timing(
                queue_ms=(started_s - arrival.arrived_s) * 1e3,
                run_ms=took_us / 1e3,
                total_ms=(self._clock.now_s() - arrival.arrived_s) * 1e3,
                wake_ms=wake_ms,
            ),
            billed_ms=billed_ms,
            error=None if ran.status is Status.OK else read_error(ran.body),
            log_tail=ran.printed,
            memory_bytes=lease.plan.memory_bytes,
            memory_used_bytes=ran.rss_bytes,
            head=ran.head,
            trace=arrival.invocation.trace,
            worker=lease.member.worker.worker_id,
        )


def _shares(ran: Ran, asked: Sequence[Invocation]) -> Iterator[Ran]:
    """What came of each call of a batch, with its share of what was used. The shares add up to the whole."""
    count, start = len(asked), 0
    if ran.status is Status.OK and not _is_whole(ran, count):
        error = FunctionError("the worker's answer to a batch is not one for each call", "Runtime.ExitError")
        ran = msgspec.structs.replace(ran, status=Status.EXITED, body=msgspec.json.encode(error))
    for place, one in enumerate(asked):
        share = msgspec.structs.replace(
            ran,
            run_us=_share(ran.run_us, place, count),
            cpu_us=_share(ran.cpu_us, place, count),
            printed=b"",
            each=(),
        )
        if ran.status is not Status.OK:  # it ended as a whole: by its timeout, or with its worker
            yield msgspec.structs.replace(share, body=_renamed(ran.body, asked[0].id, one.id))
            continue
        answer = ran.each[place]
        body = ran.body[start : start + answer.size_bytes]
        start += answer.size_bytes
        yield msgspec.structs.replace(
            share, status=answer.status, content_type=answer.content_type, body=body, head=answer.head
        )


def _is_whole(ran: Ran, count: int) -> bool:
    """Whether it is as many answers as there were calls: a worker is the side that is not trusted."""
    sizes = [one.size_bytes for one in ran.each]
    return len(sizes) == count and min(sizes) >= 0 and sum(sizes) == len(ran.body)


def _share(whole: int, place: int, count: int) -> int:
    return whole * (place + 1) // count - whole * place // count


def _renamed(body: bytes, first_id: str, own_id: str) -> bytes:
    """The error of a whole batch, in which its first call is named, as the error of one of its calls."""
    error = read_error(body)
    said = error.error_message.replace(first_id, own_id)
    return msgspec.json.encode(msgspec.structs.replace(error, error_message=said, request_id=own_id))


def _whole(ran: Ran, flow: Flow, arrival: Arrival) -> Ran:
    """A stream that its door did not take, in one piece."""
    if not flow.begun or arrival.streams is not None:
        return ran
    if flow.too_large:
        error = FunctionError(flow.too_large, "Function.ResponseSizeTooLarge", arrival.invocation.id)
        return msgspec.structs.replace(ran, status=Status.FAILED, body=msgspec.json.encode(error))
    if ran.status is not Status.OK:
        return ran
    body, content_type = flow.collected()
    return msgspec.structs.replace(ran, body=body, content_type=content_type, head=flow.head)


def _usage(
    ran: Ran,
    lease: Lease,
    arrival: Arrival,
    wake_ms: Mapping[str, float],
    *,
    billed_ms: int,
    started_unix_ms: int,
) -> UsageRecord:
    plan, invocation = lease.plan, arrival.invocation
    return UsageRecord(
        invocation=invocation.id,
        project=plan.project,
        deployment=plan.deployment,
        revision=plan.revision,
        kind=arrival.kind,
        status=ran.status,
        started_unix_ms=started_unix_ms,
        run_us=ran.run_us,
        billed_ms=billed_ms,
        billed_init_ms=ceil(sum(wake_ms.get(part, 0.0) for part in INIT_PARTS)) if wake_ms else 0,
        memory_bytes=plan.memory_bytes,
        memory_used_bytes=ran.rss_bytes,
        cpu_us=ran.cpu_us,
        temperature=arrival.temperature,
        request_bytes=len(invocation.body),
        response_bytes=len(ran.body),
    )


def _with_streams(usage: UsageRecord, flow: Flow) -> UsageRecord:
    return msgspec.structs.replace(
        usage,
        request_bytes=usage.request_bytes + flow.heard_bytes,
        response_bytes=flow.said_bytes or usage.response_bytes,
    )
