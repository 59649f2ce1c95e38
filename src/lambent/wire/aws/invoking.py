"""What Invoke answers beside a function's result: errors of functions, and the log tail."""

from __future__ import annotations

import base64
from typing import Final

import msgspec

from lambent.core.invocation import FunctionError, Outcome, Status
from lambent.core.spec import MIB

TAIL_BYTES_MAX: Final = 4096


def error_payload(request_id: str, status: Status, error: FunctionError) -> bytes:
    """The body of an answer with `X-Amz-Function-Error`.

    The death of a process has neither request id nor stack, but names the request in its message.
    """
    if status is Status.FAILED:
        return msgspec.json.encode(error)
    message = error.error_message
    if not message.startswith("RequestId:"):
        message = f"RequestId: {request_id} Error: {message}"
    return msgspec.json.encode({"errorType": error.error_type, "errorMessage": message})


def response_too_large(limit_bytes: int) -> FunctionError:
    """The result is over the limit of what AWS's clients take."""
    text = f"Response payload size exceeded maximum allowed payload size ({limit_bytes} bytes)."
    return FunctionError(text, "Function.ResponseSizeTooLarge")


def log_result(request_id: str, version: str, outcome: Outcome) -> str:
    """`X-Amz-Log-Result`: the last 4 KiB of what was printed, between AWS's own lines, in base64."""
    timing = outcome.timing
    report = (
        f"REPORT RequestId: {request_id}\tDuration: {timing.run_ms:.2f} ms\t"
        f"Billed Duration: {outcome.billed_ms} ms\tMemory Size: {outcome.memory_bytes // MIB} MB\t"
        f"Max Memory Used: {outcome.memory_used_bytes // MIB} MB\t"
    )
    if timing.wake_ms:
        report += f"Init Duration: {sum(timing.wake_ms.values()):.2f} ms\t"
    printed = outcome.log_tail
    if printed and not printed.endswith(b"\n"):
        printed += b"\n"
    start = f"START RequestId: {request_id} Version: {version}\n".encode()
    end = f"END RequestId: {request_id}\n{report}\n".encode()
    return base64.b64encode((start + printed + end)[-TAIL_BYTES_MAX:]).decode()
