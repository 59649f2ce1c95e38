"""Keras models: trained in a job, served by a fork-safe twin, and by Keras itself where there is none."""

import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from lambent.core.invocation import Status
from lambent.wire.oneshot import JobCall, JobResult, Prepared
from lambent.wire.process import RevisionPlan, Runtime
from tests.support.patience import PATIENT_S
from tests.support.templates import Environment, Worker
from tests.support.user_code import PlanOf, plan_of

pytestmark = [pytest.mark.frameworks, pytest.mark.timeout(300)]

__all__ = ["plan_of"]

ROOM = 4 << 30
MAKE = """
    import os, sys
    import keras
    from keras import layers

    def digits():
        return keras.Sequential([
            keras.Input((28, 28)), layers.Flatten(), layers.Dense(128, "relu"), layers.Dense(10, "softmax"),
        ])

    def conv():
        return keras.Sequential([
            keras.Input((None, None, 3)), layers.Conv2D(4, 3), layers.BatchNormalization(), layers.ReLU(),
            layers.GlobalAveragePooling2D(), layers.Dense(2),
        ])

    def two():
        a, b = keras.Input((4,), name="left"), keras.Input((3,), name="right")
        both = layers.Concatenate()([a, b])
        outputs = [layers.Dense(2, name="first")(both), layers.Dense(1, name="second")(both)]
        return keras.Model([a, b], outputs)

    def text():
        return keras.Sequential([
            keras.Input((12,), dtype="int32"), layers.Embedding(50, 8), layers.LSTM(6), layers.Dense(1),
        ])

    def exact_gelu():
        return keras.Sequential([
            keras.Input((8, 8, 1)), layers.Conv2D(4, 3, activation="gelu"), layers.Flatten(),
            layers.Dense(4, "gelu"), layers.Dense(3, "softmax"),
        ])

    def strings():
        words = keras.Input((1,), dtype="string")
        lookup = layers.StringLookup(vocabulary=["a", "b"], output_mode="one_hot")
        return keras.Model(words, layers.Dense(2)(lookup(words)))

    for name in sys.argv[2:]:
        keras.utils.set_random_seed(7)
        globals()[name]().save(os.path.join(sys.argv[1], name + ".keras"))
"""


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Several kinds of models, saved by Keras."""
    folder = tmp_path_factory.mktemp("saved")
    names = ["digits", "conv", "two", "text", "exact_gelu", "strings"]
    command = [sys.executable, "-c", textwrap.dedent(MAKE), str(folder), *names]
    subprocess.run(command, check=True, env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}, timeout=2 * PATIENT_S)
    return folder


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Environment]:
    """An environment template that has imported TensorFlow and Keras."""
    with Environment(tmp_path_factory.mktemp("environment"), imports=["keras", "tensorflow"]) as started:
        yield started


@pytest.fixture(scope="module")
def light(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Environment]:
    """An environment template that serves twins: without TensorFlow."""
    with Environment(tmp_path_factory.mktemp("light"), imports=["numpy", "onnxruntime"]) as started:
        yield started


def prepared(environment: Environment, saved: Path, folder: Path, name: str) -> Prepared:
    folder.mkdir()
    (folder / f"{name}.keras").write_bytes((saved / f"{name}.keras").read_bytes())
    plan = RevisionPlan(
        revision="p", deployment="p", project="p", number=1, runtime=Runtime.PREPARE, work_dir=str(folder),
        memory_bytes=ROOM,
    )  # fmt: skip
    answer, body = environment.fork_worker(plan).call()
    assert answer.status is Status.OK, body
    return msgspec.json.decode(body, type=Prepared)


def served(plan_of: PlanOf, folder: Path) -> RevisionPlan:
    return plan_of("", "", runtime=Runtime.MODEL, model_dir=str(folder), memory_bytes=ROOM)


def test_an_imported_tensorflow_may_be_forked(environment: Environment) -> None:
    assert environment.ready is not None
    assert environment.ready.unsafe == ()


@pytest.mark.parametrize("name", ["digits", "conv", "two", "text", "exact_gelu"])
def test_a_model_is_served_by_a_twin_that_agrees_with_keras(
    environment: Environment, light: Environment, saved: Path, tmp_path: Path, plan_of: PlanOf, name: str
) -> None:
    ready = prepared(environment, saved, tmp_path / "model", name)
    serving = ready.serving
    assert serving is not None
    assert (serving.adapter, serving.served_by, serving.reason) == ("keras", "onnx", "")
    assert serving.imports == ("numpy", "onnxruntime")
    assert serving.max_abs_difference is not None
    assert serving.max_abs_difference < 1e-4
    template = light.fork_template(served(plan_of, tmp_path / "model"))
    assert template.ready is not None
    assert template.ready.unsafe == ()
    template.close()


def test_a_twin_answers_from_a_fork_without_tensorflow(
    environment: Environment, light: Environment, saved: Path, tmp_path: Path, plan_of: PlanOf
) -> None:
    prepared(environment, saved, tmp_path / "model", "digits")
    plan = served(plan_of, tmp_path / "model")
    template = light.fork_template(plan)
    picture = [[0.5] * 28] * 28
    said: list[Any] = [template.fork_worker(plan).value({"instances": [picture]}) for _ in range(2)]
    assert said[0] == said[1]
    (probabilities,) = said[0]["predictions"]
    assert len(probabilities) == 10
    assert abs(sum(probabilities) - 1) < 1e-5
    template.close()


def test_a_model_without_a_twin_is_served_by_keras_in_each_worker(
    environment: Environment, saved: Path, tmp_path: Path, plan_of: PlanOf
) -> None:
    ready = prepared(environment, saved, tmp_path / "model", "strings")
    assert ready.serving is not None
    assert ready.serving.served_by == "keras"
    assert ready.serving.reason.startswith("served by Keras itself, and cannot be primed: ")
    plan = served(plan_of, tmp_path / "model")
    workers = [environment.fork_worker(plan) for _ in range(2)]
    said = [worker.value({"instances": [["a"], ["b"]]}) for worker in workers]
    assert said[0] == said[1]
    assert len(said[0]["predictions"]) == 2


def test_a_broken_file_is_refused_with_its_name(environment: Environment, tmp_path: Path) -> None:
    (tmp_path / "broken.keras").write_bytes(b"PK no archive")
    plan = RevisionPlan(
        revision="p", deployment="p", project="p", number=1, runtime=Runtime.PREPARE, work_dir=str(tmp_path),
        memory_bytes=ROOM,
    )  # fmt: skip
    error = environment.fork_worker(plan).error()
    assert error.error_type == "BadModel"
    assert error.error_message.startswith("broken.keras cannot be read as a Keras model: ")


JOB = """
    import os
    import numpy as np

    def fit(run):
        import keras
        import tensorflow as tf
        class Report(keras.callbacks.Callback):
            def on_epoch_end(self, epoch, logs=None):
                run.log(epoch, progress=(epoch + 1) / 3, message=f"epoch {epoch + 1}", **logs)
        keras.utils.set_random_seed(1)
        x = np.random.default_rng(1).standard_normal((2000, 4), dtype=np.float32)
        y = (x.sum(axis=1) > 0).astype("int32")
        layers = [keras.Input((4,)), keras.layers.Dense(8, "relu"), keras.layers.Dense(2, "softmax")]
        network = keras.Sequential(layers)
        network.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
        network.fit(x, y, epochs=3, batch_size=32, verbose=0, callbacks=[Report()])
        network.save(run.model_dir / "sign.keras")
        loss, accuracy = network.evaluate(x, y, verbose=0)
        run.report(accuracy=accuracy, cores=float(os.environ["TF_NUM_INTRAOP_THREADS"]))
"""


def test_a_job_trains_in_a_fork_of_an_imported_tensorflow(
    environment: Environment, light: Environment, tmp_path: Path, plan_of: PlanOf
) -> None:
    plan = plan_of(JOB, "app:fit", runtime=Runtime.JOB, work_dir=str(tmp_path / "run"), memory_bytes=ROOM)
    worker: Worker = environment.fork_worker(plan)
    answer, body = worker.call(JobCall("run-1"))
    assert answer.status is Status.OK, body
    done = msgspec.json.decode(body, type=JobResult)
    assert done.metrics["accuracy"] > 0.7
    assert done.metrics["cores"] == len(os.sched_getaffinity(0))
    assert done.serving is not None
    assert done.serving.served_by == "onnx"
    assert b"epoch 3" in worker.news[-1]
    model = served(plan_of, tmp_path / "run" / "model")
    assert len(light.fork_worker(model).value({"instances": [[1, 1, 1, 1]]})["predictions"][0]) == 2
