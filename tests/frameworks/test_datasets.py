"""Datasets of Parquet files, and a Keras model that is asked for what it learnt to be standardised."""

import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lambent.wire.rows import BadData
from tests.support.datasets import dataset_of
from tests.support.server import RunningServer

pytestmark = [pytest.mark.frameworks, pytest.mark.timeout(300)]

MNIST = Path(__file__).parent.parent.parent / "examples" / "digits" / "data" / "mnist.npz"
LEARNS = '''
import lambent

app = lambent.App("digits")

@app.model(train="fit")
class Digit:
    def load(self, model):
        self.network = model.load()
    def predict(self, inputs):
        return self.network(inputs)

@app.job(slice_s=600)
def fit(run):
    """A small network, gone on with from where it was if it is interrupted."""
    import keras
    keras.utils.set_random_seed(1)
    part, _ = run.data("mnist").select("x_train", "y_train").split(train=0.1, rest=0.9)
    train = run.transform("standardise", part, inputs=["x_train"])
    batches = train.shuffle(5).batches(64, epochs=2)
    network = keras.Sequential([
        keras.Input((28, 28)), keras.layers.Flatten(), keras.layers.Dense(32, "relu"),
        keras.layers.Dense(10, "softmax"),
    ])
    network.compile("adam", "sparse_categorical_crossentropy")
    for step, batch in enumerate(batches):
        network.train_on_batch(batch["x_train"], batch["y_train"])
    network.save(run.model_dir / "digits.keras")
    run.report(steps=step + 1)
'''


@pytest.fixture
def arrow() -> Any:
    return pytest.importorskip("pyarrow")


def parquet(columns: dict[str, Any]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    content = io.BytesIO()
    pq.write_table(pa.table(columns), content, row_group_size=7)
    return content.getvalue()


@pytest.mark.usefixtures("arrow")
def test_parquet_files_are_read_one_behind_the_other(tmp_path: Path) -> None:
    parts = {
        f"part-{n}.parquet": parquet({"x": np.arange(n * 10, n * 10 + 10), "word": [f"w{n}"] * 10})
        for n in range(3)
    }
    rows = dataset_of(tmp_path, parts)
    assert (rows.kind, len(rows), rows.names) == ("parquet", 30, ("x", "word"))
    assert rows.arrays()["x"].tolist() == [*range(30)]
    assert rows.table().num_rows == 30
    assert rows.table().column_names == ["x", "word"]
    assert [*rows.rows()][12] == {"x": 12, "word": "w1"}
    batches = [batch["x"].tolist() for batch in rows.shuffle(2).batches(8)]
    assert sorted(x for batch in batches for x in batch) == [*range(30)]
    train, test = rows.split(train=0.5, test=0.5)
    assert {*train.table()["x"].to_pylist()} | {*test.table()["x"].to_pylist()} == {*range(30)}


@pytest.mark.usefixtures("arrow")
def test_a_table_of_any_kind_is_arrows(tmp_path: Path) -> None:
    assert dataset_of(tmp_path, {"a.csv": b"x,y\n1,one\n"}).table().to_pylist() == [{"x": 1, "y": "one"}]


@pytest.mark.usefixtures("arrow")
@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"a.parquet": b"PAR1 and then nothing of it PAR1"}, "a.parquet is no Parquet file"),
        ({"a.parquet": b""}, "a.parquet is no Parquet file"),
    ],
)
def test_a_broken_parquet_file_is_named(tmp_path: Path, files: dict[str, bytes], says: str) -> None:
    with pytest.raises(BadData, match=says) as caught:
        len(dataset_of(tmp_path, files))
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("arrow")
def test_parquet_files_of_other_columns_are_not_mixed(tmp_path: Path) -> None:
    files = {"a.parquet": parquet({"x": [1]}), "b.parquet": parquet({"y": [1]})}
    with pytest.raises(BadData, match="other columns"):
        len(dataset_of(tmp_path, files))
    assert len(dataset_of(tmp_path, files).only("a.*")) == 1


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningServer]:
    running = RunningServer(tmp_path / "state").start()
    yield running
    running.stop()


# Keras stays out of this process: what torch exports with does not load where TensorFlow has been.
def test_a_keras_model_is_asked_with_raw_pixels(server: RunningServer, tmp_path: Path) -> None:
    added = server.cli("data", "add", "mnist", str(MNIST))
    assert added.returncode == 0, added.stderr
    (tmp_path / "app.py").write_text(LEARNS)
    server.deploy(tmp_path / "app.py")
    done = server.cli("run", "digits-fit", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    with np.load(MNIST) as digits:
        raw, labels = digits["x_test"][:400], digits["y_test"][:400]
    [model] = (server.state_dir / "artifacts").glob("*/digits.keras")
    chain = json.loads((model.parent / ".lambent" / "transform.json").read_text())
    told = chain["steps"][0]["statistics"]["x_train"]
    ready = ((raw.astype(np.float64) - told["mean"]) / told["deviation"]).astype(np.float32)
    shutil.copyfile(model, tmp_path / "plain.keras")
    server.deploy(tmp_path / "plain.keras")
    served = np.array(server.invoke("digit", raw.tolist()).json(), np.float32)
    plain = server.invoke("plain", {"instances": ready.tolist()}).json()["predictions"]
    assert np.array_equal(served, np.array(plain, np.float32)), "as if they had been standardised before"
    assert (served.argmax(axis=1) == labels).mean() > 0.8
