"""The tables of what other people's clients can do here, made from what they did in the conformance tests.

`python -m tests.support.compatibility` runs those tests and writes `docs/compatibility.md`. An operation of
AWS's is supported if a client of AWS's called it and its answer fitted AWS's model; one of another protocol
if a test said that a client of that protocol was answered well. `tests/support/protocols` has their lists.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Set
from pathlib import Path
from typing import Final

import botocore.session

from tests.support.protocols import PROTOCOLS
from tests.support.protocols.base import Protocol

# A file to which each operation is added that a client was answered well.
RECORD: Final = "COMPATIBILITY_RECORD"  # no setting of ours: tests run without those of whoever runs them
ROOT: Final = Path(__file__).parent.parent.parent
PAGE: Final = ROOT / "docs/compatibility.md"
SUPPORTED: Final = "supported"
KEPT: Final = "accepted and stored"
NOT: Final = "not"

# Where a test may say that it was.
TESTS: Final = ("tests/conformance", "tests/programs", "tests/e2e/test_http_process_fastapi.py")

Operation = tuple[str, str]

SERVICES: Final[Mapping[str, str]] = {
    "lambda": "AWS Lambda",
    "logs": "CloudWatch Logs",
    "sqs": "SQS",
    "sagemaker-runtime": "SageMaker runtime",
    "sagemaker": "SageMaker",
}
# Of services as large as these only what is there is listed.
LISTED_IN_PART: Final = frozenset({"logs", "sagemaker"})
# What is kept and given back, and that nothing here acts on it.
STORED: Final[Mapping[Operation, str]] = {
    ("lambda", "AddPermission"): "no call is judged by a policy: keys decide who may do what",
    ("lambda", "AddLayerVersionPermission"): "no use of a layer is judged by a policy",
    ("sqs", "AddPermission"): "no call is judged by a policy: keys decide who may do what",
    ("lambda", "PutFunctionRecursionConfig"): "how deep calls may go is bounded in any case",
    ("lambda", "PutRuntimeManagementConfig"): "the runtime is the server's own",
}
# What is supported, and how it differs.
REMARKS: Final[Mapping[Operation, str]] = {
    ("lambda", "CreateFunction"): (
        "`python3.*` is run by the server's own Python, `provided.*` by its bootstrap; code as a zip, or a "
        "folder as `S3Bucket=lambent-directory`, `S3Key=/its/path`. Network, file system, key, "
        "tracing and logging settings are stored; tenants, code signing, durable executions and capacity "
        "providers are refused"
    ),
    ("lambda", "CreateEventSourceMapping"): (
        "from queues of this server; other sources are stored, and nothing here reads them: the state says so"
    ),
    ("lambda", "UpdateEventSourceMapping"): "as CreateEventSourceMapping",
    ("sqs", "CreateQueue"): "policies, keys and `RedriveAllowPolicy` are stored",
    ("sqs", "PurgeQueue"): "done when it is answered: another one need not wait a minute",
    ("lambda", "GetFunction"): "`Code.Location` is an address of this server, good for ten minutes",
    ("lambda", "PutFunctionConcurrency"): (
        "counts the calls through AWS's doors, those for queues, and asynchronous ones; over it an "
        "asynchronous call waits, and with 0 it is a dead letter at once"
    ),
    ("lambda", "PutProvisionedConcurrencyConfig"): (
        "`workers_min` of the version; at most 256. Workers that are added over it call themselves "
        "provisioned, too"
    ),
    ("lambda", "PutFunctionEventInvokeConfig"): (
        "functions of this server as destinations are invoked, its queues get a message, others are stored"
    ),
    ("lambda", "TagResource"): "functions and event source mappings",
    ("lambda", "GetFunctionCodeSigningConfig"): "no function has one",
    ("sagemaker-runtime", "InvokeEndpoint"): (
        "every function, model, archive and ASGI application is an endpoint of its name; `TargetModel`, "
        "`TargetContainerHostname`, `InferenceComponentName` and `SessionId` are refused in words"
    ),
    ("sagemaker-runtime", "InvokeEndpointAsync"): (
        "the input is the request's `Body`; the locations are URLs of this server; how long it may take and "
        "wait is `timeout_s` and `async_age_max_s` of the deployment"
    ),
    ("sagemaker", "CreateModel"): (
        "`Image` is stored and not run; `ModelDataUrl` is `s3://lambent-directory/PATH`, `file://PATH` or "
        "`s3://lambent-artifacts/DIGEST`"
    ),
    ("sagemaker", "CreateEndpointConfig"): (
        "two variants at most; serverless settings are memory and workers, instances are workers that stay "
        "up; data capture, keys, networks and outputs of asynchronous calls are stored"
    ),
}
DURABLE: Final = "durable executions are not here"
SIGNING: Final = "no code is signed"
PROVIDERS: Final = "there are no capacity providers: the machine is the capacity"
REASONS: Final[Mapping[str, str]] = {
    "CodeSigning": SIGNING,
    "CapacityProvider": PROVIDERS,
    "Durable": DURABLE,
    "ResourcePolicy": "policies are those of AddPermission",
    "RecursionConfig": "nothing looks for functions that call themselves",
    "RuntimeManagement": "the runtime is the server's own",
    "ScalingConfig": "scaling is that of the deployment's own settings",
}
HEAD: Final = """# What other people's clients can do here

