"""Errors of user code in AWS Lambda's shape, whatever the user's exception does to defend itself."""

from __future__ import annotations

import os
import signal
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from lambent.core.invocation import FunctionError

MESSAGE_CHARS_MAX: Final = 8 * 1024
TRACE_FRAMES_MAX: Final = 64
TRACE_LINE_CHARS_MAX: Final = 1024
SIGNALLED: Final = 128  # what a shell adds to a signal's number to make an exit status of it

# The frames that lead from the process's first line to the user's own are of no use to the user.
OURS: Final = (str(Path(__file__).parent.parent), str(Path(os.__file__).parent / "asyncio"))
IMPORT_SYSTEM: Final = ("<frozen importlib", "importlib/__init__.py")


class Fault(Exception):
    """An error that Lambda has a name for, such as `Runtime.ImportModuleError`.

    `status` is HTTP's where the user code's own protocol has one for it, 0 elsewhere.
    """

    def __init__(self, error_type: str, message: str, trace: Sequence[str] = (), *, status: int = 0) -> None:
        super().__init__(message)
        self.status: Final = status
        self.error_type: Final = error_type
        self.trace: Final = tuple(trace)


class ProgramEnded(SystemExit):
    """A program that ran beside the worker has ended: `status` is negative for a signal."""

    def __init__(self, status: int) -> None:
        super().__init__(status if status >= 0 else SIGNALLED - status)
        self.status: Final = status


class Reported(Exception):
    """An error that a program has reported of its invocation. `body` is JSON, as its caller gets it."""

    def __init__(self, body: bytes) -> None:
        super().__init__(body)
        self.body: Final = body


def function_error(error: BaseException, request_id: str = "") -> FunctionError:
    """`error` as the caller sees it: bounded in size, without our own frames. Never raises an `Exception`."""
    if isinstance(error, Fault):
        return FunctionError(_cut(str(error)), error.error_type, request_id, error.trace)
    if isinstance(error, ProgramEnded):
        return exit_error(error.status, request_id)
    if isinstance(error, SystemExit):
        return exit_error(exit_code(error), request_id)
    return FunctionError(_message(error), _name(error), request_id, _trace(error))


def exit_error(code: int, request_id: str = "") -> FunctionError:
    """What Lambda says of a function that ends its own process. `code` is negative for a signal."""
    how = f"with error: exit status {code}" if code else "without providing a reason"
    if code < 0:
        name = signal.Signals(-code).name if -code in {*signal.Signals} else f"{-code}"
        how = f"with error: signal {-code} ({name})"
    prefix = f"RequestId: {request_id} Error: " if request_id else ""
    return FunctionError(f"{prefix}Runtime exited {how}", "Runtime.ExitError", request_id)


def exit_code(error: SystemExit) -> int:
    """The status that the interpreter would end with: 0 for none, 1 for a message."""
    if error.code is None:
        return 0
    return error.code & 0xFF if isinstance(error.code, int) else 1


def as_text(error: FunctionError) -> str:
    """The error as it goes to the log."""
    head = f"[ERROR] {error.error_type}: {error.error_message}\n"
    trace = "".join(f"{line.rstrip()}\n" for line in error.stack_trace)
    return f"{head}Traceback (most recent call last):\n{trace}" if trace else head


def _name(error: BaseException) -> str:
    return str(type(error).__name__)


def _message(error: BaseException) -> str:
    try:
        return _cut(str(error))
    except BaseException as second:  # noqa: BLE001 - the user's __str__ may raise anything
        return f"its message cannot be shown: __str__ raised {_name(second)}"


def _cut(text: str) -> str:
    text = text.encode("utf-8", "backslashreplace").decode()
    if len(text) <= MESSAGE_CHARS_MAX:
        return text
    return f"{text[:MESSAGE_CHARS_MAX]} … ({len(text)} characters)"


def _trace(error: BaseException) -> tuple[str, ...]:
    """Lambda's `stackTrace`, one entry a frame. The middle of an endless recursion is left out."""
    try:
        frames = _users_frames(error)
        # As bare tuples they are written without carets, as on Lambda.
        lines = traceback.format_list(
            [(each.filename, each.lineno or 0, each.name, each.line) for each in frames]
        )
    except Exception:  # noqa: BLE001 - a broken source file or loader must not hide the error itself
        return ()
    lines = [line[:TRACE_LINE_CHARS_MAX] for line in lines]
    if (left_out := len(lines) - TRACE_FRAMES_MAX) > 0:
        half = TRACE_FRAMES_MAX // 2
        lines = [*lines[:half], f"  … {left_out} more frames …\n", *lines[-half:]]
    return tuple(line.encode("utf-8", "backslashreplace").decode() for line in lines)


def _users_frames(error: BaseException) -> list[traceback.FrameSummary]:
    frames = traceback.extract_tb(error.__traceback__)
    if users := list(_after_ours(frames)):
        return users
    # An error of ours says itself what is wrong; where another comes out of our code, its place is a clue.
    return [] if type(error).__module__.startswith("lambent.") else list(frames[-1:])


def _after_ours(frames: Sequence[traceback.FrameSummary]) -> Iterator[traceback.FrameSummary]:
    leading = True
    for frame in frames:
        leading = leading and (frame.filename.startswith(OURS) or _imports(frame.filename))
        if not leading:
            yield frame


def _imports(filename: str) -> bool:
    return filename.startswith(IMPORT_SYSTEM[0]) or filename.endswith(IMPORT_SYSTEM[1])
