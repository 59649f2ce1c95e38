"""What an engine's workers do beyond one question and one answer: stream, be cancelled, run side by side."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import msgspec
import pytest

from lambent.core.invocation import JSON, Status
from lambent.engines.base import WorkerGone
from lambent.wire.frames import (
    CREDIT_BYTES,
    Ask,
    Batch,
    Cancel,
    Credit,
    Form,
    Stop,
    Told,
    cost_of,
    read_error,
)
from tests.support.engine_stages import Scenery, Stage, ask, eventually
from tests.support.engine_streams import Hearer, memory_stage, process_stage, side_by_side
from tests.support.patience import PATIENT_S

PIECE = 16 * 1024


@pytest.fixture(params=["memory", "local"])
def stage(request: pytest.FixtureRequest, tmp_path: Path) -> Stage:
    return memory_stage() if request.param == "memory" else process_stage(tmp_path)


def pieces(count: int, size: int = PIECE) -> bytes:
    return msgspec.json.encode({"pieces": count, "size": size})


def numbers(hearer: Hearer) -> list[int]:
    return [int(piece[:8]) for _, piece in hearer.pieces]


def test_a_stream_comes_in_order_and_no_further_than_its_credit(stage: Stage) -> None:
    async def story(scenery: Scenery) -> None:
        worker = await scenery.engine.start(scenery.plan("stream"))
        hearer = Hearer()
        answering = asyncio.ensure_future(worker.call(ask(), pieces(60), hearer))
        await hearer.until(lambda: hearer.untaken >= CREDIT_BYTES)
        await asyncio.sleep(0.05)  # it could send more, if it did not wait
        assert hearer.untaken < CREDIT_BYTES + cost_of(bytes(PIECE))
        assert not answering.done()
        hearer.grant = worker.tell
        taken, hearer.untaken = hearer.untaken, 0
        worker.tell(Credit(1, taken))
        answer, body = await answering
        assert (answer.status, body, hearer.begun) == (Status.OK, b"", 1)
        assert numbers(hearer) == list(range(60))
        assert hearer.most < CREDIT_BYTES + cost_of(bytes(PIECE))

    stage.play(story, load_timeout_s=PATIENT_S)


def test_empty_pieces_take_credit_too(stage: Stage) -> None:
    async def story(scenery: Scenery) -> None:
        worker = await scenery.engine.start(scenery.plan("stream"))
        hearer = Hearer()
        answering = asyncio.ensure_future(worker.call(ask(), pieces(100_000, 8), hearer))
        await hearer.until(lambda: hearer.untaken >= CREDIT_BYTES)
        await asyncio.sleep(0.05)
        assert len(hearer.pieces) < 5000
        worker.tell(Cancel(1))
        assert (await answering)[0].status is Status.CANCELLED

    stage.play(story, load_timeout_s=PATIENT_S)


def test_a_stream_that_nobody_hears_ends_all_the_same(stage: Stage) -> None:
    async def story(scenery: Scenery) -> None:
        worker = await scenery.engine.start(scenery.plan("stream"))
        answer, _ = await worker.call(ask(), pieces(60))
        assert answer.status is Status.OK

    stage.play(story, load_timeout_s=PATIENT_S)


def test_a_stream_of_nothing_begins_and_ends(stage: Stage) -> None:
    async def story(scenery: Scenery) -> None:
        worker = await scenery.engine.start(scenery.plan("silent"))
        hearer = Hearer()
        answer, body = await worker.call(ask(), b"{}", hearer)
        assert (answer.status, body, hearer.begun, hearer.pieces) == (Status.OK, b"", 1, [])

    stage.play(story, load_timeout_s=PATIENT_S)


def test_an_error_in_the_middle_comes_after_what_was_sent_before(stage: Stage) -> None:
    async def story(scenery: Scenery) -> None:
        worker = await scenery.engine.start(scenery.plan("breaks"))
        hearer = Hearer()
        answer, body = await worker.call(ask(), b"{}", hearer)
        assert answer.status is Status.FAILED
        assert read_error(body).error_message == "no more"
        assert hearer.pieces == [(Form.TEXT, b"one"), (Form.JSON, b'{"two":2}')]

    stage.play(story, load_timeout_s=PATIENT_S)


def test_a_call_that_is_cancelled_is_left_cleaned_up_and_answered(stage: Stage) -> None:
    async def story(scenery: Scenery) -> None:
        worker = await scenery.engine.start(scenery.plan("nap"))
        for number in (1, 2):
            answering = asyncio.ensure_future(worker.call(ask(number), b"{}"))
            await eventually(lambda: scenery.heard.text.count("begun") == number)  # noqa: B023 - it is awaited within the turn
            worker.tell(Cancel(number))
            answer, body = await answering
            assert (answer.status, answer.retiring) == (Status.CANCELLED, False)
            assert read_error(body).error_type == "Lambent.Cancelled"
            await eventually(lambda: scenery.heard.text.count("cleaned") == number)  # noqa: B023 - it is awaited within the turn
        worker.tell(Cancel(2))  # too late, and about nobody
        answer, _ = await worker.call(ask(3), b'{"quick":1}')
        assert answer.status is Status.OK

    stage.play(story, load_timeout_s=PATIENT_S)


def test_a_stream_that_waits_for_its_reader_can_be_cancelled(stage: Stage) -> None:
    async def story(scenery: Scenery) -> None:
        worker = await scenery.engine.start(scenery.plan("stream"))
        hearer = Hearer()
        answering = asyncio.ensure_future(worker.call(ask(), pieces(1000), hearer))
        await hearer.until(lambda: hearer.untaken >= CREDIT_BYTES)
        worker.tell(Cancel(1))
        assert (await answering)[0].status is Status.CANCELLED
        await scenery.heard.until("cleaned")
        again = Hearer()
        again.grant = worker.tell
        answer, _ = await worker.call(ask(2), pieces(40), again)
        assert answer.status is Status.OK
        assert numbers(again) == list(range(40))  # what was granted to the first is not the second's

    stage.play(story, load_timeout_s=PATIENT_S)


def test_a_call_that_is_cancelled_before_its_turn_runs_no_user_code(stage: Stage) -> None:
    async def story(scenery: Scenery) -> None:
        worker = await scenery.engine.start(scenery.plan("nap"))
        first = asyncio.ensure_future(worker.call(ask(1), b"{}"))
        second = asyncio.ensure_future(worker.call(ask(2), b"{}"))
        third = asyncio.ensure_future(worker.call(ask(3), b'{"quick":1}'))
        await scenery.heard.until("begun")
        worker.tell(Cancel(2))
        worker.tell(Cancel(1))
        answers = [answer for answer, _ in await asyncio.gather(first, second, third)]
        assert [answer.status for answer in answers] == [Status.CANCELLED, Status.CANCELLED, Status.OK]
        assert scenery.heard.text.count("begun") == 1

    stage.play(story, load_timeout_s=PATIENT_S)


def test_a_call_that_is_cancelled_as_it_is_sent_is_answered(stage: Stage) -> None:
    async def story(scenery: Scenery) -> None:
        for worker in (
            await scenery.engine.start(scenery.plan("nap")),
            await scenery.engine.start(side_by_side(scenery, "side", 2)),
        ):
            answering = asyncio.ensure_future(worker.call(ask(1), b'{"x":1,"s":3600}'))
            worker.tell(Cancel(1))  # in the same packet
            assert (await answering)[0].status is Status.CANCELLED

    stage.play(story, load_timeout_s=PATIENT_S)


def test_each_call_of_a_batch_has_an_answer_of_its_own(stage: Stage) -> None:
    async def story(scenery: Scenery) -> None:
        worker = await scenery.engine.start(scenery.plan("pick"))
        bodies = [b'{"x":1}', b'{"x":"bad"}', b'{"x":3}']
        batch = Batch(1, tuple(ask(1) for _ in bodies), tuple(map(len, bodies)))
        answer, body = await worker.call(batch, b"".join(bodies))
        assert answer.status is Status.OK
        assert [one.status for one in answer.each] == [Status.OK, Status.FAILED, Status.OK]
        assert sum(one.size_bytes for one in answer.each) == len(body)
        sizes = [one.size_bytes for one in answer.each]
        assert body[: sizes[0]] == b'{"x":1}'
        assert read_error(body[sizes[0] : sizes[0] + sizes[1]]).error_message == "bad"
        assert body[sizes[0] + sizes[1] :] == b'{"x":3}'

    stage.play(story, load_timeout_s=PATIENT_S)


def test_as_many_calls_run_at_once_as_a_worker_has_slots_and_the_next_one_waits(stage: Stage) -> None:
    async def story(scenery: Scenery) -> None:
        worker = await scenery.engine.start(side_by_side(scenery, "side", 3))
        calls = [
            asyncio.ensure_future(worker.call(ask(number), b'{"x":%d,"s":3600}' % number))
            for number in (1, 2, 3)
        ]
        calls.append(asyncio.ensure_future(worker.call(ask(4), b'{"x":4,"s":0}')))
        await eventually(lambda: scenery.heard.text.count("begun") == 3)
        assert "begun 4" not in scenery.heard.text
        worker.tell(Cancel(2))
        answers = [(await call)[0] for call in (calls[1], calls[3])]
        assert [answer.status for answer in answers] == [Status.CANCELLED, Status.OK]
        assert "cleaned 2" in scenery.heard.text
        assert not calls[0].done()
        assert not calls[2].done()
        worker.kill()
        ends = await asyncio.gather(*calls[::2], return_exceptions=True)
        assert all(isinstance(end, WorkerGone) for end in ends)

    stage.play(story, load_timeout_s=PATIENT_S)


def test_a_worker_that_is_told_to_stop_finishes_all_that_it_was_sent(stage: Stage) -> None:
    async def story(scenery: Scenery) -> None:
        worker = await scenery.engine.start(side_by_side(scenery, "side", 2))
        calls = [
            asyncio.ensure_future(worker.call(ask(number), b'{"x":%d,"s":0.1}' % number))
            for number in (1, 2, 3, 4)
        ]
        await scenery.heard.until("begun")
        worker.tell(Stop())
        assert [answer.status for answer, _ in await asyncio.gather(*calls)] == [Status.OK] * 4
        assert (await worker.exited()).code == 0

    stage.play(story, load_timeout_s=PATIENT_S)


def test_on_sigterm_a_worker_finishes_all_that_it_was_sent(tmp_path: Path) -> None:
    async def story(scenery: Scenery) -> None:
        worker = await scenery.engine.start(side_by_side(scenery, "side", 2))
        calls = [
            asyncio.ensure_future(worker.call(ask(number), b'{"x":%d,"s":0.1}' % number))
            for number in (1, 2, 3)
        ]
        await eventually(lambda: scenery.heard.text.count("begun") == 2)
        (pid,) = (facts.pid for facts in scenery.engine.census() if facts.role == "worker")
        os.kill(pid, signal.SIGTERM)
        assert [answer.status for answer, _ in await asyncio.gather(*calls)] == [Status.OK] * 3
        assert (await worker.exited()).code == 0

    process_stage(tmp_path).play(story, load_timeout_s=PATIENT_S)


def wanted(*names: str) -> bytes:
    return msgspec.json.encode({"asks": [[name, {"n": number}] for number, name in enumerate(names)]})


def told(ask: Ask, status: Status = Status.OK) -> Told:
    return Told(ask.call_id, ask.ask_id, status, JSON)


def test_a_call_asks_for_others_and_is_told_in_any_order(stage: Stage) -> None:
    async def story(scenery: Scenery) -> None:
        worker = await scenery.engine.start(scenery.plan("asks"))
        hearer = Hearer()
        answering = asyncio.ensure_future(worker.call(ask(), wanted("a", "b", "c"), hearer))
        await hearer.until(lambda: len(hearer.asks) == 3)
        assert [(one.deployment, body) for one, body in hearer.asks] == [
            ("a", b'{"n":0}'),
            ("b", b'{"n":1}'),
            ("c", b'{"n":2}'),
        ]
        for one, _ in reversed(hearer.asks):
            worker.tell(told(one), b'"%d"' % one.ask_id)
        answer, body = await answering
        first = hearer.asks[0][0].ask_id
        assert answer.status is Status.OK
        assert msgspec.json.decode(body) == [str(first + number) for number in range(3)]

    stage.play(story, load_timeout_s=PATIENT_S)


def test_what_was_asked_for_and_failed_is_an_error_of_the_call(stage: Stage) -> None:
    async def story(scenery: Scenery) -> None:
        worker = await scenery.engine.start(scenery.plan("asks"))
        hearer = Hearer()
        answering = asyncio.ensure_future(worker.call(ask(), wanted("a"), hearer))
        await hearer.until(lambda: bool(hearer.asks))
        worker.tell(told(hearer.asks[0][0], Status.FAILED), b'{"errorMessage":"no","errorType":"Bad"}')
        answer, body = await answering
        assert answer.status is Status.FAILED
        error = read_error(body)
        assert (error.error_type, error.error_message) == ("CallFailed", "a: Bad: no")

    stage.play(story, load_timeout_s=PATIENT_S)


def test_a_call_that_waits_for_another_can_be_cancelled_and_is_told_nothing_more(stage: Stage) -> None:
    async def story(scenery: Scenery) -> None:
        worker = await scenery.engine.start(scenery.plan("asks"))
        hearer = Hearer()
        answering = asyncio.ensure_future(worker.call(ask(1), wanted("a"), hearer))
        await hearer.until(lambda: bool(hearer.asks))
        worker.tell(Cancel(1))
        assert (await answering)[0].status is Status.CANCELLED
        await scenery.heard.until("cleaned")
        worker.tell(told(hearer.asks[0][0]), b'"too late"')
        again = Hearer()
        answering = asyncio.ensure_future(worker.call(ask(2), wanted("a"), again))
        await again.until(lambda: bool(again.asks))
        worker.tell(told(again.asks[0][0]), b'"in time"')
        assert (await answering)[1] == b'["in time"]'

    stage.play(story, load_timeout_s=PATIENT_S)


def test_where_nobody_hears_a_call_it_is_told_that_it_may_not_ask(stage: Stage) -> None:
    async def story(scenery: Scenery) -> None:
        worker = await scenery.engine.start(scenery.plan("asks"))
        answer, body = await worker.call(ask(), wanted("a"))
        assert answer.status is Status.FAILED
        assert "may call others" in read_error(body).error_message

    stage.play(story, load_timeout_s=PATIENT_S)


def test_calls_of_a_batch_ask_one_after_another(stage: Stage) -> None:
    async def story(scenery: Scenery) -> None:
        worker = await scenery.engine.start(scenery.plan("asks"))
        hearer = Hearer()
        bodies = [wanted("a"), wanted("b")]
        batch = Batch(1, tuple(ask(1) for _ in bodies), tuple(map(len, bodies)))
        answering = asyncio.ensure_future(worker.call(batch, b"".join(bodies), hearer))
        for number in range(2):
            await hearer.until(lambda number=number: len(hearer.asks) > number)  # type: ignore[misc]  # of this turn
            worker.tell(told(hearer.asks[number][0]), b"%d" % number)
        answer, body = await answering
        assert [one.status for one in answer.each] == [Status.OK, Status.OK]
        assert body == b"[0][1]"

    stage.play(story, load_timeout_s=PATIENT_S)