Made by `make compatibility` from the tests in which the clients of each protocol's own makers call a running
server, and other people's programs run on one. AWS's answers are held against the service models that
botocore ships. *Supported*: it does what it does there. *Accepted and stored*: it is kept and given back, and
nothing acts on it. Errors have the protocol's own types, texts and codes in any case.
"""


def note(service: str, operation: str) -> None:
    """Remember that it was answered well, where somebody wants to know."""
    if path := os.environ.get(RECORD):
        with Path(path).open("a") as file:
            file.write(f"{service} {operation}\n")


def render(answered: Set[Operation]) -> str:
    """The page."""
    services = "".join(_table(service, answered) for service in SERVICES)
    return HEAD + services + "".join(_protocol(one, answered) for one in PROTOCOLS.values())


def listed(page: str) -> Set[Operation]:
    """The operations that a page says are there."""
    found: set[Operation] = set()
    service = ""
    titles = {title: name for name, title in SERVICES.items()}
    titles.update({one.title: key for key, one in PROTOCOLS.items()})
    for line in page.splitlines():
        if line.startswith("## "):
            service = titles[line.removeprefix("## ")]
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 3 and cells[1] in (SUPPORTED, KEPT):
            found.add((service, cells[0]))
    return found


def operations_of(service: str) -> list[str]:
    """All that the service's model has."""
    return sorted(botocore.session.get_session().get_service_model(service).operation_names)


def _table(service: str, answered: Set[Operation]) -> str:
    rows = "".join(_rows(service, answered))
    rest = len(operations_of(service)) - sum(one[0] == service for one in answered)
    left = f"\nThe other {rest} operations are not here.\n" if service in LISTED_IN_PART else ""
    return f"\n## {SERVICES[service]}\n\n| operation | here | remarks |\n|---|---|---|\n{rows}{left}"


def _rows(service: str, answered: Set[Operation]) -> Iterator[str]:
    for name in operations_of(service):
        operation = (service, name)
        if operation not in answered:
            if service not in LISTED_IN_PART:
                yield f"| {name} | {NOT} | {_reason(name)} |\n"
        elif operation in STORED:
            yield f"| {name} | {KEPT} | {STORED[operation]} |\n"
        else:
            yield f"| {name} | {SUPPORTED} | {REMARKS.get(operation, '')} |\n"


def _protocol(protocol: Protocol, answered: Set[Operation]) -> str:
    """One table. Raises `KeyError` for what a test noted and the table does not list."""
    noted = {name for key, name in answered if key == protocol.key}
    if unknown := noted - protocol.operations.keys():
        raise KeyError(f"{protocol.key} does not list {', '.join(sorted(unknown))}")
    rows = "".join(
        f"| {name} | {SUPPORTED if name in noted else NOT} | {remark} |\n"
        for name, remark in protocol.operations.items()
    )
    head = "| operation | here | remarks |\n|---|---|---|\n"
    return f"\n## {protocol.title}\n\nBy {protocol.clients}.\n\n{head}{rows}"


def _reason(name: str) -> str:
    return next((reason for part, reason in REASONS.items() if part in name), "")


def main() -> int:
    """Run the conformance tests and write the page. Returns the exit status of the tests."""
    with tempfile.TemporaryDirectory() as folder:
        record = Path(folder, "record")
        record.touch()
        words = [sys.executable, "-m", "pytest", "-q", *TESTS]
        words += ["-m", "not frameworks"]  # with those that need a program's own environment
        # Whether a client left a socket open is the tests' question, and not this one.
        words += ["--deselect", "tests/conformance/test_compatibility.py", "-p", "no:unraisableexception"]
        status = subprocess.run(words, cwd=ROOT, env={**os.environ, RECORD: str(record)}, check=False)
        pairs = (line.split(" ", 1) for line in record.read_text().splitlines())
        answered = {(service, name) for service, name in pairs}
    if status.returncode == 0:
        PAGE.write_text(render(answered))
    return status.returncode


if __name__ == "__main__":
    sys.exit(main())
