"""What is done to data is done once, goes with the model, and is done alike to what the model is asked."""

import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lambent.runtimes.adapters.files import open_model, prepare
from lambent.runtimes.adapters.predictor import BadModel
from lambent.runtimes.datasets.dataset import Dataset
from lambent.runtimes.datasets.of_run import DataOfRun
from lambent.runtimes.model import ModelFiles
from lambent.runtimes.transforms.fingerprint import fingerprint
from lambent.wire.oneshot import JobCall
from lambent.wire.rows import BadData
from lambent.wire.transforms import TRANSFORM_FILE
from tests.support.datasets import dataset_of, ref_of
from tests.support.full_disk import small_disk
from tests.support.models import linear
from tests.support.virtual_time import ManualClock

WORDS = "\n".join(["text", *["the cat sat", "the dog", "THE bird; sang"]]).encode()


class House:
    """Runs over one folder of datasets and one of transformed data."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.runs = 0

    def run(self) -> tuple[DataOfRun, Path]:
        """A run's data, and its model folder."""
        self.runs += 1
        work_dir = self.folder / f"run-{self.runs}"
        (work_dir / "model").mkdir(parents=True)
        call = JobCall("run", transforms_dir=str(self.folder / "kept"))
        return DataOfRun(call, work_dir, ManualClock()), work_dir / "model"

    def dataset(self, files: dict[str, bytes]) -> Dataset:
        return dataset_of(self.folder / "store", files)


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def made(data: DataOfRun, what: Any, dataset: Dataset, **more: Any) -> Dataset:
    inputs, into, serve = more.pop("inputs", ()), more.pop("into", ""), more.pop("serve", True)
    return data.transform(what, dataset, inputs=tuple(inputs), into=into, serve=serve, options=more)


def table(rows: int = 200) -> bytes:
    """As of sklearn's: three features of different scales, and what is to be told from them."""
    random = np.random.default_rng(1)
    features = random.normal([5, -300, 0.001], [2, 40, 0.0003], (rows, 3))
    lines = ["a,b,c,kind", *(f"{a!r},{b!r},{c!r},{n % 3}" for n, (a, b, c) in enumerate(features.tolist()))]
    return "\n".join(lines).encode()


def png(value: int, size: tuple[int, int]) -> bytes:
    content = io.BytesIO()
    ramp = np.add.outer(np.arange(size[1]), np.arange(size[0])) * 3 + value
    Image.fromarray(ramp.astype(np.uint8)).save(content, "PNG")
    return content.getvalue()


