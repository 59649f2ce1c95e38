"""The datasets that a run is held to, and what it makes of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from lambent.clock import Clock
from lambent.core.datasets import name_and_number
from lambent.core.errors import InvalidSpec
from lambent.runtimes.datasets.dataset import Dataset, Ranks
from lambent.runtimes.datasets.opening import package
from lambent.runtimes.datasets.sources import Batch
from lambent.runtimes.outputs import say
from lambent.wire.oneshot import JobCall
from lambent.wire.rows import BadData
from lambent.wire.transforms import TRANSFORM_FILE, Chain, Step
from lambent.wire.typed import from_json

PIECE_ITEMS: Final = 1024
KEY_CHARS: Final = 12  # of a key, in a line of the log
CACHE_DIR: Final = "transforms"  # in the work folder, where the server gives no other
KEPT_CHAIN: Final = "transform.json"  # in the work folder: a later slice may not ask for it again


class DataOfRun:
    """What `run.data` and `run.transform` do."""

    def __init__(self, call: JobCall, work_dir: Path, clock: Clock) -> None:
        self._refs: Final = call.datasets
        self._ranks: Final = Ranks(call.rank, call.world)
        self._cache_dir: Final = Path(call.transforms_dir) if call.transforms_dir else work_dir / CACHE_DIR
        self._kept_chain: Final = work_dir / KEPT_CHAIN
        self._clock: Final = clock
        self._served = Chain()

    def open(self, text: str) -> Dataset:
        """The version of a dataset that the run is held to; `NAME@N` makes sure that it is that one.

        Raises `BadData` where it is not there, and where files of it are missing or were changed.
        """
        try:
            name, number = name_and_number(text)
        except InvalidSpec as error:
            raise BadData(error.message) from error
        if name not in self._refs:
            there = ", ".join(sorted(self._refs)) or "none"
            raise BadData(
                f"there was no dataset {name!r} when this run was started (there was {there}): add it with "
                f"`lambent data add {name} PATH`, and start another run"
            )
        ref = self._refs[name]
        if number not in (None, ref.number):
            raise BadData(
                f"this run is held to {name}@{ref.number}, not to {text}: start one with --data {text}"
            )
        return Dataset(ref, ranks=self._ranks)

    def transform(
        self,
        what: str | Callable[..., Any] | Chain,
        dataset: Dataset,
        *,
        inputs: tuple[str, ...],
        into: str,
        serve: bool,
        options: Mapping[str, Any],
    ) -> Dataset:
        """See `Run.transform`."""
        package("numpy", "a transform", "numpy")
        if isinstance(what, Chain):
            return self._again(what, dataset)
        from lambent.runtimes.transforms.fingerprint import code_of, fingerprint
        from lambent.runtimes.transforms.steps import CALL, transform_of

        name = what if isinstance(what, str) else CALL
        transform_of(name)
        step = Step(
            name=name,
            inputs=inputs,
            output=into,
            options=dict(options),
            code="" if isinstance(what, str) else code_of(what),
        )
        code = name if isinstance(what, str) else fingerprint(what)
        made = self._made(dataset, step, code)
        if serve:
            self._serve(made.transform)
        return made

    def leave_for(self, model_dir: Path) -> None:
        """Let what was learnt go with the model, where there is one."""
        if not self._kept_chain.exists() or not any(model_dir.iterdir()):
            return
        home = model_dir / TRANSFORM_FILE
        home.parent.mkdir(exist_ok=True)
        home.write_bytes(msgspec.json.format(self._kept_chain.read_bytes()))

    # --- inside ---

    def _made(self, dataset: Dataset, step: Step, code: str) -> Dataset:
        """Transformed data, made now or before; what is to be learnt is learnt of this data."""
        from lambent.runtimes.transforms.keeping import Kept, key_of
        from lambent.runtimes.transforms.learning import complete

        kept = Kept(self._cache_dir)
        said = {"inputs": step.inputs, "output": step.output, **step.options}
        key = key_of(dataset.key, dataset.transform, name=step.name, code=code, options=said)
        began_s = self._clock.now_s()
        chain = kept.find(key)
        what = f"transform {step.code or step.name} of {dataset.name}@{dataset.version}"
        if chain is not None:
            say(f"{what}: kept from before as {key[:KEY_CHARS]}\n")
        else:
            full = complete(step, dataset)
            chain = Chain((*dataset.transform.steps, full), f"{dataset.name}@{dataset.version}")
            kept.keep(key, _applied(dataset, full), len(dataset), chain)
            took_s = self._clock.now_s() - began_s
            say(f"{what}: computed in {took_s:.2f} s, kept as {key[:KEY_CHARS]}\n")
        ref = kept.ref(key, name=dataset.name, number=dataset.version)
        return Dataset(ref, ranks=self._ranks, transform=chain)

    def _again(self, chain: Chain, dataset: Dataset) -> Dataset:
        """What was learnt of other data, applied to this."""
        from lambent.runtimes.transforms.keeping import Kept, key_of

        kept = Kept(self._cache_dir)
        key = key_of(dataset.key, dataset.transform, name="again", code="", options={"chain": chain})
        if kept.find(key) is None:
            kept.keep(key, _applied(dataset, *chain.steps), len(dataset), chain)
        ref = kept.ref(key, name=dataset.name, number=dataset.version)
        return Dataset(ref, ranks=self._ranks, transform=chain)

    def _serve(self, chain: Chain) -> None:
        """Keep the longest: one that goes another way would be another model's."""
        steps, served = chain.steps, self._served.steps
        shorter = min(len(steps), len(served))
        if steps[:shorter] != served[:shorter]:
            raise ValueError(
                f"the model's inputs go through {_told(self._served)} already, learnt of "
                f"{self._served.learnt_from}: apply that with run.transform(other.transform, data), or give "
                f"serve=False to {_told(chain)}"
            )
        if len(steps) > len(served):
            self._served = chain
            if len(steps) >= len(self._kept().steps):
                beside = self._kept_chain.with_suffix(f".{self._ranks.rank}")  # each rank has its own
                beside.write_bytes(msgspec.json.encode(chain))
                beside.replace(self._kept_chain)

    def _kept(self) -> Chain:
        try:
            return from_json(self._kept_chain.read_bytes(), Chain)
        except (OSError, msgspec.DecodeError):
            return Chain()


def _applied(dataset: Dataset, *steps: Step) -> Iterator[Batch]:
    from lambent.runtimes.transforms.applying import step_applied

    for piece in dataset.pieces(PIECE_ITEMS):
        made = piece
        for step in steps:
            made = step_applied(step, made)
        yield made


def _told(chain: Chain) -> str:
    return ", ".join(step.code or step.name for step in chain.steps)
