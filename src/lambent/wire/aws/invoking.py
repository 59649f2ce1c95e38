"""What Invoke answers beside a function's result: errors of functions, and the log tail."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import Final

import msgspec

from lambent.core.invocation import FunctionError, Outcome, Status
from lambent.core.spec import MIB
from lambent.wire.typed import from_json

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


def without_request(error: FunctionError) -> bytes:
    """The body of such an answer where it was not the function that failed."""
    return msgspec.json.encode({"errorMessage": error.error_message, "errorType": error.error_type})


def as_reported(outcome: Outcome) -> bytes:
    """A failure in the very bytes in which it was reported; empty where there are none that can be given on.

    Runtimes add members of their own, such as Node's `trace`, which their users know.
    """
    if outcome.status is not Status.FAILED:
        return b""
    try:
        from_json(outcome.body, dict[str, msgspec.Raw])
    except msgspec.DecodeError:
        return b""
    return outcome.body


def response_too_large(limit_bytes: int) -> FunctionError:
    """The result is over the limit of what AWS's clients take."""
    text = f"Response payload size exceeded maximum allowed payload size ({limit_bytes} bytes)."
    return FunctionError(text, "Function.ResponseSizeTooLarge")


def start_line(request_id: str, version: str) -> str:
    """What is in the log before a call."""
    return f"START RequestId: {request_id} Version: {version}"


def end_lines(request_id: str, outcome: Outcome, *, now_unix_ms: int) -> list[str]:
    """What is in the log after it: how it ended where that was odd, and what it took."""
    lines: list[str] = []
    error = outcome.error
    if error is not None and outcome.status is Status.TIMED_OUT:
        now = datetime.fromtimestamp(now_unix_ms / 1000, UTC).isoformat(timespec="milliseconds")
        said = error.error_message.rpartition("Error: ")[2]
        lines += [f"{now.removesuffix('+00:00')}Z {request_id} {said}", ""]
    elif error is not None and outcome.status is Status.EXITED and not error.request_id:
        # Where the process had the time to say so, the same two lines are in what it printed.
        lines += [error.error_message, error.error_type]
    return [*lines, f"END RequestId: {request_id}", _report(request_id, outcome)]


def log_result(request_id: str, version: str, outcome: Outcome, *, now_unix_ms: int) -> str:
    """`X-Amz-Log-Result`: the last 4 KiB of what was printed, between AWS's own lines, in base64."""
    printed = outcome.log_tail
    if printed and not printed.endswith(b"\n"):
        printed += b"\n"
    end = "".join(f"{line}\n" for line in end_lines(request_id, outcome, now_unix_ms=now_unix_ms))
    whole = f"{start_line(request_id, version)}\n".encode() + printed + end.encode()
    return base64.b64encode(whole[-TAIL_BYTES_MAX:]).decode()


def log_of_failed_load(request_id: str, version: str, error: FunctionError) -> str:
    """The same for code that could not be loaded, which ran for no time."""
    said = f"[ERROR] {error.error_type}: {error.error_message}\n"
    trace = "".join(f"{line.rstrip()}\n" for line in error.stack_trace)
    lines = f"{start_line(request_id, version)}\n{said}{trace}END RequestId: {request_id}\n"
    return base64.b64encode(lines.encode()[-TAIL_BYTES_MAX:]).decode()


def _report(request_id: str, outcome: Outcome) -> str:
    timing = outcome.timing
    report = (
        f"REPORT RequestId: {request_id}\tDuration: {timing.run_ms:.2f} ms\t"
        f"Billed Duration: {outcome.billed_ms} ms\tMemory Size: {outcome.memory_bytes // MIB} MB\t"
        f"Max Memory Used: {outcome.memory_used_bytes // MIB} MB\t"
    )
    if timing.wake_ms:
        report += f"Init Duration: {sum(timing.wake_ms.values()):.2f} ms\t"
    if outcome.status is Status.TIMED_OUT:
        report += "Status: timeout\t"
    elif outcome.status is Status.EXITED and outcome.error is not None:
        report += f"Status: error\tError Type: {outcome.error.error_type}\t"
    return report
