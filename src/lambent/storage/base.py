"""The records that are kept and the protocols of the stores that keep them.

Methods block (a transaction with fsync takes milliseconds): the event loop calls them through a thread.
What a method returns from is on disk. `StorageFull` is raised where the disk has no room; nothing is
half-done then.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, Final, Protocol

import msgspec

from lambent.core.errors import Conflict
from lambent.core.invocation import Role
from lambent.core.slicing import NO_CHECKPOINT
from lambent.core.slicing import RunState as RunState  # a record's own word
from lambent.core.spec import DeploymentSpec, Param

REVISION_ID_CHARACTERS: Final = 16


class Deployment(msgspec.Struct, frozen=True, kw_only=True):
    """A name and the revision that answers under it. `app` is the App that declared it, or empty."""

    project: str
    name: str
    app: str
    active_revision: str
    created_unix_ms: int


class Revision(msgspec.Struct, frozen=True, kw_only=True):
    """An immutable snapshot. `id` is a digest over spec, code and model; no code or model: empty digest."""

    id: str
    project: str
    deployment: str
    number: int
    spec: DeploymentSpec
    code_digest: str
    model_digest: str
    model_number: int | None
    created_unix_ms: int


def revision_id(project: str, spec: DeploymentSpec, *, code_digest: str, model_digest: str) -> str:
    """The name of a revision's content: the same content in the same deployment has the same id."""
    content = (project, spec.name, spec, code_digest, model_digest)
    text = msgspec.json.encode(content, order="sorted")
    return hashlib.sha256(text).hexdigest()[:REVISION_ID_CHARACTERS]


