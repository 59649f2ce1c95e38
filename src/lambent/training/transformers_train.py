"""Hugging Face's `Trainer.train` that goes on where it was."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any, Final

import numpy as np
import transformers

from lambent.runtimes.job import Run


class TransformersCheckpoint(transformers.TrainerCallback):  # type: ignore[misc]  # frameworks are typed as Any
    """A callback that also says where to go on from.

    `keep = TransformersCheckpoint(run)`, then `Trainer(..., callbacks=[keep])` and
    `trainer.train(resume_from_checkpoint=keep.path)`. What is committed are the files that the trainer itself
    saves: model, optimiser, scheduler, generators of random numbers, place in the data. They are removed from
    `output_dir` again where only this asked for them.
    """

    def __init__(self, run: Run, *, every_s: float | None = None) -> None:
        """Commit every `every_s` seconds, or as often as costs about 1 % of the time."""
        self._run: Final = run
        self._every_s: Final = every_s
        self._is_ours = False
        self.path: Final = self._restored()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Have it saved where that is due."""
        run = self._run
        is_due = run.checkpoint_due(self._every_s)
        if is_due and not control.should_save:
            control.should_save = self._is_ours = True

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Commit what was saved."""
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        files = {
            str(path.relative_to(folder)): np.fromfile(path, dtype=np.uint8)
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }
        if self._is_ours:
            self._is_ours = False
            shutil.rmtree(folder, ignore_errors=True)
        self._run.checkpoint(files, step=state.global_step)

    def _restored(self) -> str | None:
        files = self._run.restore()
        if files is None:
            return None
        folder = Path(tempfile.mkdtemp(prefix="transformers-")) / f"checkpoint-{self._run.step}"
        for name, content in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            content.tofile(path)
        return str(folder)
