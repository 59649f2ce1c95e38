"""What the server finds when it looks at itself: one line for each thing that can be wrong."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

import psutil

from lambent.core.errors import LambentError
from lambent.core.policies.base import PolicyName
from lambent.core.spec import MIB
from lambent.pool.pool import Pool
from lambent.pool.routes import Route, Routes
from lambent.pool.thermostat import Standing
from lambent.wire.api import CheckState, CheckView
from lambent.wire.process import NOT_FORKED

OK, DEGRADED, FAILED = CheckState

# Less room than the first is worth a word, less than the second refuses the next deploy.
DISK_BYTES_LOW: Final = 2048 * MIB
DISK_BYTES_MIN: Final = 256 * MIB
MEMORY_BYTES_LOW: Final = 512 * MIB


class Doctor:
    """Looks at the disk, the memory, the store, the engine and the deployments.

    `ping_store` reads something. `troubles` are questions by name: each answers with a sentence, or with
    nothing where all is well. Both block. `standing` says how the budget of memory stands, `weighed_by` what
    divides the cores between projects; empty where nothing does.
    """

    def __init__(
        self,
        *,
        state_dir: Path,
        pool: Pool,
        routes: Routes,
        ping_store: Callable[[], object],
        troubles: Mapping[str, Callable[[], str]],
        standing: Callable[[], Standing],
        weighed_by: str = "",
    ) -> None:
        self._state_dir: Final = state_dir
        self._pool: Final = pool
        self._routes: Final = routes
        self._ping_store: Final = ping_store
        self._troubles: Final = troubles
        self._standing: Final = standing
        self._weighed_by: Final = weighed_by

    async def examine(self, project: str) -> tuple[CheckView, ...]:
        """The findings, those of the project's deployments last."""
        house = await asyncio.to_thread(lambda: tuple(self._house()))
        routes = (route for route in self._routes.all() if route.project == project)
        deployments = [self._deployment(route) for route in sorted(routes, key=lambda one: one.name)]
        return (*house, await self._engine(), self._budget(), self._cores(), *deployments)

    def _house(self) -> Iterator[CheckView]:
        yield self._store()
        free = shutil.disk_usage(self._state_dir).free
        state = FAILED if free < DISK_BYTES_MIN else DEGRADED if free < DISK_BYTES_LOW else OK
        yield CheckView("disk", state, f"{free // MIB} MiB free where {self._state_dir} is")
        memory = psutil.virtual_memory()
        state = DEGRADED if memory.available < MEMORY_BYTES_LOW else OK
        yield CheckView("memory", state, f"{memory.available // MIB} of {memory.total // MIB} MiB available")
        for name, ask in self._troubles.items():
            trouble = ask()
            yield CheckView(name, DEGRADED if trouble else OK, trouble or "nothing is lost")

    def _store(self) -> CheckView:
        try:
            self._ping_store()
        except LambentError as error:
            return CheckView("store", FAILED, error.message)
        return CheckView("store", OK, "reads")

    async def _engine(self) -> CheckView:
        processes = await asyncio.to_thread(self._pool.engine.census)
        workers = sum(facts.role == "worker" for facts in processes)
        templates = len(processes) - workers
        used_bytes = sum(facts.pss_bytes for facts in processes)
        return CheckView(
            "engine", OK, f"{templates} templates and {workers} workers in {used_bytes // MIB} MiB"
        )

    def _cores(self) -> CheckView:
        if self._weighed_by:
            return CheckView("cores", OK, f"busy projects have equal parts of them, by {self._weighed_by}")
        projects = len({route.project for route in self._routes.all()})
        return CheckView(
            "cores",
            DEGRADED if projects > 1 else OK,
            "each busy worker has the same part of them, whoever it belongs to: the server has no "
            "autogroup (see sched(7)), and no right to take niceness back (CAP_SYS_NICE)",
        )

    def _budget(self) -> CheckView:
        now = self._standing()
        detail = f"{now.used_bytes // MIB} of {now.budget_bytes // MIB} MiB used, keep policy {now.policy}"
        if now.policy is PolicyName.ECONOMIC:
            detail += (
                f", a GiB is worth {now.price:.3g} ms of waking a second"
                if now.price
                else ", no one lacks memory"
            )
        if now.over_bytes:
            lacks = f"what is pinned and in use alone needs {-(-now.over_bytes // MIB)} MiB more"
        elif now.largest_bytes > now.budget_bytes:
            lacks = f"the largest deployment alone needs {-(-now.largest_bytes // MIB)} MiB"
        else:
            return CheckView("budget", OK, detail)
        return CheckView("budget", DEGRADED, f"{detail}; {lacks}: raise --memory-budget")

    def _deployment(self, route: Route) -> CheckView:
        name = f"deployment {route.name}"
        crew = self._pool.crew(route.plan.revision)
        if crew is not None and crew.last_error:
            return CheckView(name, FAILED, f"cannot be woken: {crew.last_error}")
        unsafe = self._pool.engine.safety(route.plan.revision).unsafe
        if unsafe and NOT_FORKED not in unsafe:
            why = "; ".join((*route.plan.remarks, *unsafe))
            return CheckView(name, DEGRADED, f"cannot be primed: {why}")
        if route.needs_model:
            return CheckView(name, OK, f"has no model yet; {route.spec.train} makes one when it is invoked")
        return CheckView(name, OK, "ready" if route.invocable else "a job")
