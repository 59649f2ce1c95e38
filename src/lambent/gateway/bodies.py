"""How much memory the bodies of requests take while they are read, wait and run: for all, and by project."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

from lambent.clock import Clock
from lambent.core.admission import Bound, Verdict, offer_bytes, retry_after_s, smoothed_run_s
from lambent.core.errors import BodiesFull, PayloadTooLarge, ServerFull
from lambent.gateway.queues import Refusals
from lambent.gateway.trimming import FLOOD_BYTES

SMALL_BYTES: Final = 4096  # to count a body costs more than one of this size is worth
ANYBODY: Final = ""  # whose a body is until its sender has proved who it is


class _Share:
    """What one project holds, and for how long it holds it."""

    __slots__ = ("held_bytes", "mean_s", "moved_s")

    def __init__(self, now_s: float) -> None:
        self.held_bytes = 0
        self.mean_s = 0.0
        self.moved_s = now_s  # when something was last let go of, or the first was taken


class Bodies:
    """The room for bodies. What announces its length has its room before it is read, or is refused."""

    def __init__(
        self,
        clock: Clock,
        *,
        bytes_max: int,
        uncounted_bytes: int = 0,
        after_flood: Callable[[], None] | None = None,
    ) -> None:
        """Bodies of up to `uncounted_bytes` are not counted: connections bound them well enough.

        `after_flood` is called when nothing is held any more after much was.
        """
        self.uncounted_bytes: Final = uncounted_bytes
        self._clock: Final = clock
        self.bytes_max: Final = bytes_max
        self._shares: Final[dict[str, _Share]] = {}
        self._refusals: Final = Refusals(clock)
        self._after_flood: Final = after_flood
        self._flooded = False
        self.held_bytes = 0

    def hold(self, project: str) -> Hold:
        """Room for one request, given back at the end of the block."""
        return Hold(self, project)

    async def pause(self, project: str) -> None:
        """Return when one more refusal may be said."""
        await self._refusals.pause(project)

    def take(self, project: str, size_bytes: int) -> None:
        """Give room. Raises `BodiesFull`, `ServerFull`, and `PayloadTooLarge` for what can never have it."""
        share = self._shares.get(project)
        held_bytes = share.held_bytes if share else 0
        offered = offer_bytes(
            size_bytes, held_bytes=held_bytes, all_bytes=self.held_bytes, bytes_max=self.bytes_max
        )
        if offered.verdict is Verdict.SHED:
            raise self._refusal(project, size_bytes, offered.bound)
        if share is None:
            share = self._shares[project] = _Share(self._clock.now_s())
        share.held_bytes += size_bytes
        self.held_bytes += size_bytes
        if self.held_bytes >= FLOOD_BYTES:
            self._flooded = True

    def give_back(self, project: str, size_bytes: int, *, since_s: float) -> None:
        """It is not needed any more, after having been held since `since_s`."""
        share, now_s = self._shares[project], self._clock.now_s()
        share.held_bytes -= size_bytes
        share.mean_s = smoothed_run_s(share.mean_s, now_s - since_s)
        share.moved_s = now_s
        self.held_bytes -= size_bytes
        if not share.held_bytes:
            del self._shares[project]
        if self._flooded and not self.held_bytes:
            self._flooded = False
            if self._after_flood is not None:
                self._after_flood()

    def now_s(self) -> float:
        """Monotonic seconds."""
        return self._clock.now_s()

    def _refusal(self, project: str, size_bytes: int, bound: Bound | None) -> Exception:
        if size_bytes > self.bytes_max:
            return PayloadTooLarge(
                f"the body is over {self.bytes_max} bytes, which all bodies together may take "
                "(LAMBENT_BODIES_BYTES_MAX)"
            )
        if bound is Bound.SERVER:
            return ServerFull(
                f"the bodies of all requests take {self.held_bytes} of {self.bytes_max} bytes "
                f"(LAMBENT_BODIES_BYTES_MAX); {size_bytes} more have no room",
                retry_after_s=self._room_in_s(tuple(self._shares.values()), size_bytes),
            )
        share = self._shares[project]
        return BodiesFull(
            f"the bodies of this project's requests take {share.held_bytes} bytes, and a project may take as "
            f"much as is free: {self.bytes_max - self.held_bytes} of {self.bytes_max} "
            "(LAMBENT_BODIES_BYTES_MAX)",
            retry_after_s=self._room_in_s((share,), size_bytes),
        )

    def _room_in_s(self, shares: tuple[_Share, ...], size_bytes: int) -> float:
        """Seconds until what they hold is given back: by Little's law, at what they hold over how long."""
        now_s = self._clock.now_s()
        held_s = [(one.held_bytes, max(one.mean_s, now_s - one.moved_s)) for one in shares]
        per_s = sum(held / mean_s for held, mean_s in held_s if mean_s > 0)
        return retry_after_s(queued=min(size_bytes, sum(held for held, _ in held_s)), per_s=per_s)


class Hold:
    """The room of one request. It may grow, and it may pass to the project that is found to have sent it."""

    __slots__ = ("_bodies", "_bytes", "_project", "_since_s")

    def __init__(self, bodies: Bodies, project: str) -> None:
        self._bodies: Final = bodies
        self._project = project
        self._bytes = 0
        self._since_s = 0.0

    @property
    def project(self) -> str:
        """Whose it is."""
        return self._project

    def grow_to(self, size_bytes: int) -> None:
        """Have room for so many bytes, unless it is there. Raises what `Bodies.take` raises."""
        if size_bytes > self._bytes and size_bytes > self._bodies.uncounted_bytes:
            self._bodies.take(self._project, size_bytes - self._bytes)
            if not self._bytes:
                self._since_s = self._bodies.now_s()
            self._bytes = size_bytes

    def pass_to(self, project: str) -> None:
        """It is this project's from now on. Raises what `Bodies.take` raises."""
        size_bytes = self._bytes
        if size_bytes:
            self._give_back()
        self._project = project
        if size_bytes:
            self.grow_to(size_bytes)

    def _give_back(self) -> None:
        if self._bytes:
            self._bodies.give_back(self._project, self._bytes, since_s=self._since_s)
            self._bytes = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._give_back()
        if isinstance(error, ServerFull | BodiesFull):
            await self._bodies.pause(self._project)
