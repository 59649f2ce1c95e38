"""Messages to webhooks: signed, sent to where they may go, tried again, given up."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TypeVar

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from lambent.clock import SystemClock
from lambent.core.deferral import Reach
from lambent.core.errors import InvalidSpec, QueueFull
from lambent.core.signing import secret_of, signed_headers
from lambent.core.urls import checked_url, is_public
from lambent.jobs.posting import Answer, post
from lambent.jobs.webhooks import TO_ONE_MAX, Webhooks
from lambent.storage.groups import Disk
from lambent.storage.sql import SqlStore
from lambent.storage.tickets import Change, Delivery, DeliveryState, Ticket, TicketState
from tests.support.receiver import Receiver
from tests.support.virtual_time import VirtualClock, run
from tests.unit.jobs.durable import PROJECT, here

T = TypeVar("T")
MASTER = b"m" * 32
SECRET = secret_of(MASTER, PROJECT, 0)


def delivery(number: int = 1, url: str = "http://x/") -> Delivery:
    now_unix_ms = VirtualClock().unix_ms()
    return Delivery(
        id=f"msg_{number}", project=PROJECT, deployment="f", ticket="t", url=url, reach=Reach.ANY, body=b"{}",
        state=DeliveryState.WAITING, due_unix_ms=now_unix_ms, created_unix_ms=now_unix_ms,
    )  # fmt: skip


class Poster:
    """Stands in for the network: gives answers in turn, the last one for ever."""

    def __init__(self, *answers: Answer, takes_s: float = 0.0) -> None:
        self.answers = [*answers]
        self.takes_s = takes_s
        self.sent_s: list[tuple[str, float]] = []
        self.signatures: list[dict[str, str]] = []

    async def __call__(
        self, url: str, body: bytes, headers: Sequence[tuple[str, str]], *, reach: Reach
    ) -> Answer:
        self.sent_s.append((url, VirtualClock().now_s()))
        self.signatures.append(dict(headers))
        if "slow" in url:
            await asyncio.sleep(self.takes_s)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@contextlib.asynccontextmanager
async def delivering(store: SqlStore, poster: Poster, disk: Disk = here) -> AsyncIterator[Webhooks]:
    async with asyncio.TaskGroup() as tasks:
        webhooks = Webhooks(
            store.deliveries, store.rotations, VirtualClock(), tasks, master=MASTER, poster=poster, disk=disk
        )
        await webhooks.restore()
        loop = tasks.create_task(webhooks.run())
        try:
            yield webhooks
        finally:
            loop.cancel()


def state(store: SqlStore, number: int = 1) -> Delivery:
    return next(one for one in store.deliveries.all(PROJECT, limit=1000) if one.id == f"msg_{number}")


OK, BUSY = Answer(status=204), Answer(status=503)


def test_a_message_is_sent_until_it_is_taken_under_one_id(store: SqlStore) -> None:
    async def story() -> None:
        store.deliveries.put(delivery())
        poster = Poster(BUSY, Answer(status=0, error="refused"), Answer(status=302), OK)
        async with delivering(store, poster):
            await asyncio.sleep(600)
        assert {sent["webhook-id"] for sent in poster.signatures} == {"msg_1"}
        assert (state(store).state, state(store).attempts, state(store).error) == (
            DeliveryState.DELIVERED, 4, "",
        )  # fmt: skip

    run(story())


def test_what_arrives_while_the_store_is_read_is_not_sent_again_nor_counted_twice(store: SqlStore) -> None:
    async def late(work: Callable[[], T], /) -> T:
        read = work()
        if isinstance(read, list):  # what is due takes longer to come back than to change
            await asyncio.sleep(1)
        return read

    async def story() -> None:
        poster = Poster(OK)
        async with delivering(store, poster, late) as webhooks:
            for number in range(1, 6):
                store.deliveries.put(delivery(number))
                webhooks.enter()
                await asyncio.sleep(0.7)
            await asyncio.sleep(100)
        assert len(poster.sent_s) == 5
        assert store.deliveries.waiting() == 0

    run(story())


def test_what_is_never_taken_is_given_up_after_days_with_its_cause(store: SqlStore) -> None:
    async def story() -> None:
        store.deliveries.put(delivery())
        poster = Poster(BUSY)
        async with delivering(store, poster):
            await asyncio.sleep(4 * 86_400)
        assert state(store).state is DeliveryState.FAILED
        assert "it answered 503" in state(store).error
        assert 5 < state(store).attempts <= 16

    run(story())


def test_a_receiver_that_is_gone_is_left_alone(store: SqlStore) -> None:
    async def story() -> None:
        store.deliveries.put(delivery())
        async with delivering(store, Poster(Answer(status=410))):
            await asyncio.sleep(60)
        assert (state(store).state, state(store).attempts) == (DeliveryState.FAILED, 1)

    run(story())


def test_a_receiver_that_names_a_time_is_not_asked_before_it(store: SqlStore) -> None:
    async def story() -> None:
        store.deliveries.put(delivery())
        poster = Poster(Answer(status=429, retry_after_s=300), OK)
        async with delivering(store, poster):
            await asyncio.sleep(400)
        assert poster.sent_s[1][1] >= 300

    run(story())


def test_a_slow_receiver_holds_no_other_up(store: SqlStore) -> None:
    async def story() -> None:
        for number in range(200):
            store.deliveries.put(delivery(number, "http://slow/"))
        store.deliveries.put(delivery(999, "http://quick/"))
        poster = Poster(OK, takes_s=20)
        async with delivering(store, poster):
            await asyncio.sleep(1)
            assert [url for url, _ in poster.sent_s].count("http://slow/") == TO_ONE_MAX
            assert state(store, 999).state is DeliveryState.DELIVERED
            for number in range(10, 200):  # enough for today
                await here(
                    lambda n=number: store.deliveries.put(  # type: ignore[misc]  # the number of this turn
                        Delivery(
                            **{
                                f: getattr(delivery(n), f) for f in Delivery.__struct_fields__ if f != "state"
                            },
                            state=DeliveryState.FAILED,
                        )
                    )
                )

    run(story())


def test_too_many_waiting_messages_stop_what_would_make_more(
    store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lambent.jobs.webhooks.WAITING_MAX", 2)

    async def story() -> None:
        poster = Poster(BUSY)
        store.deliveries.put(delivery(1))
        async with delivering(store, poster) as webhooks:
            webhooks.admit()
            await here(lambda: store.deliveries.put(delivery(2)))
            webhooks.enter()
            with pytest.raises(QueueFull, match="lambent webhooks ls"):
                webhooks.admit()
            poster.answers = [OK]
            await asyncio.sleep(3600)
            webhooks.admit()

    run(story())


def test_after_a_rotation_both_secrets_sign_for_a_while(store: SqlStore) -> None:
    async def story() -> None:
        poster = Poster(OK)
        async with delivering(store, poster) as webhooks:
            assert (await webhooks.secrets(PROJECT)).current == SECRET
            rotated = await webhooks.rotate(PROJECT, overlap_s=100)
            assert (rotated.previous, rotated.current != SECRET) == (SECRET, True)
            store.deliveries.put(delivery(1))
            webhooks.enter()
            await asyncio.sleep(200)
            store.deliveries.put(delivery(2))
            webhooks.enter()
            await asyncio.sleep(1)
            assert (await webhooks.secrets("other")).current != rotated.current
        both, one = (sent["webhook-signature"].split(" ") for sent in poster.signatures)
        assert (len(both), len(one)) == (2, 1)

    run(story())


def test_the_library_of_standard_webhooks_accepts_our_signatures_and_no_others() -> None:
    body = b'{"type": "invocation.succeeded"}'
    now_s = SystemClock().unix_ms() // 1000
    other = secret_of(MASTER, "other", 0)
    headers = dict(signed_headers([other, SECRET], "msg_1", body, unix_s=now_s))
    assert Webhook(SECRET).verify(body, headers) == json.loads(body)
    assert Webhook(other).verify(body, headers) == json.loads(body)
    for wrong in ({**headers, "webhook-id": "msg_2"}, {**headers, "webhook-timestamp": str(now_s - 3600)}):
        with pytest.raises(WebhookVerificationError):
            Webhook(SECRET).verify(body, wrong)
    with pytest.raises(WebhookVerificationError):
        Webhook(secret_of(b"another server's" * 2, PROJECT, 0)).verify(body, headers)


def test_a_post_arrives_as_it_was_sent_and_a_redirect_is_not_followed() -> None:
    async def story(url: str) -> list[Answer]:
        return [await post(url, b"{}", [("webhook-id", "msg_1")], reach=Reach.ANY) for _ in range(2)]

    with Receiver(302, 204) as receiver:
        answers = asyncio.run(story(receiver.url))
    assert [answer.status for answer in answers] == [302, 204]
    assert len(receiver.arrived) == 2
    [first, _] = receiver.arrived
    assert (first.body, first.headers["webhook-id"], first.headers["content-type"]) == (
        b"{}", "msg_1", "application/json",
    )  # fmt: skip


def test_who_may_only_invoke_reaches_no_private_address() -> None:
    async def story(url: str) -> Answer:
        return await post(url, b"{}", [], reach=Reach.PUBLIC)

    with Receiver() as receiver:
        for url in (receiver.url, receiver.url.replace("127.0.0.1", "localhost")):
            answer = asyncio.run(story(url))
            assert (answer.status, "not a public address" in answer.error) == (0, True)
    assert receiver.arrived == []


def test_what_does_not_speak_http_is_an_error_and_no_crash() -> None:
    async def story() -> list[Answer]:
        def answering(said: bytes) -> Callable[..., Awaitable[None]]:
            async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                await reader.readuntil(b"{}")
                writer.write(said)
                with contextlib.suppress(OSError):
                    await writer.drain()
                writer.close()

            return serve

        answers = []
        for said in (
            b"",
            b"SSH-2.0\r\n",
            b"HTTP/1.1 200 OK\r\nx: " + b"a" * 100_000,
            b"HTTP/1.1 100 Continue\r\n\r\n",
        ):
            server = await asyncio.start_server(answering(said), "127.0.0.1", 0)
            port = server.sockets[0].getsockname()[1]
            answers.append(await post(f"http://127.0.0.1:{port}/", b"{}", [], reach=Reach.ANY))
            server.close()
        answers.append(await post(f"http://127.0.0.1:{port}/", b"{}", [], reach=Reach.ANY))
        return answers

    answers = asyncio.run(story())
    assert [answer.status for answer in answers] == [0] * 5
    assert all(answer.error for answer in answers)


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True), ("2606:4700::1111", True), ("127.0.0.1", False), ("10.1.2.3", False),
        ("169.254.169.254", False), ("0.0.0.0", False), ("::1", False), ("fe80::1%eth0", False),
        ("fd00::1", False), ("::ffff:127.0.0.1", False), ("64:ff9b::7f00:1", False), ("224.0.0.1", False),
        ("100.64.0.1", False), ("2002:7f00:1::", False),
    ],
)  # fmt: skip
def test_an_address_is_public_or_not(address: str, public: bool) -> None:  # noqa: FBT001  # the table's column
    assert is_public(address) is public


@pytest.mark.parametrize(
    "url",
    [
        "", "x", "ftp://x/", "http://", "http:///path", "http://a:b@x/", "http://x:99999/", "http://x/ y",
        "http://x/\r\nhost: y", "http://é/", "http://x/" + "a" * 3000, "file:///etc/passwd",
    ],
)  # fmt: skip
def test_what_is_no_url_of_a_webhook_is_refused(url: str) -> None:
    with pytest.raises(InvalidSpec, match="webhook"):
        checked_url(url)


def test_a_message_without_its_end_does_not_exist(store: SqlStore) -> None:
    async def story() -> None:
        ticket = Ticket(
            id="t", project=PROJECT, deployment="f", body=b"", content_type="", state=TicketState.CANCELLED,
            created_unix_ms=0,
        )  # fmt: skip
        store.tickets.change([Change(ticket=ticket, expects=None)])
        late = Change(ticket=ticket, expects=TicketState.RUNNING, delivery=delivery())
        assert store.tickets.change([late]) == [False]
        assert store.deliveries.waiting() == 0

    run(story())
