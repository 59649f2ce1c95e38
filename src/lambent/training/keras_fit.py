"""`model.fit` of Keras 3 that goes on where it was, in the middle of an epoch as well."""

from __future__ import annotations

from typing import Any, Final

import keras

from lambent.runtimes import randomness
from lambent.runtimes.job import Run
from lambent.training.parts import put_back, taken

# With these the model's variables are up to date after each batch; with JAX they are so after each epoch.
BETWEEN_BATCHES: Final = frozenset({"tensorflow", "torch"})


class KerasCheckpoint(keras.callbacks.Callback):  # type: ignore[misc]  # frameworks are typed as Any
    """`model.fit(..., callbacks=[KerasCheckpoint(run)])`.

    What is committed: the variables of model, optimiser and metrics, the place in the data, and the history.
    A run that goes on reads the batches of its epoch that it has seen and throws them away. Where the
    order of an epoch follows from seeds (`keras.utils.set_random_seed`) and not from what was read
    before, the weights at the end are those of an unbroken run to the bit. What other callbacks remember
    is theirs. The model must be built before `fit`, as it is where its inputs are known.
    """

    def __init__(self, run: Run, *, every_s: float | None = None) -> None:
        """Commit every `every_s` seconds, or as often as costs about 1 % of the time."""
        super().__init__()
        self._run: Final = run
        self._every_s: Final = every_s
        self._state: dict[str, Any] | None = None
        self._epoch = 0
        self._epoch_random: dict[str, Any] = {}
        self._batches_done = 0
        self._batches_to_skip = 0

    def on_train_begin(self, logs: object = None) -> None:
        """Restore what there is."""
        state = self._state = self._run.restore()
        if state is not None:
            put_back(self.model, state["model"])
            self.model.optimizer.build(self.model.trainable_variables)
            put_back(self.model.optimizer, state["optimizer"])
            # As Keras's own BackupAndRestore: `fit` begins with this epoch.
            self.model._initial_epoch = state["epoch"]  # noqa: SLF001 - there is no other way

    def on_epoch_begin(self, epoch: int, logs: object = None) -> None:
        """Remember what the epoch's order is drawn from, or go back to that."""
        self._epoch, self._batches_done = epoch, 0
        state, self._state = self._state, None
        if state is not None:
            self.model.history.epoch[:] = state["history"][0]
            self.model.history.history.update(state["history"][1])
            if state["batches"]:
                randomness.put_back(state["epoch_random"])
                self._skip(state)
        self._epoch_random = randomness.captured()

    def on_train_batch_end(self, batch: int, logs: object = None) -> None:
        """Commit where it is due."""
        self._batches_done = batch + 1
        may_commit = keras.backend.backend() in BETWEEN_BATCHES and not self._batches_to_skip
        if may_commit and self._is_due():
            self._commit(self._epoch, self._batches_done)

    def on_epoch_end(self, epoch: int, logs: object = None) -> None:
        """Commit where it is due; here with any backend."""
        if self._is_due():
            self._commit(epoch + 1, 0, ended={**(logs or {})} if isinstance(logs, dict) else {})

    def _is_due(self) -> bool:
        return self._run.checkpoint_due(self._every_s)

    def _commit(self, epoch: int, batches: int, ended: dict[str, Any] | None = None) -> None:
        state = {
            "epoch": epoch,
            "batches": batches,
            "model": taken(self.model),
            "optimizer": taken(self.model.optimizer),
            "metrics": taken(_Metrics(self.model)),
            "epoch_random": self._epoch_random,
            "random": randomness.captured(),
            "history": self._history(ended),
        }
        self._run.checkpoint(state, step=self._steps_done())

    def _history(self, ended: dict[str, Any] | None) -> tuple[list[int], dict[str, list[Any]]]:
        """What `fit` will return. It may hear of the epoch that ends after this."""
        history = self.model.history
        epochs, values = list(history.epoch), {name: list(each) for name, each in history.history.items()}
        if ended is not None and self._epoch not in epochs:
            epochs.append(self._epoch)
            for name, value in ended.items():
                values.setdefault(name, []).append(value)
        return epochs, values

    def _steps_done(self) -> int:
        return int(self.model.optimizer.iterations)

    def _skip(self, state: dict[str, Any]) -> None:
        """Let the first batches of this epoch be read and not trained on."""
        model, train = self.model, self.model.train_function
        self._batches_to_skip = state["batches"]
        reads = keras.backend.backend() != "torch"  # there, batches come read

        def skip(batches: Any) -> Any:
            batch = batches
            for _ in range(model.steps_per_execution if reads else 0):
                batch = next(batches)
            model._symbolic_build(data_batch=batch)  # noqa: SLF001 - as `fit` does: metrics are made of a batch
            self._batches_to_skip = max(0, self._batches_to_skip - model.steps_per_execution)
            if not self._batches_to_skip:
                model.train_function = train
                put_back(_Metrics(model), state["metrics"])
                randomness.put_back(state["random"])
            return model.get_metrics_result()

        model.train_function = skip


class _Metrics:
    """The variables of a model's metrics, which `fit` resets with each epoch."""

    def __init__(self, model: Any) -> None:
        self.variables: Final = list(model.metrics_variables)
