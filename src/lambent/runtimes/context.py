"""The context that a handler gets, and the environment variables that go with it, as on AWS Lambda."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from lambent.clock import Clock
from lambent.core.invocation import PATH_BESIDE, Asked
from lambent.core.spec import MIB
from lambent.runtimes.faults import Fault
from lambent.wire.frames import Call
from lambent.wire.process import RevisionPlan
from lambent.wire.typed import from_json

REGION: Final = "us-east-1"
SHOWN: Final = (
    "aws_request_id", "log_group_name", "log_stream_name", "function_name", "memory_limit_in_mb",
    "function_version", "invoked_function_arn", "client_context", "identity",
)  # fmt: skip
LOG_STREAM: Final = "AWS_LAMBDA_LOG_STREAM_NAME"
LATEST: Final = "$LATEST"


class Client(msgspec.Struct, frozen=True):
    """The mobile application that called, where one did."""

    installation_id: str | None = None
    app_title: str | None = None
    app_version_name: str | None = None
    app_version_code: str | None = None
    app_package_name: str | None = None


class ClientContext(msgspec.Struct, frozen=True):
    """What the caller sent beside the event."""

    custom: object = None
    env: object = None
    client: Client | None = None


class Identity(msgspec.Struct, frozen=True):
    """The caller's Cognito identity; there is none here."""

    cognito_identity_id: str | None = None
    cognito_identity_pool_id: str | None = None


class LambdaContext:
    """What a handler can know of its invocation. Attributes and their types are AWS Lambda's."""

    tenant_id: str | None = None  # nobody says one here

    def __init__(self, plan: RevisionPlan, call: Call, clock: Clock) -> None:
        """Raises `Fault` where the client context is not JSON of its shape."""
        self.aws_request_id = call.invocation_id
        self.function_name = plan.deployment
        called = call.called
        self.function_version = (called.version if called else "") or _version(plan)
        self.invoked_function_arn = called.arn if called else plan.function_arn
        self.memory_limit_in_mb = _memory_mb(plan)
        self.log_group_name = plan.log_group
        self.client_context = _client_context(call.client_context)
        self.identity = Identity()
        self._log_stream = plan.log_stream
        self._clock = clock
        self._deadline_s = clock.now_s() + call.remaining_ms / 1e3

    @property
    def cloud_event(self) -> Mapping[str, str] | None:
        """The attributes of the CloudEvent whose data the event is; `None` where it came without one."""
        custom = self.client_context.custom if self.client_context else None
        if not isinstance(custom, dict) or "ce-specversion" not in custom:
            return None
        told = {str(name): str(value) for name, value in custom.items()}
        return {name[3:]: value for name, value in told.items() if name.startswith("ce-")}

    @property
    def log_stream_name(self) -> str:
        """What this worker prints is called so; its template did not know it yet."""
        return os.environ.get(LOG_STREAM) or self._log_stream

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds until the invocation times out, 0 when they are over."""
        return max(0, int((self._deadline_s - self._clock.now_s()) * 1e3))

    def log(self, message: object) -> None:
        """Print to the log as it is, without a line's end."""
        sys.stdout.write(str(message))

    def __repr__(self) -> str:
        shown = (f"{name}={getattr(self, name)!r}" for name in SHOWN)
        return f"LambdaContext([{','.join(shown)}])"


def environment(plan: RevisionPlan) -> Mapping[str, str]:
    """The variables that Lambda sets, then the user's own, which win."""
    return {
        "AWS_DEFAULT_REGION": REGION,
        "AWS_EXECUTION_ENV": f"AWS_Lambda_python{sys.version_info[0]}.{sys.version_info[1]}",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": _memory_mb(plan),
        "AWS_LAMBDA_FUNCTION_NAME": plan.deployment,
        "AWS_LAMBDA_FUNCTION_VERSION": _version(plan),
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_LAMBDA_LOG_GROUP_NAME": plan.log_group,
        LOG_STREAM: plan.log_stream,
        "AWS_REGION": REGION,
        "LAMBDA_RUNTIME_DIR": str(Path(__file__).parent),
        "LAMBDA_TASK_ROOT": plan.code_dir,
        "TZ": ":UTC",
        "_HANDLER": plan.entrypoint,
        **plan.env,
    }


def _version(plan: RevisionPlan) -> str:
    return plan.version or (str(plan.number) if plan.number else LATEST)


def _memory_mb(plan: RevisionPlan) -> str:
    return str(plan.memory_bytes // MIB)


def sent_beside(call: Call) -> Mapping[str, str]:
    """What a door put beside the body as `custom`: headers that a protocol has for user code."""
    if not call.client_context:
        return {}
    context = _client_context(call.client_context)
    custom = context.custom if context else None
    return {str(name): str(value) for name, value in custom.items()} if isinstance(custom, dict) else {}


def asked_without_http(call: Call) -> Asked:
    """As by the durable queue: a POST to its root, unless a door has said another path."""
    beside = dict(sent_beside(call))
    path = beside.pop(PATH_BESIDE, "/")
    return Asked("POST", path, "", "", (("content-type", call.content_type), *beside.items()))


def _client_context(text: str) -> ClientContext | None:
    if not text:
        return None
    try:
        return from_json(text, ClientContext)
    except (ValueError, RecursionError) as error:
        message = f"Unable to parse Client Context JSON: {error}"
        raise Fault("Runtime.LambdaContextUnmarshalError", message) from error
