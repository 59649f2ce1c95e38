"""Real workers whose calls ask for others: what they send, and what they make of what they are told."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import msgspec
import pytest

from lambent.core.composing import ASKS_MAX
from lambent.core.invocation import JSON, OCTETS, FunctionError, Status
from lambent.core.tracing import Trace
from lambent.wire.frames import Answer, Ask, Batch, Call, Cancel, Drop, Told, encode
from tests.support.templates import Environment, Worker
from tests.support.user_code import Serve

ID = "9f7c2a10-1b2c-4d3e-a456-0123456789ab"
SERIAL = """
    import concurrent.futures, os, threading
    import lambent
    kept = []
    def handler(event, context):
        return eval(event["do"], {**globals(), "event": event})
    def several(count, **how):
        made = [lambent.call("other", {"n": n}, **how) for n in range(count)]
        return [one.result() for one in made]
    def caught():
        try:
            return lambent.call("other").result()
        except lambent.CallFailed as error:
            return [error.deployment, error.kind, str(error)]
    def cleans():
        try:
            return lambent.call("other").result()
        finally:
            print("cleaned", flush=True)
    def leaves(raised):
        kept.append(lambent.call("other"))
        raise raised
    def late():
        try:
            return kept[0].result()
        except BaseException as error:
            return [type(error).__name__, str(error)]
    def in_thread():
        with concurrent.futures.ThreadPoolExecutor() as pool:
            try:
                return pool.submit(lambda: lambent.call("other").result()).result()
            except RuntimeError as error:
                return str(error)
    def in_its_context():
        import contextvars
        context = contextvars.copy_context()
        with concurrent.futures.ThreadPoolExecutor() as pool:
            try:
                return pool.submit(context.run, lambda: lambent.call("other").result()).result()
            except RuntimeError as error:
                return str(error)
"""
ASYNC = """
    import asyncio, concurrent.futures, os
    import lambent
    kept = []
    async def handler(event, context):
        result = eval(event["do"], {**globals(), "event": event})
        return await result if asyncio.iscoroutine(result) else result
    async def several(count, **how):
        return await asyncio.gather(*(lambent.call("other", {"n": n}, **how) for n in range(count)))
    async def caught():
        try:
            return await lambent.call("other")
        except lambent.CallFailed as error:
            return [error.deployment, error.kind, str(error)]
    async def cleans():
        try:
            return await lambent.call("other")
        finally:
            print("cleaned", flush=True)
    async def leaves(raised):
        kept.append(lambent.call("other"))
        await asyncio.sleep(0)
        raise raised
    async def late():
        try:
            return await kept[0]
        except BaseException as error:
            return [type(error).__name__, str(error)]
    async def in_its_context():
        return await asyncio.to_thread(lambda: lambent.call("other").result())
    async def impatient():
        try:
            return await asyncio.wait_for(lambent.call("other"), 0.01)
        except asyncio.TimeoutError:
            return "gave up"
"""
KINDS = {
    "serial": (SERIAL, {}),
    "async": (ASYNC, {"concurrency": 4}),
    "threads": (SERIAL, {"concurrency": 4, "threaded": True}),
}


class Talk:
    """Sends calls that do something, and answers what they ask for."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.number = 0

    def do(self, what: str, **changes: object) -> int:
        self.number += 1
        call = msgspec.structs.replace(Call(self.number, ID, 60_000.0), **changes)
        self.worker.write(encode(call, msgspec.json.encode({"do": what})))
        return self.number

    def asked(self) -> tuple[Ask, bytes]:
        header, body = self.worker.frame()
        assert isinstance(header, Ask), (header, body)
        return header, body

    def tell(self, ask: Ask, value: object) -> None:
        self.worker.write(encode(Told(ask.call_id, ask.ask_id, Status.OK, JSON), msgspec.json.encode(value)))

    def fail(self, ask: Ask, kind: str, message: str) -> None:
        body = msgspec.json.encode(FunctionError(message, kind))
        self.worker.write(encode(Told(ask.call_id, ask.ask_id, Status.FAILED, JSON), body))

    def ended(self) -> tuple[Status, object]:
        header, body = self.worker.frame()
        assert isinstance(header, Answer), (header, body)
        return header.status, msgspec.json.decode(body)


@pytest.fixture(params=list(KINDS))
def talk(request: pytest.FixtureRequest, serve: Serve) -> Talk:
    code, settings = KINDS[request.param]
    return Talk(serve(code, **settings))


@pytest.fixture
def start(serve: Serve) -> Callable[[str], Talk]:
    return lambda kind: Talk(serve(KINDS[kind][0], **KINDS[kind][1]))


