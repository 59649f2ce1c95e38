"""A client that speaks ASGI to the gateway, and the gateway it speaks to: real but for what runs the code."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from lambent.core.deferral import Terms
from lambent.core.errors import Conflict, NotFound, QueueFull
from lambent.core.invocation import Invocation, Outcome, Role, Status, Timing
from lambent.core.spec import DeploymentSpec, Kind, Temperature
from lambent.gateway.acceptance import Acceptance
from lambent.gateway.app import Gateway
from lambent.gateway.auth import Keys
from lambent.gateway.bodies import Bodies
from lambent.gateway.flow import Streams
from lambent.gateway.pages import Pages
from lambent.gateway.presence import Presence
from lambent.gateway.protocols import Behind
from lambent.gateway.protocols import Invoker as Invokes
from lambent.gateway.protocols.apps import AppsDoor
from lambent.gateway.protocols.aws.door import AwsDoor
from lambent.gateway.protocols.aws.downloads import Downloads
from lambent.gateway.protocols.aws.invoke import Invoke
from lambent.gateway.protocols.aws.sender import Senders
from lambent.gateway.protocols.aws.services import LAMBDA_PATH, RestService
from lambent.gateway.protocols.aws.streaming import InvokeStreaming
from lambent.gateway.protocols.aws.urls import UrlDoor
from lambent.gateway.protocols.native import NativeDoor
from lambent.gateway.readiness import Readiness
from lambent.gateway.requests import PRESENCE, Message, Receive, Scope, Send
from lambent.gateway.reserved import Reserved
from lambent.pool.function_urls import FunctionUrls
from lambent.pool.reservations import Reservations
from lambent.pool.routes import Route, Routes
from lambent.storage.artifacts import FileArtifacts
from lambent.storage.sql import SqlStore
from lambent.storage.tickets import Ticket, TicketState
from lambent.wire.keys import KeyReply
from lambent.wire.process import RevisionPlan, Runtime
from tests.support.virtual_time import ManualClock

PROJECT = "default"
BODY_BYTES_MAX = 1000
BODIES_BYTES_MAX = 20 * 1024 * 1024


class Response(msgspec.Struct):
    """What came back. Names of headers are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return msgspec.json.decode(self.body)


def outcome(body: bytes = b'"done"', **changes: Any) -> Outcome:
    """An outcome as the dispatcher gives it."""
    plain = Outcome(
        status=Status.OK,
        body=body,
        content_type="application/json",
        revision="rev1",
        temperature=Temperature.HOT,
        timing=Timing(queue_ms=0.25, run_ms=1.5, total_ms=2.0),
        billed_ms=2,
        memory_bytes=128 * 1024 * 1024,
        memory_used_bytes=30 * 1024 * 1024,
    )
    return msgspec.structs.replace(plain, **changes)


