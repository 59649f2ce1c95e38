"""One tree of errors: the caller's fault, the user code's fault, ours.

Every class has a stable `code`, an HTTP `status` and says whether trying again can help. A message says what
happened, with the value, and what to do.
"""

from __future__ import annotations

from typing import ClassVar


class LambentError(Exception):
    """Root of every error that Lambent raises on purpose."""

    code: ClassVar[str] = "internal"
    status: ClassVar[int] = 500
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after_s = retry_after_s


class Cancelled(BaseException):
    """Raised in user code that runs on although nobody waits for its invocation any more.

    Like `KeyboardInterrupt` it can come between any two steps, and like it, it is no `Exception`: code that
    cleans up should do so in `finally`. Async code sees `asyncio.CancelledError` in its place.
    """


class CallerFault(LambentError):
    """The request cannot be served as it was made."""

    code = "invalid_request"
    status = 400


class InvalidSpec(CallerFault):
    """A setting is unknown, has the wrong type or is out of range."""

    code = "invalid_spec"
    status = 422


class Unauthenticated(CallerFault):
    """No key, or one that nobody knows."""

    code = "unauthenticated"
    status = 401


class Forbidden(CallerFault):
    """The key is known, its role does not allow this."""

    code = "forbidden"
    status = 403


class NotFound(CallerFault):
    """No such deployment, revision, model, run or path."""

    code = "not_found"
    status = 404


class Conflict(CallerFault):
    """The thing changed, or is being changed, under the caller."""

    code = "conflict"
    status = 409


class PayloadTooLarge(CallerFault):
    """The body is over the limit."""

    code = "payload_too_large"
    status = 413


class UserFault(LambentError):
    """The user's code failed; the platform did its part."""

    code = "user_code_failed"
    status = 500


class LoadFailed(UserFault):
    """The code or the model could not be loaded.

    `kind` is the exception's class as the user knows it, `trace` the lines of its stack (may be empty).
    """

    code = "load_failed"
    status = 502

    def __init__(self, message: str, *, kind: str = "", trace: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.kind = kind
        self.trace = trace


class CallFailed(UserFault):
    """An invocation that user code asked for with `lambent.call` has failed.

    `deployment` is who was asked, `kind` the error's type as its own code, or the platform, names it.
    """

    def __init__(self, deployment: str, kind: str, message: str) -> None:
        super().__init__(f"{deployment}: {kind}: {message}")
        self.deployment = deployment
        self.kind = kind


class TrainingFailed(UserFault):
    """The run that should have made the model ended without one."""

    code = "training_failed"
    status = 502


class PlatformFault(LambentError):
    """We could not do what we promise."""

    code = "unavailable"
    status = 503
    retryable = True


class QueueFull(PlatformFault):
    """The deployment's queue is at its maximum: the invocation was shed."""

    code = "queue_full"
    status = 429


class NothingReserved(QueueFull):
    """Nothing of the deployment may run: none of its calls are reserved. Waiting does not help."""

    code = "nothing_reserved"


class ProjectQueueFull(QueueFull):
    """The deployments of a project have as many invocations waiting as a project may have."""

    code = "project_queue_full"


class BodiesFull(QueueFull):
    """The bodies of a project's invocations take as much memory as is left for it."""

    code = "project_bodies_full"


class ServerFull(PlatformFault):
    """The bodies of all invocations take as much memory as they may."""

    code = "server_full"


class DeadlinePassed(PlatformFault):
    """The time that the caller had given was over before the invocation had begun, or had been answered."""

    code = "deadline_passed"
    status = 504


class TooLate(PlatformFault):
    """It could not have been answered within the deployment's latency target."""

    code = "too_late"
    status = 503
    retryable = True


class HoldExpired(PlatformFault):
    """No slot became free before the invocation's deadline."""

    code = "hold_expired"
    status = 504


class StillLoading(HoldExpired):
    """The same, where not one worker has begun: the code or the model is still being loaded."""


class Draining(PlatformFault):
    """The server is stopping and accepts nothing new."""

    code = "draining"
    status = 503


class StorageFull(PlatformFault):
    """The disk has no room left; nothing was changed."""

    code = "storage_full"
    status = 507


class StorageBroken(PlatformFault):
    """What is stored cannot be used: it is damaged, or a newer Lambent wrote it. Nothing was changed."""

    code = "storage_broken"
    status = 500
    retryable = False