def test_several_at_once_are_each_told_their_own_in_whatever_order_they_end(talk: Talk) -> None:
    talk.do("several(5)")
    asks = [talk.asked() for _ in range(5)]
    assert sorted(body for _, body in asks) == [b'{"n":%d}' % n for n in range(5)]
    for ask, body in reversed(asks):
        talk.tell(ask, msgspec.json.decode(body)["n"] * 10)
    assert talk.ended() == (Status.OK, [0, 10, 20, 30, 40])


def test_what_was_said_with_the_call_goes_along(talk: Talk) -> None:
    talk.do("several(1, alias='beta', timeout_s=1.5)")
    ask, _ = talk.asked()
    assert (ask.deployment, ask.alias, ask.timeout_ms) == ("other", "beta", 1500.0)
    talk.tell(ask, None)
    assert talk.ended() == (Status.OK, [None])


@pytest.mark.parametrize("timeout_s", ["0", "-1", "float('nan')", "float('inf')"])
def test_a_timeout_that_is_none_is_refused(talk: Talk, timeout_s: str) -> None:
    talk.do(f"several(1, timeout_s={timeout_s})")
    status, error = talk.ended()
    assert status is Status.FAILED
    assert "timeout_s=" in str(error)


@pytest.mark.parametrize("said", ["5", "None", "b'other'", "'other', alias=5"])
def test_a_name_that_is_no_text_is_refused_and_the_worker_lives(talk: Talk, said: str) -> None:
    talk.do(f"lambent.call({said})")
    status, error = talk.ended()
    assert status is Status.FAILED
    assert "named by text" in str(error)
    talk.do("1")
    assert talk.ended() == (Status.OK, 1)


def test_bytes_come_back_as_bytes_and_of_any_size(talk: Talk) -> None:
    big = b"\xff" * 20_000_000
    talk.do("caught()")
    ask, _ = talk.asked()
    talk.worker.write(encode(Told(ask.call_id, ask.ask_id, Status.OK, OCTETS), big))
    header, body = talk.worker.frame()
    assert isinstance(header, Answer)
    assert (header.content_type, body) == (OCTETS, big)


def test_what_failed_is_raised_with_its_kind(talk: Talk) -> None:
    talk.do("caught()")
    talk.fail(talk.asked()[0], "ValueError", "no such digit")
    assert talk.ended() == (Status.OK, ["other", "ValueError", "other: ValueError: no such digit"])


def test_an_error_that_cannot_be_read_is_raised_all_the_same(talk: Talk) -> None:
    talk.do("caught()")
    ask, _ = talk.asked()
    talk.worker.write(encode(Told(ask.call_id, ask.ask_id, Status.EXITED, JSON), b"\xff"))
    status, said = talk.ended()
    assert status is Status.OK
    assert isinstance(said, list)
    assert said[:2] == ["other", "Runtime.Unknown"]


def test_a_call_that_is_cancelled_while_it_waits_ends_at_once_and_cleans_up(talk: Talk) -> None:
    number = talk.do("cleans()")
    talk.asked()
    talk.worker.write(encode(Cancel(number)))
    header, _ = talk.worker.frame()
    if isinstance(header, Drop):
        header, _ = talk.worker.frame()
    assert isinstance(header, Answer)
    assert header.status is Status.CANCELLED
    assert "cleaned" in talk.worker.log.text()
    talk.do("several(1)")
    talk.tell(talk.asked()[0], "fine")
    assert talk.ended() == (Status.OK, ["fine"])


@pytest.mark.parametrize("raised", ["ValueError('x')", "KeyboardInterrupt()", "GeneratorExit()"])
def test_what_was_asked_by_a_call_that_is_over_concerns_nobody(talk: Talk, raised: str) -> None:
    talk.do(f"leaves({raised})")
    left, _ = talk.asked()
    assert talk.ended()[0] is Status.FAILED
    talk.tell(left, "too late")
    number = talk.do("several(1)")
    ask, _ = talk.asked()
    talk.tell(left, "much too late")
    assert ask.call_id == number
    talk.tell(ask, "mine")
    assert talk.ended() == (Status.OK, ["mine"])
    talk.do("late()")
    status, said = talk.ended()
    assert status is Status.OK
    assert isinstance(said, list)
    assert said[0] in ("RuntimeError", "CancelledError", "Cancelled")