class Invoker:
    """Answers with what the test says, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Invocation] = []
        self.watched = 0
        self.called = asyncio.Event()
        self.full: Exception | None = None
        self.behind: Invokes | None = None  # who runs it in place of the test, and may stream
        self.next: Callable[[Invocation], Awaitable[Outcome]] | Outcome | Exception = outcome()

    async def invoke(
        self, invocation: Invocation, *, client: Presence | None = None, streams: Streams | None = None
    ) -> Outcome:
        self.asked.append(invocation)
        self.watched += client is not None
        self.called.set()
        if self.behind is not None:
            return await self.behind.invoke(invocation, client=client, streams=streams)
        if isinstance(self.next, Exception):
            raise self.next
        return self.next if isinstance(self.next, Outcome) else await self.next(invocation)

    async def check_room(self, project: str, name: str) -> None:
        if self.full is not None:
            raise self.full


class Queue:
    """A queue that keeps its tickets in memory and runs none."""

    def __init__(self) -> None:
        self.tickets: dict[tuple[str, str], Ticket] = {}
        self.full = False
        self.waited_s = 0.0

    async def accept(self, invocation: Invocation, terms: Terms, *, keyed: bool) -> Ticket:
        if self.full:
            raise QueueFull("full", retry_after_s=3)
        await asyncio.sleep(0)
        ticket = Ticket(
            id=invocation.id,
            project=invocation.project,
            deployment=invocation.deployment,
            body=invocation.body,
            content_type=invocation.content_type,
            state=TicketState.QUEUED,
            created_unix_ms=1,
            order_key=terms.order_key,
            webhook=terms.webhook,
            webhook_reach=terms.reach,
            due_unix_ms=int(terms.delay_s * 1e3),
            keyed=keyed,
        )
        assert (ticket.project, ticket.id) not in self.tickets, "accepted twice"
        self.tickets[ticket.project, ticket.id] = ticket
        return ticket

    async def find(self, project: str, ticket: str) -> Ticket | None:
        await asyncio.sleep(0)
        return self.tickets.get((project, ticket))

    async def ended(self, project: str, ticket: str, *, wait_s: float) -> Ticket | None:
        self.waited_s = wait_s
        return await self.find(project, ticket)

    async def cancel(self, project: str, ticket: str) -> Ticket:
        found = self.tickets.get((project, ticket))
        if found is None:
            raise NotFound("there is none")
        if found.state is not TicketState.QUEUED:
            raise Conflict("it runs")
        self.end(found, TicketState.CANCELLED)
        return self.tickets[project, ticket]

    def end(self, ticket: Ticket, state: TicketState, **changes: Any) -> None:
        self.tickets[ticket.project, ticket.id] = msgspec.structs.replace(ticket, state=state, **changes)


class House:
    """A gateway over a real store of keys, with an admin's key in hand."""

    def __init__(self, folder: Path, *, bodies_bytes_max: int = BODIES_BYTES_MAX) -> None:
        self.clock = ManualClock()
        self.store = SqlStore.open(folder / "keys.db", self.clock)
        self.keys = Keys(self.store.keys, b"m" * 32, self.clock)
        self.routes = Routes()
        self.function_urls = FunctionUrls()
        self.reservations = Reservations()
        self.invoker = Invoker()
        self.queue = Queue()
        self.accepting = True
        self.ping_store: Callable[[], object] = dict
        self.bodies = Bodies(self.clock, bytes_max=bodies_bytes_max)
        acceptance = Acceptance(self.queue, self.routes)
        self.behind = Behind(
            invoker=self.invoker,
            routes=self.routes,
            keys=self.keys,
            clock=self.clock,
            bodies=self.bodies,
            body_bytes_max=BODY_BYTES_MAX,
        )
        apps = AppsDoor(self.behind)
        self.gateway = Gateway(
            apps=apps,
            native=NativeDoor(self.behind, apps=apps, acceptance=acceptance),
            urls=UrlDoor(
                invoker=Reserved(self.invoker, self.reservations),
                urls=self.function_urls,
                routes=self.routes,
                senders=Senders(self.keys),
                bodies=self.bodies,
                clock=self.clock,
            ),
            protocols=[
                AwsDoor(
                    services=[self._aws_lambda(acceptance)], senders=Senders(self.keys), bodies=self.bodies
                ),
                Downloads(FileArtifacts.open(folder / "kept"), bytes(32), self.clock),
            ],
            pages=Pages(
                keys=self.keys,
                metrics=lambda _: (["lambent_up 1\n"], "text/plain; version=0.0.4"),
                readiness=Readiness(self.clock, accepts=lambda: self.accepting, ping_store=self._ping),
            ),
            control=control,
            keys=self.keys,
        )
        self.deploy("hello")

    def _ping(self) -> None:
        self.ping_store()

    def _aws_lambda(self, acceptance: Acceptance) -> RestService:
        invoker = Reserved(self.invoker, self.reservations)
        invoke = Invoke(invoker=invoker, acceptance=acceptance, routes=self.routes, clock=self.clock)
        streaming = InvokeStreaming(invoker=invoker, routes=self.routes, clock=self.clock)
        return RestService("lambda", LAMBDA_PATH, [*invoke.operations(), *streaming.operations()])

    def deploy(
        self,
        name: str,
        *,
        kind: Kind = Kind.FUNCTION,
        project: str = PROJECT,
        number: int = 3,
        runtime: Runtime = Runtime.HANDLER,
    ) -> None:
        self.routes.put(
            Route(
                project=project,
                name=name,
                spec=DeploymentSpec(name=name, kind=kind, entrypoint="app:hello", env={"A": "1"}),
                plan=RevisionPlan(
                    revision=f"{name}-rev",
                    deployment=name,
                    project=project,
                    number=number,
                    runtime=runtime,
                ),
                created_unix_ms=1_700_000_000_123,
            )
        )

    async def key(self, role: Role = Role.ADMIN, project: str = PROJECT) -> KeyReply:
        return await self.keys.create(project, f"a {role.value}", role)

    async def call(
        self, method: str, target: str, body: bytes = b"", *, key: str | None = None, **headers: str
    ) -> Response:
        """One request. `key` None uses a new admin key; an empty one sends none."""
        if key is None:
            key = (await self.key()).api_key
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if key:
            named["authorization"] = f"Bearer {key}"
        return await request(self.gateway, method, target, body, named)


async def control(scope: Scope, receive: Receive, send: Send) -> None:
    """A control app that says who asks, and crashes where it is told: before or after it began to answer."""
    if scope["path"] == "/api/v1/crash":
        raise RuntimeError("a secret of the house")
    principal = scope.get("lambent.principal")
    await send({"type": "http.response.start", "status": 200, "headers": []})
    if scope["path"] == "/api/v1/crash-late":
        raise RuntimeError("too late")
    await send({"type": "http.response.body", "body": msgspec.json.encode(principal)})


async def request(
    app: Callable[[Scope, Receive, Send], Awaitable[None]],
    method: str,
    target: str,
    body: bytes | Sequence[bytes] = b"",
    headers: dict[str, str] | None = None,
    *,
    until: asyncio.Event | None = None,
) -> Response:
    """Send one request, the body in one piece or in the given ones, and collect the answer.

    The client leaves when `until` is set, else it stays.
    """
    chunks = [body] if isinstance(body, bytes) else list(body)
    sent: list[Message] = []

    async def receive() -> Message:
        if not chunks:
            await (until or asyncio.Event()).wait()
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": chunks.pop(0), "more_body": bool(chunks)}

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope_of(method, target, headers or {}), receive, send)
    start, *rest = sent
    return Response(
        status=start["status"],
        headers={name.decode(): value.decode() for name, value in start["headers"]},
        body=b"".join(message.get("body", b"") for message in rest),
    )


def scope_of(method: str, target: str, headers: dict[str, str]) -> Scope:
    """An HTTP scope as uvicorn makes it."""
    from urllib.parse import unquote

    raw_path, _, query = target.partition("?")
    return {
        "type": "http",
        "method": method,
        "path": unquote(raw_path),
        "raw_path": raw_path.encode(),
        "query_string": query.encode(),
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
        "scheme": "http",
        "server": ("127.0.0.1", 8700),
        "extensions": {PRESENCE: Presence(lambda: None)},
    }
