"""`lightgbm.train` that goes on where it was."""

from __future__ import annotations

from typing import Any, Final

import lightgbm

from lambent.runtimes.job import Run


class LightGBMCheckpoint:
    """A callback that also says what is left to do.

    `keep = LightGBMCheckpoint(run)`, then `lightgbm.train(..., num_boost_round=keep.rounds(500),
    init_model=keep.model, callbacks=[keep])`, with the data as `free_raw_data=False`. With `deterministic`
    the trees are those of an unbroken run to the bit, unless rows or columns are drawn at random: what
    LightGBM would have drawn next it does not tell, and draws anew. What other callbacks remember is
    theirs.
    """

    before_iteration = False
    order = 100  # after those that look at the round

    def __init__(self, run: Run, *, every_s: float | None = None) -> None:
        """Commit every `every_s` seconds, or as often as costs about 1 % of the time."""
        self._run: Final = run
        self._every_s: Final = every_s
        state = run.restore()
        self.model: Final = None if state is None else lightgbm.Booster(model_str=state)

    def rounds(self, total: int) -> int:
        """How many of `total` rounds are left."""
        return total if self.model is None else max(0, total - self.model.current_iteration())

    def __call__(self, env: Any) -> None:
        """Commit where it is due."""
        run = self._run
        if run.checkpoint_due(self._every_s):
            run.checkpoint(lambda: env.model.model_to_string(num_iteration=-1), step=env.iteration + 1)
