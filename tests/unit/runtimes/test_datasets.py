"""A dataset is what its files hold, in the order that was asked for; what is wrong is said in one line."""

import importlib
import io
import json
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lambent.runtimes.datasets.dataset import Dataset
from lambent.runtimes.datasets.opening import MissingPackage
from lambent.wire.rows import BadData
from tests.support.datasets import dataset_of, ref_of

TABLE = b"x,y,word\n1,0.5,one\n2,,two\n3,2.5,three\n"


def npy(array: Any) -> bytes:
    content = io.BytesIO()
    np.save(content, array)
    return content.getvalue()


def npz(**arrays: Any) -> bytes:
    content = io.BytesIO()
    np.savez(content, **arrays)
    return content.getvalue()


def png(value: int, size: tuple[int, int] = (4, 3)) -> bytes:
    content = io.BytesIO()
    Image.new("L", size, value).save(content, "PNG")
    return content.getvalue()


@pytest.fixture
def digits(tmp_path: Path) -> Dataset:
    return dataset_of(tmp_path, {"x.npy": npy(np.arange(40).reshape(20, 2)), "y.npy": npy(np.arange(20))})


def test_columns_of_csv_are_numbers_where_all_fields_are(tmp_path: Path) -> None:
    rows = dataset_of(tmp_path, {"a.csv": TABLE, "b.csv": b"x,y,word\n4,4.5,1_000\n", "README.md": b"hello"})
    assert (rows.kind, len(rows), rows.names) == ("csv", 4, ("x", "y", "word"))
    arrays = rows.arrays()
    assert (arrays["x"].dtype.kind, arrays["x"].tolist()) == ("i", [1, 2, 3, 4])
    assert np.isnan(arrays["y"][1])
    assert arrays["word"].tolist() == ["one", "two", "three", "1_000"]
    assert [*rows.rows()][2] == {"x": 3, "y": 2.5, "word": "three"}


def test_arrays_of_npy_are_mapped_and_of_npz_read(tmp_path: Path) -> None:
    mapped = dataset_of(tmp_path, {"deep/x.npy": npy(np.arange(6).reshape(3, 2))}).arrays()
    assert isinstance(mapped["deep/x"], np.memmap)
    packed = dataset_of(tmp_path, {"all.npz": npz(x=np.arange(3), y=np.arange(5))})
    assert {name: array.shape for name, array in packed.arrays().items()} == {"x": (3,), "y": (5,)}
    with pytest.raises(BadData, match=r"x \[3\], y \[5\].*select"):
        len(packed)
    assert [row["y"] for row in packed.select("y")] == [0, 1, 2, 3, 4]
    with pytest.raises(KeyError, match="x, y"):
        packed.select("z")


def test_images_have_the_folder_that_they_lie_in_for_a_label(tmp_path: Path) -> None:
    files = {f"{label}/{n}.png": png(n) for n, label in enumerate(("dog", "cat", "dog"))}
    images = dataset_of(tmp_path, files)
    assert (images.kind, images.labels, len(images)) == ("images", ("cat", "dog"), 3)
    assert [(image.size, label) for image, label in images.images()] == [
        ((4, 3), "cat"),
        ((4, 3), "dog"),
        ((4, 3), "dog"),
    ]
    arrays = images.arrays()
    assert (arrays["image"].shape, arrays["label"].tolist()) == ((3, 3, 4), [0, 1, 1])
    assert [path.name for path in images.select("path").arrays()["path"]] == ["1.png", "0.png", "2.png"]


def test_json_lines_are_found_without_reading_them_all_again(tmp_path: Path) -> None:
    lines = [json.dumps({"text": f"line {n}", "n": n}) for n in range(5)]
    data = "\n".join([*lines[:3], "", *lines[3:]]).encode()
    found = dataset_of(tmp_path, {"a.jsonl": data, "b.jsonl": b'{"text": "last"}\n'})
    assert len(found) == 6
    assert [row["n"] for row in found.rows()] == [0, 1, 2, 3, 4, None]
    [first, second] = found.shuffle(3).batches(3)
    assert sorted(first["text"] + second["text"]) == sorted(row["text"] for row in found)


def test_any_other_files_are_paths(tmp_path: Path) -> None:
    mixed = dataset_of(tmp_path, {"a.txt": b"one", "b/c.csv": b"x\n1\n", "empty": b""})
    assert mixed.kind == "files"
    assert [path.relative_to(mixed.path).as_posix() for path in mixed.files()] == [
        "a.txt",
        "b/c.csv",
        "empty",
    ]
    assert next(mixed.rows())["path"].read_bytes() == b"one"
    assert mixed.only("*.csv").arrays()["x"].tolist() == [1]
    with pytest.raises(BadData, match=r"\*\.png"):
        mixed.only("*.png")


def test_batches_go_on_from_any_place_and_ranks_share_every_item(digits: Dataset) -> None:
    shuffled = digits.shuffle(7)
    whole = [batch["y"].tolist() for batch in shuffled.batches(6, epochs=2)]
    assert sorted(chain(*whole[:4])) == [*range(20)] == sorted(chain(*whole[4:]))
    assert whole[0] != whole[4]
    batches = shuffled.batches(6, epochs=2)
    seen = [next(batches)["y"].tolist() for _ in range(3)]
    state = json.loads(json.dumps(batches.state()))
    assert seen + [batch["y"].tolist() for batch in shuffled.batches(6, epochs=2).load(state)] == whole
    rest = [
        batch["y"].tolist()
        for rank in range(3)
        for batch in shuffled.shard(rank, 3).batches(2, epochs=1).load(state)
    ]
    assert sorted(chain(*seen, *rest)) == [*range(20)], "three go on where one was"


