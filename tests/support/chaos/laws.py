"""The laws that hold whatever failed, as functions of what was seen. Each yields what breaks it.

What is metered equals what ended, precisely: the record is in the journal's file before the last byte of the
answer (DESIGN, section 7), so an answer that came whole has one record, which agrees with it, whatever is
killed afterwards. Only a run that the server was killed under, between its beginning and its answer, may have
none. One exception: while the disk is full, records wait in the server's memory, and a kill then loses them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

import msgspec

from lambent.core.invocation import Status
from lambent.metering.journal import UsageRecord
from tests.support.chaos.plan import Kind
from tests.support.chaos.program import CHURN, INNER, NAMED, TIMEOUT_S
from tests.support.chaos.seen import Acknowledged, End, Metered, Run, Seen, Witness

DEADLY: Final = (
    Kind.KILL_WORKER, Kind.KILL_PARKED, Kind.KILL_TEMPLATE, Kind.KILL_ENVIRONMENT, Kind.KILL_SERVER,
    Kind.STOP_WORKER, Kind.STOP_FOR_GOOD, Kind.STOP_TEMPLATE,
)  # fmt: skip
CALLS: Final[Mapping[str, Sequence[str]]] = {"front": ("fast",)}
# Calls that one worker runs at once, where it is more than one.
SLOTS: Final[Mapping[str, int]] = {"many": 8, "batch": 8, "web": 100}
# Workers that a fault takes along, where it is more than one: those of one revision, or, of the environment,
# those of the revision before, too.
WORKERS_STRUCK: Final[Mapping[Kind, int]] = {
    Kind.KILL_TEMPLATE: 3, Kind.STOP_TEMPLATE: 3, Kind.KILL_ENVIRONMENT: 6, Kind.KILL_SERVER: 0,
}  # fmt: skip
# What a killed process takes along has ended so long after it, at the latest.
SPREAD_S_MAX: Final = 5.0
STREAMING: Final = ("stream", "web")
# A run is over so long after its beginning, at the latest: ended by its timeout, and the end was noted.
RUN_S_MAX: Final = TIMEOUT_S + 5.0
# Records that waited for the disk are written so long after it has room again, at the latest.
HELD_S_MAX: Final = 10.0
# An application's answer may be whole so long before its call has ended, and been metered.
LINGER_S_MAX: Final = 1.0


class Ticket(msgspec.Struct, frozen=True, kw_only=True):
    """An asynchronous invocation once it has ended. `is_listed`: it is among the dead letters."""

    state: str
    attempts: int
    is_listed: bool


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """All that there is of a run once it is over. `billed` is how many invocations the ledger counts."""

    seen: Witness
    runs: Sequence[Run]
    metered: Metered
    tickets: Mapping[str, Ticket]
    billed: int


def broken(evidence: Evidence) -> Iterator[str]:
    """What breaks any of the laws."""
    for law in LAWS:
        yield from law(evidence)


def each_call_is_answered_once_or_its_connection_closes(evidence: Evidence) -> Iterator[str]:
    """And what it is answered is its own answer."""
    for call in evidence.seen.calls:
        if call.end is End.HUNG:
            yield f"no answer, and the connection stays open: {call}"
        if call.wrong:
            yield f"{call.wrong}: {call}"
    ids = Counter(call.invocation for call in evidence.seen.calls if call.invocation)
    yield from (f"{count} answers have the id {one}" for one, count in ids.items() if count > 1)


def only_faults_fail_a_call(evidence: Evidence) -> Iterator[str]:
    """Who is refused, or whose connection closes, was struck by something: no deploy fails a request."""
    for call in evidence.seen.calls:
        failed = call.end is End.ANSWERED and call.status != 200
        if (failed or call.end is End.CLOSED) and not _is_excused(evidence.seen, call):
            yield f"failed, and no fault came meanwhile: {call}"


def _is_excused(seen: Witness, call: Seen) -> bool:
    kinds: tuple[Kind, ...] = DEADLY
    if call.end is End.CLOSED and call.deployment not in STREAMING:
        kinds = (Kind.KILL_SERVER,)
    elif call.status == 404:
        return call.deployment == CHURN and _is_away(seen, call)
    elif call.status == 500 and call.deployment in CALLS:
        pass  # what it called was struck, and its code let that error through
    elif call.end is End.ANSWERED and (call.status == 500 or call.status < 500):
        kinds = ()
    whom = {call.deployment, *CALLS.get(call.deployment, ())}
    return any(
        one.kind in kinds
        and (not one.deployment or one.deployment in whom)
        and one.from_s <= call.over_s
        and call.sent_s <= one.until_s + (RUN_S_MAX if one.kind is Kind.STOP_FOR_GOOD else SPREAD_S_MAX)
        for one in seen.done
    )


def others_do_not_notice(evidence: Evidence) -> Iterator[str]:
    """No more calls fail with a process than it ran just then."""
    failed = Counter(
        call.deployment
        for call in evidence.seen.calls
        if call.end is End.ANSWERED
        and (call.status in (502, 504) or (call.status == 500 and call.deployment in CALLS))
    )
    for deployment, count in failed.items():
        whom = {"", deployment, *CALLS.get(deployment, ())}
        struck = [one.kind for one in evidence.seen.done if one.kind in DEADLY and one.deployment in whom]
        room = sum(WORKERS_STRUCK.get(kind, 1) for kind in struck) * SLOTS.get(deployment, 1)
        if count > room:
            yield f"{count} calls of {deployment} failed, {room} could have run on what was struck: {struck}"


def _is_away(seen: Witness, call: Seen) -> bool:
    """Whether it was removed, and not yet deployed again: a deploy that fails leaves it away."""
    for removed in seen.done:
        if removed.kind is Kind.REPLACE and removed.from_s <= call.over_s:
            back = [
                one.until_s
                for one in seen.done
                if one.kind in (Kind.DEPLOY, Kind.REPLACE)
                and one.deployment == CHURN
                and not one.failed
                and (one is removed or one.from_s > removed.from_s)
            ]
            if not back or call.sent_s <= min(back):
                return True
    return False


def each_call_runs_at_most_once(evidence: Evidence) -> Iterator[str]:
    """One that was answered with a result ran exactly once, to its end; one that was not whole never did."""
    begun = Counter(run.number for run in evidence.runs)
    ended = Counter(run.number for run in evidence.runs if run.end_s is not None)
    if begun[0]:
        yield f"{begun[0]} requests that were not whole were run"
    for number, count in begun.items():
        if count > 1 and number not in evidence.seen.acknowledged:
            yield f"the sync call {number} ran {count} times"
    for call in evidence.seen.calls:
        if call.end is End.ANSWERED and call.status == 200 and ended[call.number] != 1:
            yield f"a result without a run, {ended[call.number]} ended: {call}"


def each_acknowledged_invocation_ends_or_is_a_dead_letter(evidence: Evidence) -> Iterator[str]:
    """At least once: as many runs as tries, at the most."""
    runs = Counter(run.invocation for run in evidence.runs)
    ended = Counter(run.invocation for run in evidence.runs if run.end_s is not None)
    for one in evidence.seen.acknowledged.values():
        ticket = evidence.tickets.get(one.invocation)
        if ticket is None:
            yield f"acknowledged, and lost: {one}"
            continue
        if not _ended_well(ticket, one, is_cancelled=evidence.seen.cancelled.get(one.number)):
            yield f"ended as {ticket}: {one}"
        if (ticket.state == "dead") != ticket.is_listed:
            yield f"dead letters do not agree: {ticket}: {one}"
        if ticket.state == "dead" and ticket.attempts < 2:
            yield f"dead before its last try: {ticket}: {one}"
        if runs[one.invocation] > ticket.attempts:
            yield f"ran {runs[one.invocation]} times: {ticket}: {one}"
        if ticket.state == "succeeded" and not ended[one.invocation]:
            yield f"succeeded and did not run: {one}"


def _ended_well(ticket: Ticket, one: Acknowledged, *, is_cancelled: bool | None) -> bool:
    """`is_cancelled`: whether that was confirmed; None where nobody asked for it, or it came too late."""
    if is_cancelled or (is_cancelled is not None and ticket.state == "cancelled"):
        return ticket.state == "cancelled"
    return ticket.state == "dead" or (ticket.state == "succeeded" and not one.broken)


def an_answer_and_its_record_agree(evidence: Evidence) -> Iterator[str]:
    """Who got an answer that came of a run, whole, is on the bill with it, once."""
    for call in evidence.seen.calls:
        records = evidence.metered.records.get(call.invocation, ())
        told = call.billed_ms is not None or (call.deployment in STREAMING and call.status == 200)
        if call.end is not End.ANSWERED or not call.invocation:
            continue
        if len(records) != int(told) and not _may_be_unmetered(evidence.seen, call, len(records)):
            yield f"{len(records)} records of {call}"
        for record in records:
            if (record.status is Status.OK) != (call.status == 200) or call.billed_ms not in (
                None,
                record.billed_ms,
            ):
                yield f"a record that does not agree, {record}: {call}"


def _may_be_unmetered(seen: Witness, call: Seen, count: int) -> bool:
    if count:
        return False
    if call.deployment == "web" and seen.struck((Kind.KILL_SERVER,), call.sent_s, call.over_s + LINGER_S_MAX):
        return True
    return _was_held(seen, call.over_s)


def each_run_is_metered_unless_the_server_was_killed_under_it(evidence: Evidence) -> Iterator[str]:
    """And nothing is metered that did not run."""
    by_id: dict[str, list[Run]] = {}
    for run in evidence.runs:
        if run.invocation != "-":
            by_id.setdefault(run.invocation, []).append(run)
    for invocation, runs in by_id.items():
        records = evidence.metered.records.get(invocation, ())
        excused = sum(_may_be_lost(evidence.seen, run) for run in runs)
        if len(runs) - len(records) > excused:
            yield f"{len(runs)} runs and {len(records)} records: {runs}"
    for invocation, records in evidence.metered.records.items():
        runs = by_id.get(invocation, [])
        if records[0].deployment in NAMED:
            yield from _too_many(records, runs)


def _too_many(records: Sequence[UsageRecord], runs: Sequence[Run]) -> Iterator[str]:
    good = sum(record.status is Status.OK for record in records)
    if good > sum(run.end_s is not None for run in runs):
        yield f"{good} records of success and these runs: {runs}: {records[0]}"
    if records[0].deployment != "later" and len(records) > 1:
        yield f"a sync call is metered {len(records)} times: {records}"


def _may_be_lost(seen: Witness, run: Run) -> bool:
    until_s = run.begin_s + RUN_S_MAX
    return seen.struck((Kind.KILL_SERVER,), run.begin_s, until_s) or _was_held(seen, run.end_s or until_s)


def _was_held(seen: Witness, at_s: float) -> bool:
    """Whether its record waited in memory for a disk without room when the server was killed."""
    return any(
        full.from_s <= at_s <= full.until_s + HELD_S_MAX
        and seen.struck((Kind.KILL_SERVER,), at_s, full.until_s + HELD_S_MAX)
        for full in seen.done
        if full.kind is Kind.FILL_DISK
    )


def no_more_is_metered_than_was_asked(evidence: Evidence) -> Iterator[str]:
    """Of those whose notes name no invocation, only the number is known."""
    metered = Counter(one[0].deployment for one in evidence.metered.records.values())
    for deployment in ("batch", "web"):
        asked = sum(call.deployment == deployment for call in evidence.seen.calls)
        if metered[deployment] > asked + evidence.seen.counts["gone in the body"]:
            yield f"{metered[deployment]} invocations of {deployment} are metered, {asked} were asked for"
    inner = sum(run.number > INNER for run in evidence.runs)
    if inner > (fronts := sum(0 < run.number < INNER for run in evidence.runs)):
        yield f"{inner} inner calls ran for {fronts} calls"


def the_ledger_counts_each_record_once(evidence: Evidence) -> Iterator[str]:
    """And the journal is whole."""
    if evidence.metered.damaged:
        yield f"{evidence.metered.damaged} stretches of the journal are damaged"
    if evidence.billed != evidence.metered.count:
        yield f"{evidence.billed} invocations are billed, {evidence.metered.count} are in the journal"


def a_deploy_fails_only_where_something_else_does(evidence: Evidence) -> Iterator[str]:
    """A kill, a stop or a full disk; a rollback also where there is nothing to go back to."""
    faults = (*DEADLY, Kind.FILL_DISK, Kind.REPLACE)
    for one in evidence.seen.done:
        if one.kind not in (Kind.DEPLOY, Kind.ROLL_BACK, Kind.REPLACE) or not one.failed:
            continue
        is_away = one.deployment == CHURN and "there is no deployment" in one.failed
        nothing_before = one.kind is Kind.ROLL_BACK and "no revision before" in one.failed
        others = Witness()
        others.done.extend(other for other in evidence.seen.done if other is not one)
        if not nothing_before and not is_away and not others.struck(faults, one.from_s, one.until_s):
            yield f"failed, and no fault came meanwhile: {one}"


LAWS: Final[Sequence[Callable[[Evidence], Iterator[str]]]] = (
    each_call_is_answered_once_or_its_connection_closes,
    only_faults_fail_a_call,
    others_do_not_notice,
    each_call_runs_at_most_once,
    each_acknowledged_invocation_ends_or_is_a_dead_letter,
    an_answer_and_its_record_agree,
    each_run_is_metered_unless_the_server_was_killed_under_it,
    no_more_is_metered_than_was_asked,
    the_ledger_counts_each_record_once,
    a_deploy_fails_only_where_something_else_does,
)
