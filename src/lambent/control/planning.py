"""From what a target declares to specifications, and from a revision to the plan of its processes."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Final

import msgspec

from lambent.core.environments import job_preloads, preloads
from lambent.core.errors import CallerFault, InvalidSpec
from lambent.core.settings import with_settings
from lambent.core.spec import (
    BOOTSTRAP,
    COMMANDS,
    CONNECTIONS,
    DeploymentSpec,
    ForkUnsafe,
    Interface,
    Kind,
    Parallel,
    Program,
    Setting,
    new_spec,
)
from lambent.core.tensors import Signature
from lambent.storage.base import Artifacts, Revision
from lambent.wire.api import Declaration, DeployRequest
from lambent.wire.aws.names import LATEST, Place
from lambent.wire.oneshot import SERVING_FILE, Description, Serving
from lambent.wire.process import RevisionPlan, Runtime
from lambent.wire.typed import from_json

# What workers are told that are kept, and do not start for a call: they count no cold start.
PROVISIONED: Final = {"AWS_LAMBDA_INITIALIZATION_TYPE": "provisioned-concurrency"}
RUNTIMES: Final[Mapping[Kind, Runtime]] = {
    Kind.FUNCTION: Runtime.HANDLER,
    Kind.MODEL: Runtime.MODEL,
    Kind.JOB: Runtime.JOB,
}
ARCHIVES: Final = {Interface.SAGEMAKER: Runtime.SAGEMAKER, Interface.TORCHSERVE: Runtime.TORCHSERVE}

# What the worker of a program needs is imported once, in a template that all such workers share.
PROGRAM_IMPORTS: Final = ("lambent.runtimes.runtime_api", "lambent.worker.concurrent", "uvloop")
PROCESS_IMPORTS: Final = {
    Program.HTTP: ("lambent.runtimes.http_process", "lambent.worker.concurrent", "uvloop"),
    Program.RUNPOD: ("lambent.runtimes.runpod.worker", "lambent.worker.concurrent", "uvloop"),
}
PROGRAMS: Final = {Program.HTTP: Runtime.HTTP, Program.RUNPOD: Runtime.RUNPOD}

FILE_MAX_BATCH: Final = 64  # of a model file without code
FILE_SLOTS: Final = 4  # of one that talks: calls whose tokens are computed in one step
TALKS_S: Final = 600.0  # for how long it may: as long as OpenAI's clients wait
SPEAKS: Final = frozenset({"chat", "complete", "transcribe"})
EMBEDDINGS: Final = "LLAMA_ARG_EMBEDDINGS"  # llama.cpp's word for a model that makes vectors in place of text

NOT_IN_A_NAME: Final = re.compile(r"[^a-z0-9]+")

Settings = Mapping[str, Setting]


class Planned(msgspec.Struct, frozen=True):
    """One deployment to be. `app` is the App that declares it, empty where none does."""

    spec: DeploymentSpec
    app: str = ""


def planned(description: Description, request: DeployRequest, *, jobs: frozenset[str]) -> tuple[Planned, ...]:
    """The deployments that a target declares, with the request's settings over their own.

    `jobs` are those deployed already. Raises `InvalidSpec` that names what does not fit.
    """
    declared = [_as_asked(one, request) for one in _renamed(description.declarations, request)]
    names = [one.name for one in declared]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InvalidSpec(f"{', '.join(twice)} is declared twice: give each its own name")
    _check_names(request.per_deployment, names)
    known_jobs = jobs | {one.name for one in declared if one.kind is Kind.JOB}
    plans = tuple(Planned(_spec(one, description.imports, request, known_jobs), one.app) for one in declared)
    if commands := [plan.spec for plan in plans if plan.spec.runtime in COMMANDS and not plan.spec.command]:
        first = commands[0]
        raise InvalidSpec(f"runtime={first.runtime} runs a command, and {first.name} is in {request.target}")
    if wrong := [plan.spec.name for plan in plans if plan.spec.runtime is Program.PROVIDED]:
        raise InvalidSpec(
            f"runtime={Program.PROVIDED} runs an executable {BOOTSTRAP!r}; {wrong[0]} is in {request.target}"
        )
    return plans


def _as_asked(one: Declaration, request: DeployRequest) -> Declaration:
    is_plain = one.kind is Kind.FUNCTION and not one.app and one.interface is Interface.EVENT
    return msgspec.structs.replace(one, kind=Kind.JOB, schema="") if request.as_job and is_plain else one


def planned_model(request: DeployRequest, *, adapter: str, skills: tuple[str, ...] = ()) -> Planned:
    """The deployment of a model file alone. Its name is the file's, unless the request says another.

    It runs calls together unless told otherwise: whether that changes an answer can be seen, since there is
    no code in it whose wishes are unknown. One with `skills` has slots for several calls in place of that.
    """
    stem = PurePosixPath(request.target).stem.lower()
    name = request.name or NOT_IN_A_NAME.sub("-", stem).strip("-") or "model"
    _check_names(request.per_deployment, [name])
    spec = new_spec(name, Kind.MODEL, adapter=adapter)
    if skills:
        spec = msgspec.structs.replace(spec, skills=skills, concurrency=FILE_SLOTS, timeout_s=TALKS_S)
    spec = _with_all(spec, request, {})
    if skills and spec.env.get(EMBEDDINGS):
        spec = msgspec.structs.replace(spec, skills=("embed",))
    told = {*request.settings, *request.per_deployment.get(name, {})}
    if "max_batch" not in told and spec.concurrency == 1 and not skills:
        spec = msgspec.structs.replace(spec, max_batch=FILE_MAX_BATCH)
    return Planned(spec)


def planned_program(request: DeployRequest) -> Planned:
    """The deployment of an executable `bootstrap`; `bootstrap:TEXT` as target tells it what its handler is.

    Raises `InvalidSpec`.
    """
    if not request.name:
        raise InvalidSpec(f"{request.target} does not say what it is called: give it a name")
    _check_names(request.per_deployment, [request.name])
    _, _, handler = request.target.partition(":")
    spec = new_spec(request.name, Kind.FUNCTION, entrypoint=handler or BOOTSTRAP)
    spec = _with_all(msgspec.structs.replace(spec, runtime=Program.PROVIDED), request, {})
    if spec.runtime is not Program.PROVIDED:
        raise InvalidSpec(f"{BOOTSTRAP!r} is an executable: runtime={spec.runtime} cannot run it")
    return Planned(spec)


def commands_in(request: DeployRequest) -> Sequence[str]:
    """The names of what a request has a command for; none where it asks for something else."""
    if request.settings.get("command") or request.settings.get("runtime") in COMMANDS:
        return [request.name] if request.name or not request.per_deployment else [*request.per_deployment]
    said = [name for name, settings in request.per_deployment.items() if settings.get("command")]
    return [request.name] if said and request.name else said


def planned_processes(request: DeployRequest, names: Sequence[str]) -> tuple[Planned, ...]:
    """The deployments that are commands, on the files that come with the request. Raises `InvalidSpec`."""
    if "" in names:
        raise InvalidSpec("a command does not say what it is called: give it a name")
    _check_names(request.per_deployment, names)
    return tuple(Planned(_command(name, request, {})) for name in names)


def _command(name: str, request: DeployRequest, own: Settings) -> DeploymentSpec:
    fresh = msgspec.structs.replace(new_spec(name, Kind.FUNCTION), concurrency=CONNECTIONS)
    spec = _with_all(fresh, request, own)
    if spec.runtime not in COMMANDS or not spec.command.strip():
        raise InvalidSpec(
            f"{spec.name!r} has runtime={spec.runtime} and command={spec.command!r}: "
            f"a command runs with runtime={' or '.join(COMMANDS)}, which needs one"
        )
    # A program that asks for jobs asks for one at a time, unless it is said to do more.
    told = {*own, *request.settings, *request.per_deployment.get(name, {})}
    if spec.runtime is Program.RUNPOD and "concurrency" not in told:
        return msgspec.structs.replace(spec, concurrency=1)
    return spec


def surroundings_of(request: DeployRequest, *, memory_bytes: int) -> DeploymentSpec:
    """In what the code is imported before it is known what it declares: variables, and memory.

    The request's own `env.NAME`, as they will be for its workers; its largest `memory`, at least
    `memory_bytes`. Raises `InvalidSpec`.
    """
    spec = DeploymentSpec(name="described", kind=Kind.FUNCTION, memory_bytes=memory_bytes)
    for settings in (request.settings, *request.per_deployment.values()):
        said = {key: value for key, value in settings.items() if key == "memory" or key.startswith("env.")}
        wanted = with_settings(spec, said)
        spec = msgspec.structs.replace(wanted, memory_bytes=max(spec.memory_bytes, wanted.memory_bytes))
    return spec


def plan_of(revision: Revision, artifacts: Artifacts) -> RevisionPlan:
    """What a process needs to run a revision. Looks at the disk; raises `NotFound` for lost files."""
    spec = revision.spec
    made = datetime.fromtimestamp(revision.created_unix_ms / 1000, UTC)
    model_dir = _folder(artifacts, revision.model_digest)
    serving = _serving(model_dir)
    return RevisionPlan(
        revision=revision.id,
        deployment=revision.deployment,
        project=revision.project,
        number=revision.number,
        runtime=_runtime(spec),
        interface=spec.interface,
        program=spec.runtime,
        entrypoint=spec.entrypoint,
        command=spec.command,
        ready_path=spec.ready_path,
        ready_timeout_s=spec.ready_timeout_s,
        adapter=spec.adapter,
        code_dir=_folder(artifacts, revision.code_digest),
        layer_dirs=tuple(_folder(artifacts, digest) for digest in reversed(spec.layers)),
        version=spec.version,
        model_dir=model_dir,
        imports=_imports(spec, serving),
        env={**PROVISIONED, **spec.env} if spec.workers_min else spec.env,
        memory_bytes=spec.memory_bytes,
        mapped_bytes=sum(each.mapped_bytes for each in serving),
        signature=_signature(spec, serving),
        remarks=tuple(each.reason for each in serving if each.reason),
        concurrency=spec.concurrency,
        max_batch=spec.max_batch,
        threaded=spec.parallel is Parallel.THREADS,
        threads=spec.threads,
        unsafe_allowed=spec.fork_unsafe is ForkUnsafe.ALLOW,
        timeout_s=spec.timeout_s,
        socket_s=spec.socket_s,
        socket_idle_s=spec.socket_idle_s,
        function_arn=Place().function_arn(spec.name, "" if spec.version in ("", LATEST) else spec.version),
        log_group=f"/aws/lambda/{spec.name}",
        # A worker adds its own 12 digits, and there are 32, as on AWS.
        log_stream=f"{made:%Y/%m/%d}/[{spec.version or revision.number}]{_digits(revision.id)}",
    )


def _digits(revision: str) -> str:
    return hashlib.sha256(revision.encode()).hexdigest()[:20]


def _runtime(spec: DeploymentSpec) -> Runtime:
    if spec.runtime is not Program.NATIVE:
        return PROGRAMS.get(spec.runtime, Runtime.RUNTIME_API)
    if spec.interface in ARCHIVES:
        return ARCHIVES[spec.interface]
    return RUNTIMES[spec.kind] if spec.interface is Interface.EVENT else Runtime.ASGI


def _signature(spec: DeploymentSpec, serving: Sequence[Serving]) -> Signature:
    """What the class declares; where there is no code, what its file says."""
    if spec.entrypoint or not serving:
        return spec.signature
    return serving[0].signature


def _imports(spec: DeploymentSpec, serving: Sequence[Serving]) -> tuple[str, ...]:
    if spec.runtime is not Program.NATIVE:  # the program imports its own
        return PROCESS_IMPORTS.get(spec.runtime, PROGRAM_IMPORTS)
    return tuple(sorted({*spec.imports, *(name for each in serving for name in each.imports)}))


def needs_model(revision: Revision) -> bool:
    """Whether its training job must run before it can be invoked."""
    return revision.spec.kind is Kind.MODEL and bool(revision.spec.train) and not revision.model_digest


def inside(folder: Path, target: str) -> Path:
    """The file of a target in an artifact. Raises `CallerFault` where it is not there or leads out."""
    path = PurePosixPath(target.partition(":")[0])
    if path.is_absolute() or ".." in path.parts or not (folder / path).is_file():
        raise CallerFault(f"the artifact has no file {str(path)!r}")
    return folder / path


def _renamed(declared: Sequence[Declaration], request: DeployRequest) -> Sequence[Declaration]:
    if not declared:
        raise CallerFault(f"{request.target} declares nothing that could be deployed")
    if not request.name:
        return declared
    if len(declared) > 1:
        names = ", ".join(one.name for one in declared)
        raise InvalidSpec(f"a name is for one deployment, and {request.target} declares {names}")
    return [msgspec.structs.replace(declared[0], name=request.name)]


def _check_names(per_deployment: Mapping[str, Settings], names: Sequence[str]) -> None:
    if unknown := sorted(set(per_deployment) - set(names)):
        raise InvalidSpec(
            f"there are settings for {', '.join(unknown)}, but the target declares {', '.join(names)}"
        )


def _spec(
    one: Declaration, imports: Sequence[str], request: DeployRequest, jobs: frozenset[str]
) -> DeploymentSpec:
    if one.settings.get("command"):
        return _command(one.name, request, one.settings)
    if one.train and one.train not in jobs:
        raise InvalidSpec(f"{one.name} is trained by {one.train!r}, and there is no such job")
    spec = new_spec(one.name, one.kind, interface=one.interface, entrypoint=one.entrypoint, train=one.train)
    picked = job_preloads(imports) if one.kind is Kind.JOB else preloads(imports)
    spec = msgspec.structs.replace(
        spec, imports=picked, signature=one.signature, skills=one.skills, schema=one.schema
    )
    if SPEAKS & {*one.skills}:
        spec = msgspec.structs.replace(spec, timeout_s=TALKS_S)
    return _with_all(spec, request, one.settings)


def _with_all(spec: DeploymentSpec, request: DeployRequest, own: Settings) -> DeploymentSpec:
    # What is nearer to one deployment goes over what is meant for all.
    for settings in (own, request.settings, request.per_deployment.get(spec.name, {})):
        spec = with_settings(spec, settings)
    return spec


def _serving(model_dir: str) -> Sequence[Serving]:
    """How the files of a prepared model are served; its own process will say it if that cannot be read."""
    try:
        first = from_json(Path(model_dir, SERVING_FILE).read_bytes(), Serving)
    except (OSError, msgspec.DecodeError):
        return ()
    return (first, *first.others)


def _folder(artifacts: Artifacts, digest: str) -> str:
    return str(artifacts.path(digest)) if digest else ""