def test_a_place_in_other_data_is_refused(digits: Dataset) -> None:
    state = digits.shuffle(7).batches(6).state()
    for other in (digits.shuffle(8), digits, digits.select("x").shuffle(7)):
        with pytest.raises(ValueError, match="other data"):
            other.batches(6).load(state)
    for wrong in ({}, {**state, "taken": 21}, {**state, "epoch": "1"}):
        with pytest.raises(ValueError, match="place"):
            digits.shuffle(7).batches(6).load(wrong)


def test_a_worker_gets_its_own_shard_unless_told(tmp_path: Path) -> None:
    rows = dataset_of(tmp_path, {"a.csv": TABLE}, rank=1, world=2)
    assert [row["x"] for row in rows.shard()] == [2]
    assert [row["x"] for row in rows.shard(0, 2)] == [1, 3]
    assert [row["x"] for row in rows] == [1, 2, 3]
    with pytest.raises(ValueError, match="already"):
        rows.shard().shard()


def test_splits_part_every_item_and_stay_when_the_data_grows(tmp_path: Path) -> None:
    first = dataset_of(tmp_path, {"y.npy": npy(np.arange(1000))})
    grown = dataset_of(tmp_path, {"y.npy": npy(np.arange(1500))})
    train, test = first.split(train=0.8, test=0.2)
    assert sorted([*train.arrays()["y"], *test.arrays()["y"]]) == [*range(1000)]
    assert len(train) == pytest.approx(800, abs=40)
    assert {*test.arrays()["y"]} == {y for y in grown.split(train=0.8, test=0.2)[1].arrays()["y"] if y < 1000}
    half, _ = train.split(a=0.5, b=0.5)
    assert len(half) == pytest.approx(400, abs=50)
    assert {*first.split(a=0.5, b=0.5, seed=1)[0].arrays()["y"]} != {
        *first.split(a=0.5, b=0.5)[0].arrays()["y"]
    }
    for shares in ({}, {"a": 0.0}, {"a": 0.9, "b": 0.2}):
        with pytest.raises(ValueError, match="shares"):
            first.split(**shares)


def test_what_is_missing_or_changed_is_said_in_one_line(tmp_path: Path) -> None:
    ref = ref_of(tmp_path, {"a.csv": TABLE, "b.csv": TABLE})
    whole = Dataset(ref)
    whole.verify()
    folder = Path(ref.path)
    folder.chmod(0o755)
    changed = folder / "b.csv"
    changed.chmod(0o644)
    changed.write_bytes(TABLE.replace(b"1", b"9"))
    with pytest.raises(BadData, match=r"b\.csv is not as it was added"):
        whole.verify()
    with pytest.raises(BadData, match=r"rows@1: b\.csv missing or changed"):
        Dataset(ref)
    changed.unlink()
    with pytest.raises(BadData, match=r"rows@1: b\.csv missing or changed.*add the dataset again"):
        Dataset(ref)
    Path(ref.path + ".json").unlink()
    with pytest.raises(BadData, match="list of rows@1"):
        Dataset(ref)


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"a.csv": b"x,y\n1,2\n1,2,3\n"}, "a.csv, line 3: 3 fields, where the header has 2"),
        ({"a.csv": b"x,x\n1,2\n"}, "a.csv: the column 'x' is in its header twice"),
        ({"a.csv": b""}, "a.csv is empty"),
        ({"a.csv": b"x\n\xff\n"}, "not UTF-8"),
        ({"a.csv": b"x\n1\n", "b.csv": b"y\n1\n"}, "b.csv has other columns than a.csv"),
        ({"a.jsonl": b'{"a": 1}\n{"a": \n'}, "a.jsonl (item 1), line 1 is no JSON"),
        ({"a.jsonl": b"[1]\n"}, "is no object"),
        ({"a.npy": b"\x93NUMPY but no more"}, "a.npy is no npy file"),
        ({"a.npz": b"PK\x03\x04 but no more"}, "a.npz is no npz file"),
        ({"a/x.png": b"\x89PNG\r\n\x1a\n but no more"}, "a/x.png is no image that can be read"),
        ({"a.npy": npy(np.array([{}], object))}, "a.npy is no npy file that can be read"),
    ],
)
def test_a_file_that_is_not_what_it_should_be_is_named(
    tmp_path: Path, files: dict[str, bytes], says: str
) -> None:
    with pytest.raises(BadData) as caught:
        [*dataset_of(tmp_path, files).rows()]
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("files", "lacks", "says"),
    [
        ({"a.parquet": b"PAR1PAR1"}, "pyarrow", "pip install pyarrow"),
        ({"a.npy": npy(np.arange(3))}, "numpy", "pip install numpy"),
        ({"a.png": png(1)}, "PIL", "pip install pillow"),
    ],
)
def test_a_package_that_is_not_there_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, bytes], lacks: str, says: str
) -> None:
    found = importlib.import_module

    def without(name: str, package: str | None = None) -> Any:
        if name.partition(".")[0] == lacks:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return found(name, package)

    monkeypatch.setattr(importlib, "import_module", without)
    with pytest.raises(MissingPackage, match=says):
        [*dataset_of(tmp_path, files).rows()]
