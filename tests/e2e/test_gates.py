"""From nothing to an answer, through a gate: what is trained serves only where it is good enough."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from lambent.client.client import Client
from lambent.client.errors import ApiError
from lambent.wire.runs import RunView
from tests.support import models
from tests.support.server import RunningServer, wait_until

CODE = """
import shutil

import numpy

import lambent

app = lambent.App("gates")


@app.job(memory="512MiB")
def fit(run):
    shutil.copy(run.params.get("source", "{weak}"), run.model_dir / "linear.onnx")
    run.report(said=1.0)


def score(model, run):
    return {{"error": abs(5.0 - float(model.predict([[1.0, 1.0, 1.0, 1.0]])[0][0]))}}


@app.model(train=fit, evaluate=score, accept="error <= 2 and lower(error)")
class Gated:
    def load(self, model):
        self.network = model.load()

    def predict(self, rows):
        return self.network(numpy.asarray(rows, numpy.float32)).tolist()
"""
FINAL = {"succeeded", "failed", "cancelled"}
ROWS = [[1.0, 1.0, 1.0, 1.0]]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Models whose error is 9, 2, 1 and 0."""
    folder = tmp_path_factory.mktemp("models")
    biases = {"weak": 8.0, "fair": 1.0, "good": 0.0, "best": -1.0}
    return {name: str(models.linear(folder / f"{name}.onnx", bias=bias)) for name, bias in biases.items()}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, files: dict[str, str]) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("gates")
    running = RunningServer(folder / "state").start()
    (folder / "app.py").write_text(CODE.format(weak=files["weak"]))
    running.deploy(str(folder / "app.py"))
    yield running
    running.stop()


@pytest.fixture(scope="module")
def client(server: RunningServer) -> Iterator[Client]:
    with Client(server.url, str(server.about["api_key"])) as made:
        yield made


def trained(client: Client, source: str) -> RunView:
    started = client.run("gates-fit", {"source": source})
    wait_until(lambda: client.show_run(started.run).state in FINAL, "the run to end")
    return client.show_run(started.run)


def test_a_model_serves_only_where_its_gate_lets_it(client: Client, files: dict[str, str]) -> None:
    with pytest.raises(Exception, match=r"refused.*not error <= 2 and lower\(error\): it has.*error=9"):
        client.invoke("gated", ROWS)  # nothing is there: it is trained, and what comes of it is too weak
    (first,) = client.models("gated")
    assert first.refused.startswith("not error <= 2")
    assert first.metrics == {"said": 1.0, "error": 9.0}

    fair = trained(client, files["fair"])
    assert (fair.state, fair.model_number, fair.model_refused) == ("succeeded", 2, "")
    assert client.invoke("gated", ROWS) == [[7.0, 11.0, 15.0]]

    weaker = trained(client, files["weak"])
    assert (weaker.state, weaker.model_number) == ("succeeded", 3)
    assert "the champion has error=2" in weaker.model_refused
    assert client.invoke("gated", ROWS) == [[7.0, 11.0, 15.0]]  # the champion serves on

    assert trained(client, files["best"]).model_refused == ""
    assert client.invoke("gated", ROWS) == [[5.0, 9.0, 13.0]]
    again = trained(client, files["good"])
    assert "error=1; the champion has error=0" in again.model_refused
    assert [one.refused != "" for one in client.models("gated")] == [True, False, True, False, True]


def test_somebody_who_knows_better_lets_a_refused_model_serve(
    server: RunningServer, client: Client, files: dict[str, str]
) -> None:
    trained(client, files["best"])
    refused = trained(client, files["good"])
    assert refused.model_refused
    printed = json.loads(server.cli("models", "gated", "--serve", str(refused.model_number), "--json").stdout)
    assert (printed[0]["number"], printed[0]["refused"]) == (refused.model_number, "")
    assert client.invoke("gated", ROWS) == [[6.0, 10.0, 14.0]]
    with pytest.raises(ApiError, match="'gated' has no model 99"):
        client.serve_model("gated", 99)
