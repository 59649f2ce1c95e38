"""Datasets from the command line into a job, and what it learnt of them into what its model is asked."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from tests.support.server import RunningServer, wait_until
from tests.support.tars import entry, tar_of, tar_of_entries

Write = Callable[[str, str], Path]
MNIST = Path(__file__).parent.parent.parent / "examples" / "digits" / "data" / "mnist.npz"
FINAL = ("succeeded", "failed", "cancelled", "interrupted")

LEARNS = '''
import lambent, numpy as np, onnx
from onnx import TensorProto, helper, numpy_helper

app = lambent.App("learning")

@app.model(train="fit")
class Digit:
    def load(self, model):
        self.network = model.load()
    def predict(self, inputs):
        return self.network(inputs)

@app.job()
def fit(run):
    """Least squares on standardised pixels, as an ONNX file."""
    data = run.data("mnist").select("x_train", "y_train")
    part, _ = data.split(train=0.05, rest=0.95)
    train = run.transform("standardise", part, inputs=["x_train"], per="feature")
    squares, products, seen = 0.0, 0.0, 0
    for batch in train.shuffle(3).batches(500):
        x = batch["x_train"].reshape(-1, 784).astype(np.float64)
        squares, products = squares + x.T @ x, products + x.T @ np.eye(10)[batch["y_train"]]
        seen += len(x)
    weights = np.linalg.solve(squares + 300 * np.eye(784), products).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("Flatten", ["x"], ["flat"]), helper.make_node("MatMul", ["flat", "w"], ["y"])],
        "digits",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 28, 28])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 10])],
        [numpy_helper.from_array(weights, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, run.model_dir / "digits.onnx")
    run.report(items=len(train), seen=seen, version=train.version)
'''

SUMS = """
import lambent
app = lambent.App("{app}")

@app.job({settings})
def total(run):
    rows = run.data("{data}")
    {wait}
    return {{"version": rows.version, "total": sum(row["x"] for row in rows)}}
