"""Loops that go on where they were: PyTorch's, scikit-learn's `partial_fit`, and whatever else has steps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from lambent.runtimes.job import Run
from lambent.training.parts import put_back, taken


def resumable(
    run: Run,
    steps: int | Sequence[Any],
    /,
    *,
    every_s: float | None = None,
    every_steps: int = 0,
    **parts: Any,
) -> Iterator[Any]:
    """The steps that are still to be done, each once; `parts` are restored first and committed as they go.

    `steps` is their number, or what there is one for each of. After a step everything in `parts` is committed
    where that is due: after `every_steps` steps, or `every_s` seconds, or as often as costs about 1 %, and
    where the slice is to end. A part is a model, an optimiser or a scheduler of torch, an estimator of
    scikit-learn, a model or an optimiser of Keras that is built, a generator of random numbers, a list, a
    dictionary, or another object with attributes; it is changed, not replaced. Raises `TypeError` for a part
    that is none of these.
    """
    loop = _Loop(run, parts, every_s=every_s, every_steps=every_steps)
    todo = range(steps) if isinstance(steps, int) else steps
    loop.restore()
    while loop.done < len(todo):
        yield todo[loop.done]
        loop.done += 1
        loop.commit_if_due()


class _Loop:
    def __init__(
        self, run: Run, parts: Mapping[str, Any], *, every_s: float | None, every_steps: int
    ) -> None:
        self._run: Final = run
        self._parts: Final = parts
        self._every_s: Final = every_s
        self._every_steps: Final = every_steps
        self.done = 0

    def restore(self) -> None:
        for part in self._parts.values():
            taken(part)  # what cannot be committed is said before hours of work and not after them
        state = self._run.restore()
        if state is None:
            return
        if not isinstance(state, dict) or state.keys() != {"done", "parts"}:
            raise KeyError(
                "the run's last checkpoint is none of a `resumable` loop: the code has changed since"
            )
        self.done = state["done"]
        for name, part in self._parts.items():
            if name not in state["parts"]:
                raise KeyError(f"the run's last checkpoint has no part {name!r}: the code has changed since")
            put_back(part, state["parts"][name])

    def commit_if_due(self) -> None:
        if self._is_due():
            self._run.checkpoint(self._state, step=self.done)

    def _is_due(self) -> bool:
        if self._every_steps:
            return self.done % self._every_steps == 0 or self._run.ending
        return self._run.checkpoint_due(self._every_s)

    def _state(self) -> dict[str, Any]:
        parts = {name: taken(part) for name, part in self._parts.items()}
        return {"done": self.done, "parts": parts}