def check_owner(deployment: Deployment | None, app: str) -> None:
    """Raise `Conflict` where another app declared the deployment; one that no app declared is anybody's."""
    if deployment is not None and deployment.app not in ("", app):
        raise Conflict(
            f"{deployment.name!r} belongs to the app {deployment.app!r}: "
            "remove it first, or deploy under another name"
        )


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """A registered model of a deployment: its files by digest and what was measured of it.

    `refused` says why its gate did not let it serve; empty where it did, or where there is none.
    """

    project: str
    name: str
    number: int
    digest: str
    metrics: dict[str, float]
    run: str
    size_bytes: int
    created_unix_ms: int
    refused: str = ""


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One execution of a job; `for_deployment` is the model deployment that it trains, empty where none.

    Its code is `revision`'s. It runs in `slices`, counted as they start, for `running_ms`; before it was
    retried it had run for `earlier_ms`. `step` is its last checkpoint's, -1 before the first. `attempts` are
    the failures since it last moved on, the last of them at `failed_step` in the way of `failed_by`; it does
    not start again before `due_unix_ms`. `priority` is higher for what goes first; it starts once the runs of
    `after` have succeeded. `parent` is the run that started it, as number `index`. `datasets` are the version
    numbers that it is held to. `exit` is one word for how it ended, `reason` a sentence; `end_asked` is the
    exit that it has been asked to come to. `result` is what the job returned, as JSON. `model_refused` says
    why its model does not serve, `warning` what is amiss meanwhile.
    """

    id: str
    project: str
    job: str
    for_deployment: str
    state: RunState
    reason: str = ""
    progress: float = 0.0
    message: str = ""
    metrics: dict[str, float] = {}
    params: dict[str, Param] = {}
    model_number: int | None = None
    created_unix_ms: int
    ended_unix_ms: int | None = None
    revision: str = ""
    started_unix_ms: int | None = None
    due_unix_ms: int = 0
    slices: int = 0
    running_ms: int = 0
    earlier_ms: int = 0
    step: int = NO_CHECKPOINT
    checkpoint_unix_ms: int | None = None
    attempts: int = 0
    failed_step: int = NO_CHECKPOINT
    failed_by: str = ""
    priority: int = 0
    after: tuple[str, ...] = ()
    parent: str = ""
    index: int = 0
    datasets: dict[str, int] = {}
    max_cost_usd: float = 0.0
    cost_usd: float = 0.0
    exit: str = ""
    end_asked: str = ""
    result: str = ""
    model_refused: str = ""
    warning: str = ""


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """A key of a project; `secret_hash` is the SHA-256 of its 256-bit secret in hex."""

    id: str
    project: str
    name: str
    role: Role
    secret_hash: str
    created_unix_ms: int


class Deployments(Protocol):
    """Deployments and their revisions."""

    def commit(
        self,
        spec: DeploymentSpec,
        *,
        project: str,
        app: str,
        code_digest: str,
        model: Model | None,
    ) -> Revision:
        """Store a revision and make it active, in one transaction; creates the deployment where it is new.

        Content equal to an existing revision's returns and activates that one. With `model` None the revision
        has none. Raises `Conflict` where another app's deployment has the name.
        """

    def activate(self, project: str, name: str, revision: str) -> Deployment:
        """Make an existing revision active. Raises `NotFound`."""

    def find(self, project: str, name: str) -> Deployment | None: ...

    def all(self, project: str | None = None) -> Sequence[Deployment]: ...

    def revision(self, revision: str) -> Revision:
        """Raises `NotFound`."""

    def revisions(self, project: str, name: str) -> Sequence[Revision]:
        """Newest first."""

    def remove(self, project: str, name: str) -> None:
        """Forget a deployment, its revisions and its models. Raises `NotFound`."""


class Models(Protocol):
    """Registered models."""

    def register(
        self,
        *,
        project: str,
        name: str,
        digest: str,
        size_bytes: int,
        metrics: Mapping[str, float],
        run: str,
        refused: str = "",
    ) -> Model:
        """Store a model under the next number of its name. A run has one of a name: the first stays."""

    def latest(self, project: str, name: str) -> Model | None:
        """The newest that was not refused."""

    def find(self, project: str, name: str, number: int) -> Model | None: ...

    def overrule(self, model: Model) -> None:
        """From now on it counts as accepted."""

    def all(self, project: str, name: str = "") -> Sequence[Model]: ...


class RunsWanted(msgspec.Struct, frozen=True, kw_only=True):
    """Which runs to list: those that all of this is true of; what is empty does not matter.

    `before` is a run's id.
    """

    job: str = ""
    for_deployment: str = ""
    state: str = ""
    parent: str = ""
    before: str = ""
    limit: int = 100


class Runs(Protocol):
    """Runs of jobs."""

    def put(self, run: Run) -> None:
        """Insert or replace by id."""

    def put_all(self, runs: Sequence[Run]) -> None:
        """Insert or replace each by its id, all in one transaction."""

    def find(self, run: str) -> Run | None: ...

    def all(self, project: str, wanted: RunsWanted) -> Sequence[Run]:
        """Newest first; from before a run where one is named, however old that is."""

    def unfinished(self) -> Sequence[Run]:
        """What is queued or running, oldest first."""

    def waiting_for(self, run: str) -> Sequence[Run]:
        """The runs that are to start after this one, oldest first, whatever has become of them."""


class Keys(Protocol):
    """Keys of projects."""

    def put(self, key: Key) -> None: ...

    def find(self, key_id: str) -> Key | None: ...

    def all(self, project: str) -> Sequence[Key]: ...

    def remove(self, project: str, key_id: str) -> None:
        """Raises `NotFound`."""


class Artifacts(Protocol):
    """Content-addressed trees of files. A digest covers sorted paths, executable bits and contents."""

    def ingest_archive(self, stream: BinaryIO, *, size_bytes_max: int) -> ArtifactFacts:
        """Unpack a tar (gzip allowed) and keep it. Refuses paths that leave the tree, links and devices."""

    def ingest_zip(self, stream: BinaryIO, *, size_bytes_max: int) -> ArtifactFacts:
        """Unpack a zip and keep it, as `ingest_archive` does."""

    def ingest_tree(self, folder: Path, *, size_bytes_max: int | None = None) -> ArtifactFacts:
        """Keep a copy of a folder."""

    def path(self, digest: str) -> Path:
        """The folder of an artifact; read-only to everybody. Raises `NotFound`."""

    def size_bytes(self, digest: str) -> int:
        """Of all its files. Raises `NotFound`, `StorageBroken`."""


class ArtifactFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a stored artifact."""

    digest: str
    size_bytes: int
    files: int