"""


def data(server: RunningServer, *words: str) -> Any:
    done = server.cli("data", *words, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def refused(server: RunningServer, *words: str) -> str:
    done = server.cli("data", *words)
    assert done.returncode == 1, done.stdout
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    return done.stderr


def run_of(server: RunningServer, run: str) -> dict[str, Any]:
    found: dict[str, Any] = server.request("GET", f"/api/v1/runs/{run}").json()
    return found


def ended(server: RunningServer, run: str) -> dict[str, Any]:
    wait_until(lambda: run_of(server, run)["state"] in FINAL, "the run's end")
    return run_of(server, run)


def deploy_sums(
    server: RunningServer, write: Write, app: str, dataset: str, *, settings: str = "", wait: str = "pass"
) -> None:
    code = SUMS.format(app=app, data=dataset, settings=settings, wait=wait)
    server.deploy(write(f"{app}.py", code))


def test_a_folder_becomes_versions_that_are_listed_shown_and_removed(
    server: RunningServer, tmp_path: Path
) -> None:
    folder = tmp_path / "rows"
    folder.mkdir()
    (folder / "a.csv").write_text("x\n1\n2\n")
    first = data(server, "add", "listed", str(folder))
    assert (first["changed"], first["dataset"]["number"], first["dataset"]["kind"]) == (True, 1, "csv")
    assert data(server, "add", "listed", str(folder))["changed"] is False
    (folder / "b.csv").write_text("x\n3\n")
    second = data(server, "add", "listed", str(folder))
    assert (second["dataset"]["number"], second["dataset"]["files"]) == (2, 2)
    assert "listed@2" in server.cli("data", "show", "listed").stdout
    shown = data(server, "show", "listed@1")
    assert [file["path"] for file in shown["files"]] == ["a.csv"]
    assert [one["number"] for one in shown["versions"]] == [2, 1]
    assert {"name": "listed", "number": 2}.items() <= data(server, "ls")[0].items()
    stored = server.state_dir / "datasets" / "artifacts"
    assert (stored / second["dataset"]["digest"]).is_dir()
    assert [one["number"] for one in data(server, "rm", "listed@2")["removed"]] == [2]
    assert not (stored / second["dataset"]["digest"]).exists(), "the disk is free again"
    assert "listed@2" in refused(server, "show", "listed@2")
    assert "removed listed@1" in server.cli("data", "rm", "listed").stdout
    assert "listed" in refused(server, "rm", "listed")
    assert data(server, "add", "listed", str(folder / "a.csv"))["dataset"]["number"] == 1, "as it was before"


def test_what_is_learnt_of_mnist_is_done_to_the_pixels_that_the_model_is_asked(
    server: RunningServer, write: Write
) -> None:
    data(server, "add", "mnist", str(MNIST))
    server.deploy(write("learning.py", LEARNS))
    done = server.cli("run", "learning-fit", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    metrics = json.loads(done.stdout)["metrics"]
    assert metrics["items"] == metrics["seen"] > 2500
    with np.load(MNIST) as digits:
        raw, labels = digits["x_test"][:500], digits["y_test"][:500]
    served = np.array(server.invoke("digit", raw.tolist()).json(), np.float32)
    assert (served.argmax(axis=1) == labels).mean() > 0.75
    [chain] = (server.state_dir / "transforms" / "default").glob("*.transform.json")
    told = json.loads(chain.read_text())["steps"][0]["statistics"]["x_train"]
    ready = ((raw.astype(np.float64) - told["mean"]) / told["deviation"]).astype(np.float32)
    [model] = (server.state_dir / "artifacts").glob("*/digits.onnx")
    [direct] = onnxruntime.InferenceSession(model).run(None, {"x": ready})
    assert np.array_equal(served, direct), "as if the pixels had been transformed before"
    again = server.cli("run", "learning-fit", "--json")
    assert again.returncode == 0, again.stderr
    wait_until(
        lambda: "kept from before" in server.cli("logs", "learning-fit").stdout, "the second run's line"
    )
    lines = [line for line in server.cli("logs", "learning-fit").stdout.splitlines() if "transform" in line]
    assert ["computed in" in line for line in lines] == [True, False]


def test_a_run_goes_on_with_the_version_that_it_was_started_with(
    server: RunningServer, write: Write, tmp_path: Path
) -> None:
    rows, gate = tmp_path / "rows.csv", tmp_path / "gate"
    os.mkfifo(gate)
    rows.write_text("x\n1\n2\n")
    first = data(server, "add", "held", str(rows))["dataset"]
    deploy_sums(server, write, "held", "held", wait=f"open({str(gate)!r}).read()")
    run = json.loads(server.cli("run", "held-total", "--detach", "--json").stdout)["run"]
    with gate.open("w"):  # opens when the run is there to read
        rows.write_text("x\n50\n")
        data(server, "add", "held", str(rows))
        assert len(data(server, "rm", "held")["removed"]) == 2
        assert (server.state_dir / "datasets" / "artifacts" / first["digest"]).is_dir()
    end = ended(server, run)
    assert (end["state"], end["metrics"]) == ("succeeded", {"version": 1, "total": 3})
    assert end["datasets"]["held"] == 1
    data(server, "add", "other", str(rows))
    data(server, "rm", "other")
    assert not (server.state_dir / "datasets" / "artifacts" / first["digest"]).exists()


def test_new_data_starts_the_jobs_that_want_it(server: RunningServer, write: Write, tmp_path: Path) -> None:
    deploy_sums(server, write, "wanting", "fresh", settings="on_data='fresh, others'")
    rows = tmp_path / "rows.csv"
    rows.write_text("x\n4\n5\n")
    [run] = data(server, "add", "fresh", str(rows))["runs"]
    assert ended(server, run)["metrics"] == {"version": 1, "total": 9}
    assert data(server, "add", "fresh", str(rows))["runs"] == []
    assert data(server, "add", "unwanted", str(rows))["runs"] == []
    refused = server.cli("deploy", f"{write('f.py', 'def h(e, c): ...')}:h", "--set", "on_data=fresh")
    assert "on_data is for jobs" in refused.stderr


def test_files_that_were_changed_on_the_servers_disk_end_a_run_with_one_line(
    server: RunningServer, write: Write, tmp_path: Path
) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_text("x\n4\n5\n")
    digest = data(server, "add", "broken", str(rows))["dataset"]["digest"]
    kept = server.state_dir / "datasets" / "artifacts" / digest
    kept.chmod(0o755)
    (kept / "rows.csv").unlink()
    deploy_sums(server, write, "broken", "broken")
    end = ended(server, json.loads(server.cli("run", "broken-total", "--json").stdout)["run"])
    assert end["state"] == "failed"
    assert (
        "broken@1: rows.csv missing or changed on the server's disk: add the dataset again" in end["reason"]
    )
    assert data(server, "add", "broken", str(rows))["changed"] is False
    end = ended(server, json.loads(server.cli("run", "broken-total", "--json").stdout)["run"])
    assert (end["state"], end["metrics"]["total"]) == ("succeeded", 9), end


def test_adds_of_one_name_at_once_are_versions_of_it(server: RunningServer, tmp_path: Path) -> None:
    def add(number: int) -> int:
        body = tar_of({"a.csv": f"x\n{number % 4}\n".encode()})
        reply = server.request("POST", "/api/v1/datasets/crowd", body, Content_Type="application/x-tar")
        assert reply.status == 201, reply.body
        found: int = reply.json()["dataset"]["number"]
        return found

    with ThreadPoolExecutor(8) as pool:
        numbers = [*pool.map(add, range(16))]
    assert [numbers[n] == numbers[n % 4] for n in range(16)] == [True] * 16
    assert sorted({*numbers}) == [1, 2, 3, 4]


def test_a_run_may_be_started_with_an_older_version(
    server: RunningServer, write: Write, tmp_path: Path
) -> None:
    rows = tmp_path / "rows.csv"
    for number in (7, 8):
        rows.write_text(f"x\n{number}\n")
        data(server, "add", "older", str(rows))
    deploy_sums(server, write, "older", "older")
    runs = [server.cli("run", "older-total", *words, "--json") for words in ((), ("--data", "older@1"))]
    assert [json.loads(run.stdout)["metrics"]["total"] for run in runs] == [8, 7]
    for wrong, says in (("older@3", "there is no dataset 'older@3'"), ("older", "NAME@N")):
        assert says in server.cli("run", "older-total", "--data", wrong).stderr


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({}, "holds no files"),
        ({"a.csv": b"x,y\n1,2\n1,2,3\n"}, "a.csv, line 3: 3 fields, where the header has 2"),
        ({"a.parquet": b"PAR1 and no end"}, "a.parquet is a Parquet file without its end"),
        ({"cat/a.png": b"<html>"}, "cat/a.png is no png file: it begins with b'<html>'"),
        ({"a.jsonl": b'{"a": 1}\n{\n'}, "a.jsonl, line 2 is no JSON"),
        ({"a.npy": b""}, "a.npy is empty"),
    ],
)
def test_files_are_looked_at_before_they_are_sent(
    server: RunningServer, tmp_path: Path, files: dict[str, bytes], says: str
) -> None:
    folder = tmp_path / "bad"
    folder.mkdir()
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
    assert says in refused(server, "add", "bad", str(folder))
    assert "there is no dataset 'bad'" in refused(server, "show", "bad")


def test_links_that_lead_out_and_files_that_are_not_there_are_named(
    server: RunningServer, tmp_path: Path
) -> None:
    folder = tmp_path / "linked"
    folder.mkdir()
    (folder / "there.csv").write_text("x\n1\n")
    (folder / "inside.csv").symlink_to("there.csv")
    assert data(server, "add", "linked", str(folder))["dataset"]["files"] == 2
    (folder / "out.csv").symlink_to("/etc/hostname")
    assert "out.csv is a link that leaves" in refused(server, "add", "linked", str(folder))
    (folder / "out.csv").unlink()
    (folder / "gone.csv").symlink_to("nowhere.csv")
    assert "gone.csv is a link to nothing" in refused(server, "add", "linked", str(folder))
    assert "nowhere is not there" in refused(server, "add", "linked", str(tmp_path / "nowhere"))


@pytest.mark.parametrize(
    ("name", "body", "status"),
    [
        ("good", tar_of({"../out": b"x"}), 400),
        ("good", tar_of({"/etc/out": b"x"}), 400),
        ("good", tar_of_entries([entry("link", kind=b"2", link="/etc/passwd")]), 400),
        ("good", tar_of({}), 400),
        ("good", b"no tar at all", 400),
        ("..", tar_of({"a": b"x"}), 404),
        ("a%2Fb", tar_of({"a": b"x"}), 404),
        ("-a", tar_of({"a": b"x"}), 422),
        ("a" * 64, tar_of({"a": b"x"}), 422),
    ],
)
def test_what_is_no_dataset_is_its_senders_fault(
    server: RunningServer, name: str, body: bytes, status: int
) -> None:
    reply = server.request("POST", f"/api/v1/datasets/{name}", body, Content_Type="application/x-tar")
    assert reply.status in (status, 422 if status == 404 else status), reply.body
    assert "good" not in [one["name"] for one in data(server, "ls")]


def test_a_key_that_may_only_read_adds_and_removes_nothing(server: RunningServer) -> None:
    key = json.loads(server.cli("keys", "create", "reader", "--role", "read", "--json").stdout)["api_key"]
    assert server.request("GET", "/api/v1/datasets", key=key).status == 200
    for method in ("POST", "DELETE"):
        assert server.request(method, "/api/v1/datasets/x", tar_of({"a": b"x"}), key=key).status == 403
    assert server.request("GET", "/api/v1/datasets?number=1").status == 200
    assert server.request("GET", "/api/v1/datasets/x?number=0").status == 400


KILLED = '''
import os, signal
import lambent

app = lambent.App("killed")

@app.job(slice_s=600, retries=9, retry_first_s=0.01)
def walk(run):
    """Goes through shuffled data, killed twice on its way, and tells what it has seen."""
    rows = run.data("walked").shuffle(11)
    batches = rows.batches(4, epochs=2)
    state = run.restore() or {"seen": [], "place": batches.state(), "lives": 0}
    batches.load(state["place"])
    lives, seen = state["lives"] + 1, state["seen"]
    for number, batch in enumerate(batches):
        seen = seen + [int(x) for x in batch["x"]]
        run.checkpoint({"seen": seen, "place": batches.state(), "lives": lives})
        if number == 3 and run.params.get("killed") and lives < 3:
            os.kill(os.getpid(), signal.SIGKILL)
    return {"seen": seen, "lives": lives}
'''


def test_a_killed_run_goes_on_at_its_place_in_the_data(
    server: RunningServer, write: Write, tmp_path: Path
) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_text("x\n" + "\n".join(map(str, range(30))))
    data(server, "add", "walked", str(rows))
    server.deploy(write("killed.py", KILLED))
    ends = []
    for words in ((), ("--set", "killed=1")):
        done = server.cli("run", "killed-walk", *words, "--json")
        assert done.returncode == 0, done.stdout + done.stderr
        ends.append(json.loads(done.stdout)["result"])
    unbroken, killed = ends
    assert sorted(unbroken["seen"][:30]) == sorted(unbroken["seen"][30:]) == [*range(30)]
    assert (unbroken["lives"], killed["lives"]) == (1, 3)
    assert killed["seen"] == unbroken["seen"]
