"""From what AWS's clients ask of a function to a specification of ours."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Final, Protocol

import msgspec

from lambent.control.aws.state import LayerUse
from lambent.core.environments import preloads
from lambent.core.errors import InvalidSpec
from lambent.core.settings import with_settings
from lambent.core.spec import MIB, DeploymentSpec, Kind, Program, checked
from lambent.runtimes.bundle_imports import installed_imports
from lambent.wire.aws.faults import bad_parameter
from lambent.wire.aws.layer_runtimes import PUBLISHED, RUNTIMES
from lambent.wire.aws.names import LATEST
from lambent.wire.aws.shapes import DeadLetterConfig, Environment
from lambent.wire.aws.sqs_attributes import name_of_arn

PYTHON: Final = re.compile(r"python3\.\d{1,2}")
SUPPORTED: Final = (
    *(f"python3.{minor}" for minor in range(8, 16)), "provided", "provided.al2", "provided.al2023",
)  # fmt: skip
# What AWS itself takes no more. It does not take `provided` either, which runs here as ever.
RETIRED: Final = frozenset({
    "dotnetcore1.0", "dotnetcore2.0", "dotnetcore2.1", "dotnetcore3.1", "go1.x", "java8", "nodejs",
    "nodejs10.x", "nodejs12.x", "nodejs14.x", "nodejs4.3", "nodejs4.3-edge", "nodejs6.10", "nodejs8.10",
    "python2.7", "python3.6", "python3.7", "ruby2.5", "ruby2.7",
})  # fmt: skip
TIMEOUT_S: Final = 3.0
MEMORY_MB: Final = 128
# AWS starts as many environments as there are calls. Memory, cores and the burst's length bound ours.
WORKERS_MAX: Final = 100
VARIABLES_BYTES_MAX: Final = 4096
RESERVED_VARIABLES: Final = frozenset({
    "_HANDLER", "_X_AMZN_TRACE_ID", "AWS_ACCESS_KEY", "AWS_ACCESS_KEY_ID", "AWS_DEFAULT_REGION",
    "AWS_EXECUTION_ENV", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "AWS_LAMBDA_FUNCTION_NAME",
    "AWS_LAMBDA_FUNCTION_VERSION", "AWS_LAMBDA_INITIALIZATION_TYPE", "AWS_LAMBDA_LOG_GROUP_NAME",
    "AWS_LAMBDA_LOG_STREAM_NAME", "AWS_LAMBDA_RUNTIME_API", "AWS_REGION", "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN", "LAMBDA_RUNTIME_DIR", "LAMBDA_TASK_ROOT",
})  # fmt: skip
# How long a program may take until it asks for its first invocation. AWS gives it 10 s and then once more the
# function's timeout; a server of ours may be slower at starting programs.
INIT_S: Final = 30.0
INIT_S_MAX: Final = 270.0


class Wanted(Protocol):
    """What requests that make or change a function may say of how it runs; None is unsaid."""

    @property
    def runtime(self) -> str | None: ...

    @property
    def handler(self) -> str | None: ...

    @property
    def description(self) -> str | None: ...

    @property
    def timeout(self) -> int | None: ...

    @property
    def memory_size(self) -> int | None: ...

    @property
    def dead_letter_config(self) -> DeadLetterConfig | None: ...

    @property
    def environment(self) -> Environment | None: ...


def fresh(name: str) -> DeploymentSpec:
    """A function with AWS's defaults. Raises `Fault` for a name that cannot be ours."""
    spec = DeploymentSpec(
        name=name,
        kind=Kind.FUNCTION,
        entrypoint="-",
        version=LATEST,
        timeout_s=TIMEOUT_S,
        ready_timeout_s=INIT_S,
        memory_bytes=MEMORY_MB * MIB,
        workers_max=WORKERS_MAX,
    )
    try:
        return checked(spec)
    except InvalidSpec as error:
        raise bad_parameter(error.message) from error


def changed(spec: DeploymentSpec, wanted: Wanted) -> DeploymentSpec:
    """`spec` with what is wanted of it. Raises `Fault`."""
    changes: dict[str, object] = {}
    if wanted.runtime is not None:
        changes["runtime"] = program_of(wanted.runtime)
    if wanted.handler is not None:
        changes["entrypoint"] = wanted.handler
    if wanted.description is not None:
        changes["description"] = wanted.description
    if wanted.timeout is not None:
        changes["timeout_s"] = float(wanted.timeout)
        changes["ready_timeout_s"] = min(INIT_S_MAX, max(INIT_S, float(wanted.timeout)))
    if wanted.memory_size is not None:
        changes["memory_bytes"] = wanted.memory_size * MIB
    letters = wanted.dead_letter_config
    if letters is not None and letters.target_arn is not None:
        changes["dead_letters"] = letters.target_arn if name_of_arn(letters.target_arn) else ""
    if wanted.environment is not None:
        variables = wanted.environment.variables or {}
        check_variables(variables)
        spec = with_variables(msgspec.structs.replace(spec, env={}), variables)
    return msgspec.structs.replace(spec, **changes)


def with_variables(spec: DeploymentSpec, variables: Mapping[str, str]) -> DeploymentSpec:
    """`spec` with environment variables. Raises `Fault`."""
    try:
        return with_settings(spec, {f"env.{name}": value for name, value in variables.items()})
    except InvalidSpec as error:
        raise bad_parameter(error.message) from error


def grounded(spec: DeploymentSpec, folder: Path, layers: tuple[LayerUse, ...]) -> DeploymentSpec:
    """`spec` on its code and its layers: with what its environment template can import. Reads the disk."""
    imports: tuple[str, ...] = ()
    if spec.runtime is Program.NATIVE:
        module = PurePosixPath(spec.entrypoint.replace(":", ".").rpartition(".")[0].replace(".", "/"))
        file = folder / f"{module}.py"
        if ".." not in module.parts and not module.is_absolute() and file.is_file():
            imports = preloads(installed_imports(folder, file))
    return msgspec.structs.replace(spec, imports=imports, layers=tuple(layer.digest for layer in layers))


def program_of(runtime: str) -> Program:
    """What runs code of one of AWS's runtimes. Raises `Fault` for what nothing here runs."""
    if runtime in SUPPORTED:
        return Program.NATIVE if PYTHON.fullmatch(runtime) else Program.PROVIDED
    if runtime in RETIRED:
        raise bad_parameter(
            f"The runtime parameter of {runtime} is no longer supported for creating or updating AWS Lambda "
            "functions. We recommend you use a supported runtime while creating or updating functions."
        )
    # Of a word that is no runtime AWS names its own; of one that is, and does not run here, we name ours.
    words = SUPPORTED if runtime in RUNTIMES else PUBLISHED
    raise bad_parameter(
        f"Value {runtime} at 'runtime' failed to satisfy constraint: Member must satisfy enum value set: "
        f"[{', '.join(words)}] or be a valid ARN"
    )


def check_variables(variables: Mapping[str, str]) -> None:
    """Raise `Fault` for variables that AWS does not take."""
    failed = (
        "Lambda was unable to configure your environment variables because the environment variables you "
        "have provided "
    )
    if taken := sorted(RESERVED_VARIABLES & variables.keys()):
        raise bad_parameter(
            f"{failed}contains reserved keys that are currently not supported for modification. "
            f"Reserved keys used in this request: {', '.join(taken)}"
        )
    dumped = msgspec.json.encode(variables).decode()
    if len(dumped.encode()) > VARIABLES_BYTES_MAX:
        raise bad_parameter(f"{failed}exceeded the 4KB limit. String measured: {dumped}")