def test_a_crowd_is_sent_as_far_as_the_server_takes_it_and_the_rest_as_others_end(talk: Talk) -> None:
    talk.do(f"several({ASKS_MAX + 50})")
    first = [talk.asked() for _ in range(ASKS_MAX)]
    with pytest.raises(TimeoutError):
        talk.worker.frame(wait_s=0.2)
    waiting = list(first)
    seen = ASKS_MAX
    while waiting:
        ask, body = waiting.pop(0)
        talk.tell(ask, msgspec.json.decode(body)["n"])
        if seen < ASKS_MAX + 50:
            waiting.append(talk.asked())
            seen += 1
    assert talk.ended() == (Status.OK, list(range(ASKS_MAX + 50)))


def test_a_thread_that_has_the_context_of_its_call_may_ask(start: Callable[[str], Talk]) -> None:
    for kind in ("async", "threads"):
        talk = start(kind)
        talk.do("in_its_context()")
        talk.tell(talk.asked()[0], "from a thread")
        assert talk.ended() == (Status.OK, "from a thread")


def test_a_thread_that_may_not_ask_is_told_how_to(start: Callable[[str], Talk]) -> None:
    talk = start("serial")
    talk.do("in_thread()")
    assert "copy_context" in str(talk.ended()[1])
    talk.do("in_its_context()")
    assert "make several calls first" in str(talk.ended()[1])


def test_result_in_async_code_says_to_await(start: Callable[[str], Talk]) -> None:
    talk = start("async")
    talk.do("lambent.call('other').result()")
    talk.asked()
    status, error = talk.ended()
    assert status is Status.FAILED
    assert "await lambent.call" in str(error)


def test_an_answer_that_user_code_stops_waiting_for_is_given_up(start: Callable[[str], Talk]) -> None:
    talk = start("async")
    talk.do("impatient()")
    ask, _ = talk.asked()
    header, _ = talk.worker.frame()
    assert header == Drop(ask.call_id, ask.ask_id)
    assert talk.ended() == (Status.OK, "gave up")
    talk.fail(ask, "Lambent.Cancelled", "")  # and it is told all the same
    talk.do("several(1)")
    talk.tell(talk.asked()[0], 1)
    assert talk.ended() == (Status.OK, [1])


def test_each_call_of_a_batch_may_ask(start: Callable[[str], Talk]) -> None:
    talk = start("serial")
    bodies = [msgspec.json.encode({"do": do}) for do in ("several(2)", "caught()", "1 + 1")]
    batch = Batch(1, tuple(Call(1, ID, 1000.0) for _ in bodies), tuple(map(len, bodies)))
    talk.worker.write(encode(batch, b"".join(bodies)))
    asks = [talk.asked()[0] for _ in range(2)]
    for ask in asks:
        talk.tell(ask, ask.ask_id)
    talk.fail(talk.asked()[0], "ValueError", "x")
    header, body = talk.worker.frame()
    assert isinstance(header, Answer)
    assert [one.status for one in header.each] == [Status.OK] * 3
    assert body == b'[1,2]["other","ValueError","other: ValueError: x"]2'


def test_a_worker_that_is_asked_to_end_still_hears_what_its_call_waits_for(
    talk: Talk, environment: Environment
) -> None:
    talk.do("several(1)")
    ask, _ = talk.asked()
    os.kill(talk.worker.pid, signal.SIGTERM)
    talk.tell(ask, "in time")
    header, body = talk.worker.frame()
    assert isinstance(header, Answer)
    assert (header.status, header.retiring, body) == (Status.OK, True, b'["in time"]')
    assert os.waitstatus_to_exitcode(environment.exit_of(talk.worker).status) == 0


def test_user_code_reads_its_trace(talk: Talk) -> None:
    read = "[lambent.trace().trace_id, lambent.trace().span_id, lambent.trace().parent_id]"
    talk.do(read)
    assert talk.ended() == (Status.OK, ["9f7c2a101b2c4d3ea4560123456789ab", "a4560123456789ab", ""])
    trace = Trace("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", "00", "a=1")
    talk.do(read, trace=trace)
    assert talk.ended() == (Status.OK, [trace.trace_id, "a4560123456789ab", trace.parent_id])
    talk.do("[lambent.trace().headers, lambent.trace().is_sampled]", trace=trace)
    headers = {"traceparent": f"00-{trace.trace_id}-a4560123456789ab-00", "tracestate": "a=1"}
    assert talk.ended() == (Status.OK, [headers, False])


def test_the_environment_says_x_rays_header_for_as_long_as_its_call_runs(
    start: Callable[[str], Talk],
) -> None:
    talk = start("serial")
    read = "os.environ.get('_X_AMZN_TRACE_ID')"
    xray = "Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=1"
    for trace, seen in ((None, None), (Trace("1" * 32, "2" * 16, xray=xray), xray), (None, None)):
        talk.do(read, trace=trace)
        assert talk.ended() == (Status.OK, seen)
