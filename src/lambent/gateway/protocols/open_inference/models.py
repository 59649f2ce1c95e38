"""What this protocol tells of deployments: which there are, what they take and give, how they have run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

import msgspec

from lambent.core.errors import CallerFault, NotFound
from lambent.core.routing import OWN, pinned
from lambent.core.spec import Interface, Kind, Temperature
from lambent.core.tensors import ANY_SIZE, BYTES, Tensor
from lambent.pool.pool import Pool
from lambent.pool.routes import Route, Routes
from lambent.wire.process import Runtime

# Triton's names for what runs a model's file, where it has one.
PLATFORMS: Final[Mapping[str, str]] = {"onnx": "onnxruntime_onnx", "keras": "keras", "torch": "torch_export"}
BACKENDS: Final[Mapping[str, str]] = {"onnx": "onnxruntime", "keras": "keras", "torch": "pytorch"}
PYTHON: Final = "python"
TAKING_TENSORS: Final = frozenset({Runtime.HANDLER, Runtime.MODEL})
READY: Final = "READY"
NS: Final = 1_000_000_000
UNLOAD_S: Final = 2.0  # how long idle workers have to end


class Found(msgspec.Struct, frozen=True):
    """Who answers, and under which alias it is asked."""

    route: Route
    alias: str


class Runs(msgspec.Struct, frozen=True):
    """How many invocations ended well or not, and the seconds that each kind ran."""

    succeeded: int = 0
    succeeded_s: float = 0.0
    failed: int = 0
    failed_s: float = 0.0


class Models:
    """Finds and describes what takes tensors. `runs` tells of one since the server's start."""

    def __init__(self, routes: Routes, pool: Pool, runs: Callable[[str, str], Runs]) -> None:
        self._routes: Final = routes
        self._pool: Final = pool
        self._runs: Final = runs

    def find(self, project: str, name: str, version: str = "", *, alias: str = OWN) -> Found:
        """A deployment, in a version where one is named: a live revision's number, or an alias.

        Raises `NotFound` in the words that Triton's clients look for.
        """
        route = self._routes.get(project, name)
        if route is None or not route.invocable:
            raise NotFound(f"Request for unknown model: '{name}' is not found")
        if not version:
            if alias == OWN:
                return Found(route, OWN)
            return Found(self._routes.target(project, name, alias=alias, key=""), alias)
        if (found := self._routes.numbered(route, version)) is not None:
            is_own = found is route and not self._split(route)
            return Found(found, OWN if is_own else pinned(found.plan.revision))
        if version != OWN and self._routes.split(project, name, version) is not None:
            return Found(self._routes.target(project, name, alias=version, key=""), version)
        raise NotFound(f"Request for unknown model: '{name}' version {version} is not found")

    def all(self, project: str) -> Iterator[Route]:
        """Whatever takes tensors, by name."""
        there = (one for one in self._routes.all() if one.project == project and takes_tensors(one))
        yield from sorted(there, key=lambda route: route.name)

    def versions(self, route: Route) -> Sequence[str]:
        """The numbers of all that is live of a deployment."""
        return [str(number) for number in sorted({one.plan.number for one in self._live(route)})]

    def index(self, project: str) -> Sequence[Mapping[str, str]]:
        """The repository: a model that is cold is ready, too, since whoever asks wakes it."""
        return [
            {
                "name": route.name,
                "version": str(route.plan.number),
                "state": READY,
                "reason": "" if not route.needs_model else "its first inference trains it",
            }
            for route in self.all(project)
        ]

    def statistics(self, found: Found) -> Mapping[str, object]:
        """Counts and times of a deployment, at every door, in nanoseconds. What is not known is left out."""
        runs = self._runs(found.route.project, found.route.name)
        succeeded = _times(runs.succeeded, runs.succeeded_s)
        return {
            "name": found.route.name,
            "version": str(found.route.plan.number),
            "inference_count": runs.succeeded,
            "execution_count": runs.succeeded,
            "inference_stats": {
                "success": succeeded,
                "fail": _times(runs.failed, runs.failed_s),
                "compute_infer": succeeded,
            },
            "batch_stats": [],
            "memory_usage": [],
        }

    async def load(self, found: Found) -> None:
        """Load it into its template. Raises `LoadFailed`, and `CallerFault` where it has no model yet."""
        route = found.route
        if route.needs_model:
            raise CallerFault(
                f"failed to load '{route.name}', it has no model yet: its first inference trains it"
            )
        await self._pool.engine.prime(route.plan)

    async def unload(self, found: Found) -> None:
        """Let it cool down. One in use is not waited for, as by Triton: its workers end with their calls."""
        revision = found.route.plan.revision
        try:
            async with asyncio.timeout(UNLOAD_S):
                await self._pool.empty(revision)
        except TimeoutError:
            return
        await self._pool.chill(revision, Temperature.COLD)

    def metadata(self, found: Found) -> Mapping[str, object]:
        """Names, versions, platform, and the tensors as far as they are known."""
        route = found.route
        signature = route.plan.signature
        return {
            "name": route.name,
            "versions": self.versions(route),
            "platform": PLATFORMS.get(route.plan.adapter, PYTHON),
            "inputs": [_described(one) for one in signature.inputs],
            "outputs": [_described(one) for one in signature.outputs],
        }

    def config(self, found: Found) -> Mapping[str, object]:
        """What Triton calls a model's configuration. A batch's dimension is not among `dims` there."""
        route = found.route
        signature = route.plan.signature
        tensors = (*signature.inputs, *signature.outputs)
        batched = route.spec.max_batch > 1 and all(one.shape[:1] == (ANY_SIZE,) for one in tensors)
        return {
            "name": route.name,
            "platform": PLATFORMS.get(route.plan.adapter, PYTHON),
            "backend": BACKENDS.get(route.plan.adapter, PYTHON),
            "version_policy": {"latest": {"num_versions": 1}},
            "max_batch_size": route.spec.max_batch if batched and tensors else 0,
            "input": [_configured(one, batched=batched) for one in signature.inputs],
            "output": [_configured(one, batched=batched) for one in signature.outputs],
            **({"dynamic_batching": {}} if batched and tensors else {}),
        }

    def _live(self, route: Route) -> Sequence[Route]:
        there = self._routes.arrangement(route.project, route.name)
        return (there.route, *there.beside) if there else (route,)

    def _split(self, route: Route) -> bool:
        return self._routes.split(route.project, route.name, OWN) is not None


def takes_tensors(route: Route) -> bool:
    """Whether it is called with values: not by HTTP, nor in another's words."""
    if not route.invocable or route.spec.interface is not Interface.EVENT:
        return False
    return route.plan.runtime in TAKING_TENSORS or route.spec.kind is Kind.MODEL


def check_takes_tensors(route: Route) -> None:
    """Raise `CallerFault` where it does not."""
    if not takes_tensors(route):
        raise CallerFault(f"'{route.name}' takes no tensors: it is called at its own door")


def _times(count: int, seconds: float) -> Mapping[str, int]:
    return {"count": count, "ns": round(seconds * NS)}


def _described(one: Tensor) -> Mapping[str, object]:
    return {"name": one.name, "datatype": one.datatype, "shape": one.shape}


def _configured(one: Tensor, *, batched: bool) -> Mapping[str, object]:
    kind = "STRING" if one.datatype == BYTES else one.datatype
    return {
        "name": one.name,
        "data_type": f"TYPE_{kind}",
        "dims": one.shape[1:] if batched else one.shape,
    }
