"""`xgboost.train` that goes on where it was."""

from __future__ import annotations

from typing import Any, Final

import xgboost

from lambent.runtimes.job import Run


class XGBoostCheckpoint(xgboost.callback.TrainingCallback):  # type: ignore[misc]  # frameworks are typed as Any
    """A callback that also says what is left to do.

    `keep = XGBoostCheckpoint(run)`, then `xgboost.train(params, data, keep.rounds(500), xgb_model=keep.model,
    callbacks=[keep])`.
    The trees are those of an unbroken run to the bit, unless rows or columns are drawn at random: what
    XGBoost would have drawn next it does not tell, and draws anew. What other callbacks remember is theirs.
    """

    def __init__(self, run: Run, *, every_s: float | None = None) -> None:
        """Commit every `every_s` seconds, or as often as costs about 1 % of the time."""
        self._run: Final = run
        self._every_s: Final = every_s
        state = run.restore()
        self.model: Final = None if state is None else xgboost.Booster(model_file=bytearray(state))
        self._done: Final = 0 if self.model is None else self.model.num_boosted_rounds()

    def rounds(self, total: int) -> int:
        """How many of `total` rounds are left."""
        return max(0, total - self._done)

    def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
        """Commit where it is due."""
        if self._run.checkpoint_due(self._every_s):
            self._run.checkpoint(lambda: bytes(model.save_raw("ubj")), step=model.num_boosted_rounds())
        return False