def test_columns_are_standardised_into_one_array_and_kept(
    house: House, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = house.dataset({"a.csv": table()})
    data, _ = house.run()
    found = made(data, "standardise", rows, into="x")
    x = found.arrays()["x"]
    assert isinstance(x, np.memmap)
    assert (x.shape, x.dtype, found.names) == ((200, 3), np.float32, ("kind", "x"))
    assert np.allclose(x.mean(axis=0), 0, atol=1e-5)
    assert np.allclose(x.std(axis=0), 1, atol=1e-5)
    assert "computed in" in capsys.readouterr().err
    again = made(house.run()[0], "standardise", rows, into="x")
    said = capsys.readouterr().err
    assert ("kept from before" in said, "computed" in said) == (True, False)
    assert np.array_equal(again.arrays()["x"], x)
    assert again.transform == found.transform


def test_other_options_other_data_and_damage_are_computed_anew(
    house: House, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = house.dataset({"a.csv": table()})
    made(house.run()[0], "standardise", rows, into="x")
    capsys.readouterr()
    train, _ = rows.split(train=0.5, test=0.5)
    for dataset, into in ((rows, "y"), (train, "x"), (house.dataset({"a.csv": table(50)}), "x")):
        made(house.run()[0], "standardise", dataset, into=into)
        assert "computed" in capsys.readouterr().err
    kept = made(house.run()[0], "standardise", rows, into="x")
    kept.path.joinpath("x.npy").write_bytes(b"damaged")
    capsys.readouterr()
    assert made(house.run()[0], "standardise", rows, into="x").arrays()["x"].shape == (200, 3)
    assert "computed" in capsys.readouterr().err


def test_what_was_learnt_of_some_is_applied_to_others(house: House) -> None:
    data, _ = house.run()
    train, test = house.dataset({"a.csv": table()}).split(train=0.8, test=0.2)
    learnt = made(data, "standardise", train, into="x")
    applied = made(data, learnt.transform, test)
    told = learnt.transform.steps[0].statistics
    raw = test.arrays()
    wanted = (raw["b"] - told["b"]["mean"]) / told["b"]["deviation"]
    assert np.array_equal(applied.arrays()["x"][:, 1], wanted.astype(np.float32))
    assert len(applied) == len(test)


def test_predictions_from_raw_inputs_equal_those_from_transformed_data(house: House) -> None:
    rows = house.dataset({"a.csv": table()})
    data, folder = house.run()
    found = made(data, "standardise", rows, into="x")
    linear(folder / "model.onnx", inputs=3, outputs=4)
    before = open_model(folder)(found.arrays()["x"])
    data.leave_for(folder)
    assert prepare(folder) is not None
    model = open_model(folder)
    raw = rows.arrays()
    columns = {name: raw[name] for name in "abc"}
    as_rows = np.stack([*columns.values()], axis=1)
    listed = {name: column.tolist() for name, column in columns.items()}
    for asked in (columns, listed, as_rows, as_rows.tolist(), {"x": as_rows}):
        assert np.array_equal(model(asked), before)
    assert np.array_equal(model(as_rows[7]), before[7:8])
    assert np.array_equal(ModelFiles(folder).transform(as_rows), found.arrays()["x"])
    with pytest.raises(ValueError, match=r"3 values \(a, b, c\).*\(200, 2\)"):
        model(as_rows[:, :2])


def test_images_are_resized_whatever_they_come_as(house: House) -> None:
    files = {
        f"{label}/{n}.png": png(n * 20, size)
        for n, (label, size) in enumerate([("one", (40, 30)), ("two", (8, 8)), ("one", (20, 20))])
    }
    images = house.dataset(files)
    data, folder = house.run()
    resized = made(data, "resize", images, size=12, mode="L")
    found = made(data, "standardise", resized, inputs=["image"])
    assert [step.name for step in found.transform.steps] == ["resize", "standardise"]
    assert resized.arrays()["image"].shape == (3, 12, 12)
    assert resized.arrays()["label"].tolist() == [0, 0, 1]
    data.leave_for(folder)
    assert not (folder / TRANSFORM_FILE).exists(), "a model there is none of has no transform"
    (folder / "weights").write_bytes(b"x")
    data.leave_for(folder)
    model = ModelFiles(folder)
    learnt = found.arrays()["image"]
    contents = [path.read_bytes() for path in images.files()]
    pixels = [np.asarray(image) for image, _ in images.images()]
    assert np.array_equal(model.transform(contents), learnt)
    assert np.array_equal(model.transform(pixels), learnt)
    for one, (content, array) in enumerate(zip(contents, pixels, strict=True)):
        for asked in (content, array, array.tolist(), {"image": array}):
            assert np.array_equal(model.transform(asked), learnt[one : one + 1])


@pytest.mark.parametrize("level", ["word", "byte", pytest.param("bpe", marks=pytest.mark.frameworks)])
def test_texts_become_numbers_and_unknown_words_are_one(house: House, level: str) -> None:
    data, folder = house.run()
    found = made(data, "tokenise", house.dataset({"a.csv": WORDS}), level=level, length=5)
    ids = found.arrays()["text"]
    assert (ids.shape, ids.dtype) == ((3, 5), np.int32)
    if level == "word":
        assert ids.tolist() == [[2, 5, 8, 0, 0], [2, 6, 0, 0, 0], [2, 4, 3, 7, 0]]
    (folder / "weights").write_bytes(b"x")
    data.leave_for(folder)
    model = ModelFiles(folder)
    assert np.array_equal(model.transform(["the cat sat", "the dog", "THE bird; sang"]), ids)
    assert np.array_equal(model.transform("the dog"), ids[1:2])
    assert np.array_equal(model.transform(b"the dog"), ids[1:2])
    if level == "word":
        assert model.transform("the zebra")[0, 1] == 1


def import_code(tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A module of user code, imported anew."""
    (tmp_path / "usercode.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    sys.modules.pop("usercode", None)
    import linecache

    linecache.clearcache()
    import usercode

    return usercode


CODE = """
FACTOR = 3
def helper(x): return x * FACTOR
def tripled(batch, plus=0): return {"x": helper(batch["a"]) + plus}
"""


def test_a_function_of_ones_own_is_computed_again_when_what_it_does_changes(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = house.dataset({"a.csv": table()})

    def said(code: str, **options: Any) -> tuple[bool, float]:
        module = import_code(tmp_path, code, monkeypatch)
        data, folder = house.run()
        found = made(data, module.tripled, rows, inputs=["a"], **options)
        (folder / "weights").write_bytes(b"x")
        data.leave_for(folder)
        assert np.array_equal(ModelFiles(folder).transform(rows.arrays()["a"]), found.arrays()["x"])
        return "computed" in capsys.readouterr().err, float(found.arrays()["x"][0])

    is_new, first = said(CODE)
    assert is_new
    assert said(CODE + "\n# a remark\n") == (False, first)
    assert said(CODE, plus=1) == (True, first + 1)
    assert said(CODE.replace("FACTOR = 3", "FACTOR = 6")) == (True, first * 2)
    assert said(CODE.replace("x * FACTOR", "x * FACTOR * 4")) == (True, first * 4)
    sys.modules.pop("usercode")


def test_a_model_whose_code_is_not_there_does_not_load(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = import_code(tmp_path, CODE, monkeypatch)
    data, folder = house.run()
    made(data, module.tripled, house.dataset({"a.csv": table()}), inputs=["a"])
    linear(folder / "model.onnx", inputs=3, outputs=4)
    data.leave_for(folder)
    assert prepare(folder) is not None
    (tmp_path / "usercode.py").unlink()
    sys.modules.pop("usercode")
    with pytest.raises(BadModel, match=r"usercode:tripled, which is not there"):
        open_model(folder)


def test_code_that_cannot_be_told_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = CODE + "class Deep: pass\nSTATE = Deep()\ndef reads(batch): return STATE\n"
    module = import_code(tmp_path, code, monkeypatch)
    with pytest.raises(ValueError, match="reads STATE, a Deep"):
        fingerprint(module.reads)
    with pytest.raises(ValueError, match="top level"):
        fingerprint(lambda batch: batch)
    sys.modules.pop("usercode")


def test_two_transforms_do_not_go_with_one_model(house: House) -> None:
    rows = house.dataset({"a.csv": table()})
    data, _ = house.run()
    made(data, "standardise", rows, into="x")
    made(data, "standardise", rows, into="x")
    with pytest.raises(ValueError, match="serve=False"):
        made(data, "standardise", rows, inputs=["a"])
    made(data, "standardise", rows, inputs=["a"], serve=False)


@pytest.mark.parametrize(
    ("what", "more", "says"),
    [
        ("normalise", {}, "no transform 'normalise'"),
        ("standardise", {"inputs": ["nowhere"]}, "no 'nowhere'"),
        ("standardise", {"inputs": ["word"]}, "it is no number"),
        ("standardise", {"inputs": ["a"], "per": "row"}, "per='row'"),
        ("standardise", {"inputs": ["a"], "axis": 1}, "no option 'axis'"),
        ("resize", {"inputs": ["a"], "size": 0}, "sides are whole numbers"),
        ("resize", {"inputs": ["a"], "size": "big"}, "size='big' is no size"),
        ("resize", {"size": 3}, "name what is to be resized"),
        ("tokenise", {"length": 0}, "length=0"),
        ("tokenise", {"inputs": ["a"]}, "it is no text"),
    ],
)
def test_what_makes_no_sense_is_refused(house: House, what: str, more: dict[str, Any], says: str) -> None:
    rows = house.dataset({"a.csv": b"a,word\n1.5,one\n2.5,two\n"})
    with pytest.raises(ValueError, match=says):
        made(house.run()[0], what, rows, **more)


def test_a_function_has_to_make_one_item_of_each(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = "def half(batch): return {'a': batch['a'][::2]}\ndef none(batch): return 7\n"
    module = import_code(tmp_path, code, monkeypatch)
    rows = house.dataset({"a.csv": table()})
    with pytest.raises(ValueError, match="100 items of 200"):
        made(house.run()[0], module.half, rows)
    with pytest.raises(TypeError, match="returned a int"):
        made(house.run()[0], module.none, rows)
    assert not [path for path in (house.folder / "kept").iterdir() if path.is_dir()]
    sys.modules.pop("usercode")


def test_a_full_disk_leaves_nothing_of_it(tmp_path: Path) -> None:
    rows = dataset_of(tmp_path / "store", {"x.npy": _npy(np.ones((40_000, 4)))})
    with small_disk(tmp_path / "small", room_bytes=200_000) as small:
        call = JobCall("run", transforms_dir=str(small / "kept"))
        (tmp_path / "work").mkdir()
        with pytest.raises(OSError, match=r"No space left|File too large"):
            made(DataOfRun(call, tmp_path / "work", ManualClock()), "standardise", rows)
        assert not [*(small / "kept").iterdir()]


def test_a_run_is_held_to_its_versions(tmp_path: Path) -> None:
    ref = ref_of(tmp_path, {"a.csv": table()}, name="rows", number=4)
    data = DataOfRun(JobCall("run", datasets={"rows": ref}), tmp_path, ManualClock())
    assert data.open("rows").version == data.open("rows@4").version == 4
    for name, says in (("rows@3", "held to rows@4"), ("other", "lambent data add other"), ("a b", "a b")):
        with pytest.raises(BadData, match=says):
            data.open(name)


def _npy(array: Any) -> bytes:
    content = io.BytesIO()
    np.save(content, array)
    return content.getvalue()
