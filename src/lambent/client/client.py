"""A typed client of the server: every verb of the control API, and invocations."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar, Unpack
from urllib.parse import quote

import msgspec

from lambent.client.addresses import in_alias, path_of, segment, with_query
from lambent.client.aliases import Aliases
from lambent.client.dead_letters import DeadLetters, Webhooks
from lambent.client.discovery import locate
from lambent.client.handles import Ended, Handle, Progress, SomeFailed, gather, submit_all
from lambent.client.replies import Reply, encoded, read, reply_of
from lambent.client.transport import Transport
from lambent.core.errors import PlatformFault
from lambent.core.invocation import JSON, Role
from lambent.core.settings import check_settings
from lambent.core.spec import Param, Setting, Temperature
from lambent.wire.aliases import Canary
from lambent.wire.api import (
    ArtifactReply,
    AsyncReply,
    CheckView,
    ChillRequest,
    DeploymentDetail,
    DeploymentView,
    DeployReply,
    DeployRequest,
    ModelView,
    ProcessView,
    RollbackRequest,
    UsageView,
)
from lambent.wire.keys import KeyReply, KeyRequest, KeyView
from lambent.wire.runs import RetryRequest, RunRequest, RunsWanted, RunTerms, RunView

if TYPE_CHECKING:
    from lambent.client.datasets import Datasets
    from lambent.client.records import Records
    from lambent.client.uploading import Sent
    from lambent.wire.fanning import MapTerms
    from lambent.wire.mapped import Mapped

CONTROL_TIMEOUT_S: Final = 60.0
SAFE: Final = "/?&=%:,;@+~"  # in a path that a user has written, query and all
# A deploy answers when the code was imported and a model's serving form was made.
DEPLOY_TIMEOUT_S: Final = 900.0
# A request that arrives where there is no model yet is held while one is trained.
INVOKE_TIMEOUT_S: Final = 1800.0

V = TypeVar("V")


class Client:
    """One server as Python sees it. Safe to use from several threads; connections are kept and reused.

    Every method raises `NoServer` where nothing answers, `ApiError` with the server's code where it refuses,
    and `PlatformFault` where the connection breaks or a time-out passes.
    """

    def __init__(self, url: str | None = None, api_key: str | None = None) -> None:
        """Find the server: the arguments, else `LAMBENT_URL` and `LAMBENT_API_KEY`, else the local one."""
        self._transport: Final = Transport(locate(url, api_key))
        self.url: Final = self._transport.url

    def close(self) -> None:
        """Close the connections that are idle."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- deployments ---

    def deploy(
        self,
        target: str | Path,
        *,
        name: str = "",
        settings: Mapping[str, Setting] | None = None,
        canary: Canary | None = None,
        sent: Sent | None = None,
        as_job: bool = False,
    ) -> DeployReply:
        """Deploy `file.py`, `file.py:object`, a folder with `lambent.toml` or `bootstrap`, or a model.

        `settings` apply to all that it declares; with a `command` among them, the target is the folder that
        it runs in. With a `canary` it is tried beside what is active; `as_job`: a function that nothing is
        declared of is a job. Raises `BundleError` and `InvalidSpec`
        before anything is sent, `ApiError` where the code cannot be imported.
        """
        # A fifth of this module's load time, for deploys alone.
        from lambent.client.bundle import pack, pack_for_command
        from lambent.client.uploading import upload

        check_settings(name or "unnamed", settings or {})
        bundle = pack_for_command(target) if settings and settings.get("command") else pack(target)
        stored = upload(self._transport, "/api/v1/artifacts", bundle.archive, sent)
        request = DeployRequest(
            artifact=read(stored, ArtifactReply).digest,
            target=bundle.target,
            name=name or bundle.name,
            settings=dict(settings or {}),
            per_deployment=bundle.per_deployment,
            canary=canary,
            as_job=as_job,
        )
        return self._post("/api/v1/deployments", request, DeployReply, timeout_s=DEPLOY_TIMEOUT_S)

    def list(self) -> tuple[DeploymentView, ...]:
        """Every deployment of the key's project."""
        return self._get("/api/v1/deployments", tuple[DeploymentView, ...])

    def show(self, name: str) -> DeploymentDetail:
        """One deployment with its revisions and its last wakes."""
        return self._get(path_of(name), DeploymentDetail)

    def remove(self, name: str) -> None:
        """Take a deployment away. Its models stay registered."""
        self._delete(path_of(name))

    def rollback(self, name: str, to: int | None = None) -> DeploymentView:
        """Make the revision before the active one, or the one with number `to`, answer again."""
        return self._post(path_of(name) + "/rollback", RollbackRequest(to), DeploymentView)

    def chill(self, name: str, to: Temperature = Temperature.WARM) -> DeploymentView:
        """Let a deployment cool down to `warm` or `cold`. Fails with a conflict while it is in use."""
        return self._post(path_of(name) + "/chill", ChillRequest(to), DeploymentView)

    def prime(self, name: str) -> DeploymentView:
        """Load a deployment into its template. `unsafe` in the answer says why it stayed warm."""
        return self._post(path_of(name) + "/prime", None, DeploymentView)

    def logs(self, name: str, *, tail: int = 100) -> Iterator[str]:
        """The last `tail` lines that a deployment printed, oldest first."""
        return self._transport.lines(
            with_query(path_of(name) + "/logs", tail=tail), timeout_s=CONTROL_TIMEOUT_S
        )

    def follow_logs(self, name: str, *, tail: int = 100) -> Iterator[str]:
        """The last `tail` lines, then each line as it is printed, until the caller or the server stops."""
        query = with_query(path_of(name) + "/logs", tail=tail, follow="true")
        return self._transport.lines(query, timeout_s=None)

    # --- invocations ---

    @property
    def aliases(self) -> Aliases:
        """Names for revisions, and what is on trial."""
        return Aliases(get=self._get, put=self._put, post=self._post, delete=self._delete)

    def invoke(
        self, name: str, event: object = None, *, alias: str = "", timeout_s: float = INVOKE_TIMEOUT_S
    ) -> Any:
        """What the function or model returns for `event`; under an `alias`, what that stands for.

        Bytes travel as they are, everything else as JSON (arrays as lists). Raises `FunctionFailed` with the
        error of the user's code, `CallerFault` for an event that JSON cannot hold.
        """
        body, kind = encoded(event)
        return self.call(name, body, content_type=kind, alias=alias, timeout_s=timeout_s).value

    def call(
        self,
        name: str,
        body: bytes = b"",
        *,
        content_type: str = JSON,
        alias: str = "",
        path: str = "",
        headers: Mapping[str, str] | None = None,
        timeout_s: float = INVOKE_TIMEOUT_S,
    ) -> Reply:
        """Like `invoke`, with bytes, headers, and the `path` where a deployment that speaks HTTP takes it."""
        return reply_of(
            self._transport.request(
                "POST",
                f"/invoke/{segment(name)}{quote(path, safe=SAFE)}",
                timeout_s=timeout_s,
                body=body,
                headers={**(headers or {}), "content-type": content_type, **in_alias(alias)},
            )
        )

    def invoke_async(self, name: str, event: object = None, *, content_type: str = "") -> str:
        """Have `event` worked on later; returns the invocation's id once it is on the server's disk.

        `content_type` is for an event that is bytes.
        """
        return self.submit(name, event, content_type=content_type).id

    def submit(
        self,
        name: str,
        event: object = None,
        *,
        content_type: str = "",
        alias: str = "",
        idempotency_key: str = "",
        order_key: str = "",
        delay_s: float = 0.0,
        webhook: str = "",
    ) -> Handle:
        """Have `event` worked on later; returns once it is on the server's disk.

        The same `idempotency_key` gives the same invocation, for a day. Those of one `order_key` run one
        after another. `webhook` is a URL to be told of the end; `content_type` is for an event that is bytes.
        """
        body, kind = encoded(event)
        terms = {
            "idempotency-key": idempotency_key,
            "lambent-order-key": order_key,
            "lambent-delay-s": f"{delay_s:g}" if delay_s else "",
            "lambent-webhook": webhook,
        }
        answer = self._transport.request(
            "POST",
            f"/invoke/{segment(name)}",
            timeout_s=CONTROL_TIMEOUT_S,
            body=body,
            headers={
                "content-type": content_type or kind,
                "prefer": "respond-async",
                **in_alias(alias),
                **{header: value for header, value in terms.items() if value},
            },
        )
        location = answer.headers.get("location", "")
        if answer.status != 202 or not location:
            raise PlatformFault(f"{name} was invoked, but not asynchronously: status {answer.status}")
        return Handle(self, location.rpartition("/")[2])

    def map(
        self, name: str, events: Iterable[object], *, timeout_s: float | None = None, **terms: Any
    ) -> Sequence[Any]:
        """What each event comes to, in their order; they run as far at once as the deployment allows.

        `terms` are those of `submit`. Raises `SomeFailed`, which has the results of the others, too.
        """
        handles = submit_all(lambda event: self.submit(name, event, **terms), events)
        ended = gather(handles, timeout_s=timeout_s)
        if any(one.error is not None for one in ended):
            raise SomeFailed(ended)
        return [one.value for one in ended]

    def gather(
        self,
        handles: Iterable[Handle],
        *,
        timeout_s: float | None = None,
        progress: Progress | None = None,
    ) -> Sequence[Ended]:
        """How each ended, in their order; failures are told, not raised. `progress` hears of each end."""
        return gather(handles, timeout_s=timeout_s, progress=progress)

    def handle(self, invocation_id: str) -> Handle:
        """An invocation that was submitted before, perhaps elsewhere."""
        return Handle(self, invocation_id)

    def result(self, invocation_id: str, *, wait_s: float = 0.0) -> Reply | AsyncReply:
        """The outcome of an asynchronous invocation, or how far it is. Raises `FunctionFailed`.

        `wait_s` is how long the server may wait for the end before it answers, a minute at the most.
        """
        answer = self._transport.request(
            "GET",
            f"/invocations/{segment(invocation_id)}",
            timeout_s=CONTROL_TIMEOUT_S + wait_s,
            headers={"prefer": f"wait={wait_s:g}"} if wait_s else {},
        )
        return read(answer.body, AsyncReply) if answer.status == 202 else reply_of(answer)

    def cancel(self, invocation_id: str) -> AsyncReply:
        """Let one that has not ended end now. Raises `ApiError`, a conflict, where it has ended."""
        return self._post(f"/invocations/{segment(invocation_id)}", None, AsyncReply, method="DELETE")

    @property
    def dead_letters(self) -> DeadLetters:
        """What could not be done, by deployment."""
        return DeadLetters(self._get, self._post)

    @property
    def webhooks(self) -> Webhooks:
        """What webhooks were told, and the secret that proves who tells it."""
        return Webhooks(self._get, self._post)

    # --- jobs and models ---

    @property
    def datasets(self) -> Datasets:
        """What jobs learn from."""
        from lambent.client.datasets import Datasets
        from lambent.client.uploading import upload

        return Datasets(
            get=self._get,
            upload=lambda path, archive, kind, sent: read(upload(self._transport, path, archive, sent), kind),
            remove=lambda path, kind: self._post(path, None, kind, method="DELETE"),
        )

    @property
    def records(self) -> Records:
        """What runs have logged, printed and saved."""
        from lambent.client.records import Records

        return Records(self._get, self._transport)

    def models(self, name: str = "") -> tuple[ModelView, ...]:
        """The registered models, of one deployment or of all."""
        return self._get(with_query("/api/v1/models", name=name), tuple[ModelView, ...])

    def serve_model(self, name: str, number: int) -> ModelView:
        """Let a registered model serve, also one that its gate refused. Raises `ApiError`."""
        return self._post(f"/api/v1/models/{segment(name)}/{number}/serve", None, ModelView)

    def run(self, job: str, params: Mapping[str, Param] | None = None, **terms: Unpack[RunTerms]) -> RunView:
        """Start a job; the answer is its run, which may still be queued. `terms` as in `RunRequest`."""
        return self._post("/api/v1/runs", RunRequest(job, dict(params or {}), **terms), RunView)

    def map_runs(self, job: str, items: Iterable[Mapping[str, Param]], **terms: Unpack[MapTerms]) -> Mapped:
        """Start a run for each of `items`, its parameters. Iterating gives the ends, in their order."""
        from lambent.client.maps import start  # few use it

        return start(self._post, job, items, terms)

    def runs(self, **wanted: Unpack[RunsWanted]) -> tuple[RunView, ...]:
        """The runs, newest first: those of which all that is `wanted` is true, the newest 100 of them."""
        return self._get(with_query("/api/v1/runs", **wanted), tuple[RunView, ...])

    def cancel_run(self, run: str) -> RunView:
        """Let it end now: it is asked to leave, and soon killed. Raises `ApiError` where it has ended."""
        return self._post(f"/api/v1/runs/{segment(run)}/cancel", None, RunView)

    def retry_run(self, run: str, *, max_cost_usd: float | None = None) -> RunView:
        """Let one that has failed go on from its last checkpoint, and with it what waited for it."""
        return self._post(f"/api/v1/runs/{segment(run)}/retry", RetryRequest(max_cost_usd), RunView)

    def show_run(self, run: str) -> RunView:
        """One run as it stands now."""
        return self._get(f"/api/v1/runs/{segment(run)}", RunView)

    # --- the house ---

    def usage(self, *, since_unix_ms: int | None = None, until_unix_ms: int | None = None) -> UsageView:
        """What was used in a period and what it would cost; without bounds, the server's default period."""
        query = with_query("/api/v1/usage", since_unix_ms=since_unix_ms, until_unix_ms=until_unix_ms)
        return self._get(query, UsageView)

    def processes(self) -> tuple[ProcessView, ...]:
        """The server's processes with their memory."""
        return self._get("/api/v1/processes", tuple[ProcessView, ...])

    def doctor(self) -> tuple[CheckView, ...]:
        """What the server finds when it looks at itself."""
        return self._get("/api/v1/doctor", tuple[CheckView, ...])

    def keys(self) -> tuple[KeyView, ...]:
        """The keys of the project, without their secrets."""
        return self._get("/api/v1/keys", tuple[KeyView, ...])

    def create_key(self, name: str, role: Role = Role.INVOKE) -> KeyReply:
        """A new key. Its secret is in this answer and nowhere else."""
        return self._post("/api/v1/keys", KeyRequest(name, role), KeyReply)

    def revoke_key(self, key_id: str) -> None:
        """Make a key useless from now on."""
        self._delete(f"/api/v1/keys/{segment(key_id)}")

    def _get(self, path: str, kind: type[V]) -> V:
        return read(self._transport.request("GET", path, timeout_s=CONTROL_TIMEOUT_S).body, kind)

    def _post(
        self,
        path: str,
        request: msgspec.Struct | None,
        kind: type[V],
        *,
        method: str = "POST",
        timeout_s: float = CONTROL_TIMEOUT_S,
    ) -> V:
        body = b"" if request is None else msgspec.json.encode(request)
        heads = {"content-type": JSON}
        answer = self._transport.request(method, path, timeout_s=timeout_s, body=body, headers=heads)
        return read(answer.body, kind)

    def _put(self, path: str, request: msgspec.Struct | None, kind: type[V]) -> V:
        return self._post(path, request, kind, method="PUT", timeout_s=DEPLOY_TIMEOUT_S)

    def _delete(self, path: str) -> None:
        self._transport.request("DELETE", path, timeout_s=CONTROL_TIMEOUT_S)
