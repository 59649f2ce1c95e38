"""Answers of a server that has something to show."""

from lambent.core.spec import DeploymentSpec, Kind, Temperature
from lambent.wire.api import (
    DeploymentDetail,
    DeploymentView,
    RevisionView,
    UsageLine,
    UsageView,
    WakeView,
)
from lambent.wire.runs import RunView

WAKE = WakeView(
    at_unix_ms=1_800_000_000_000,
    temperature=Temperature.PRIMED,
    total_ms=3.21,
    parts_ms={"fork": 2.1, "restore": 1.1},
)
HELLO = DeploymentView(
    name="hello",
    kind=Kind.FUNCTION,
    revision="sha256:0123456789abcdef0123",
    number=2,
    url="http://127.0.0.1:8700/invoke/hello",
    temperature=Temperature.HOT,
    workers=1,
    queued=0,
    pss_bytes=5 * 2**20,
    private_bytes=2**20,
    shared_bytes=4 * 2**20,
    created_unix_ms=1_800_000_000_000,
    last_wake=WAKE,
)
DIGITS = DeploymentView(
    name="digits",
    kind=Kind.MODEL,
    revision="sha256:fedcba9876543210",
    number=1,
    url="http://127.0.0.1:8700/invoke/digits",
    temperature=Temperature.COLD,
    workers=0,
    queued=12,
    pss_bytes=0,
    private_bytes=0,
    created_unix_ms=1_800_000_000_000,
    needs_model=True,
)
DETAIL = DeploymentDetail(
    deployment=HELLO,
    revisions=tuple(
        RevisionView(
            revision=HELLO.revision,
            number=number,
            created_unix_ms=1_800_000_000_000,
            active=number == 2,
            spec=DeploymentSpec(
                name="hello", kind=Kind.FUNCTION, entrypoint="hello:handler", env={"MODE": "1"}
            ),
            code_digest="sha256:1",
            model_digest="",
            model_number=None,
        )
        for number in (2, 1)
    ),
    wakes=(WAKE,),
)


def run_view(state: str, **changes: object) -> RunView:
    """A run of `digits-fit`."""
    fields: dict[str, object] = {
        "run": "run-1",
        "job": "digits-fit",
        "for_deployment": "digits",
        "state": state,
        "reason": "",
        "progress": 0.0,
        "message": "",
        "metrics": {},
        "params": {},
        "model_number": None,
        "created_unix_ms": 1_800_000_000_000,
        "ended_unix_ms": None,
        **changes,
    }
    return RunView(**fields)  # type: ignore[arg-type]  # the names above are the fields


def _line(deployment: str, invocations: int) -> UsageLine:
    return UsageLine(
        deployment=deployment,
        invocations=invocations,
        failed=1,
        cold_starts=2,
        billed_ms=invocations * 10,
        gb_s=invocations * 0.005,
        cpu_s=1.5,
        cost_usd={"azure": 2.0, "aws-lambda": invocations * 0.0000002},
    )


USAGE = UsageView(
    since_unix_ms=1_800_000_000_000,
    until_unix_ms=1_800_003_600_000,
    lines=(_line("digits", 1000), _line("hello", 234)),
    total=_line("", 1234),
    torn_records=0,
    plans={"azure": "Azure Functions, consumption", "aws-lambda": "AWS Lambda, x86, us-east-1"},
)
