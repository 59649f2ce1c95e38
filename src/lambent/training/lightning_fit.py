"""Lightning's `Trainer.fit` that goes on where it was."""

from __future__ import annotations

import importlib
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

import torch

from lambent.runtimes import randomness
from lambent.runtimes.job import Run

# It comes under two names, and its trainer knows only callbacks of its own.
_lightning: Any = sys.modules.get("lightning.pytorch") or importlib.import_module("pytorch_lightning")


class LightningCheckpoint(_lightning.Callback):  # type: ignore[misc]  # frameworks are typed as Any
    """A callback that also says where to go on from.

    `keep = LightningCheckpoint(run)`, then `Trainer(callbacks=[keep])` and `fit(..., ckpt_path=keep.path)`.
    What is committed is what Lightning itself keeps, callbacks and loops included. At the end of an epoch it
    is exact to the bit. In the middle of one it is so where the data loader has a `state_dict`; with another
    one Lightning goes on with the rest of an order that is drawn anew. `within_epochs=False` commits at their
    ends alone.
    """

    def __init__(self, run: Run, *, every_s: float | None = None, within_epochs: bool = True) -> None:
        """Commit every `every_s` seconds, or as often as costs about 1 % of the time."""
        self._run: Final = run
        self._every_s: Final = every_s
        self._within_epochs: Final = within_epochs
        self._random: dict[str, Any] | None = None
        self.path: Final = self._restored()

    def on_load_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: Any) -> None:
        """What was drawn since the job began is not drawn in an unbroken run."""
        if self._random is not None:
            randomness.put_back(self._random)

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Commit where it is due."""
        if self._within_epochs and not trainer.fit_loop.epoch_loop.done:
            self._commit_if_due(trainer)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Commit where it is due."""
        self._commit_if_due(trainer)

    def _commit_if_due(self, trainer: Any) -> None:
        run = self._run
        if run.checkpoint_due(self._every_s):
            kept = trainer._checkpoint_connector.dump_checkpoint(weights_only=False)  # noqa: SLF001 - as its strategies
            run.checkpoint({"kept": kept, "random": randomness.captured()}, step=trainer.global_step)

    def _restored(self) -> str | None:
        state = self._run.restore()
        if state is None:
            return None
        self._random = state["random"]
        path = Path(tempfile.mkdtemp(prefix="lightning-")) / "restored.ckpt"
        torch.save(state["kept"], path)
        return str(path)
