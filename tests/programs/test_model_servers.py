"""Servers of models by others, unmodified, as commands: BentoML, LitServe, and MLflow's scoring server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.compatibility import note
from tests.support.programs import environment
from tests.support.server import RunningServer, wait_until

pytestmark = [pytest.mark.programs, pytest.mark.timeout(300)]

BENTO = """
from typing import Iterator
import bentoml

@bentoml.service(workers=1)
class Summary:
    @bentoml.api
    def summarize(self, text: str, words: int = 3) -> str:
        return " ".join(text.split()[:words])

    @bentoml.api
    def spell(self, text: str) -> Iterator[str]:
        yield from text
"""

LIT = """
import os
import litserve

class Square(litserve.LitAPI):
    def setup(self, device):
        self.power = 2

    def decode_request(self, request):
        return request["input"]

    def predict(self, x):
        return x ** self.power

    def encode_response(self, output):
        return {"output": output}

if __name__ == "__main__":
    server = litserve.LitServer(Square(), accelerator="cpu")
    server.run(host=os.environ["HOST"], port=int(os.environ["PORT"]), generate_client_file=False)
"""

MLMODEL = """
flavors:
  python_function:
    loader_module: own_model
    code: code
"""
LOADER = """
class Model:
    def predict(self, model_input, params=None):
        return model_input.sum(axis=1).to_numpy()

def _load_pyfunc(path):
    return Model()
"""


def posted(server: RunningServer, path: str, value: object) -> object:
    answer = server.request(
        "POST", f"/invoke/{path}", json.dumps(value).encode(), Content_Type="application/json"
    )
    assert answer.status == 200, answer.body
    return answer.json()


def deploy(server: RunningServer, folder: Path, name: str, command: str, ready_path: str) -> None:
    server.deploy(
        folder, "--cmd", command, "--name", name, "--set", "memory=4GiB", "--set", f"ready_path={ready_path}",
        "--set", "keep_alive_s=1", "--set", "ready_timeout_s=120",
    )  # fmt: skip


def test_a_service_of_bentoml(server: RunningServer, tmp_path: Path) -> None:
    (tmp_path / "service.py").write_text(BENTO)
    command = f"{environment('bentoml')}/bin/bentoml serve service:Summary --host $HOST --port $PORT"
    deploy(
        server,
        tmp_path,
        "bento",
        f"BENTOML_DO_NOT_TRACK=1 PATH={environment('bentoml')}/bin:$PATH {command}",
        "/readyz",
    )
    answer = server.request(
        "POST", "/invoke/bento/summarize", b'{"text": "a b c d"}', Content_Type="application/json"
    )
    assert (answer.status, answer.body) == (200, b"a b c")
    spelled = server.request(
        "POST", "/invoke/bento/spell", b'{"text": "abc"}', Content_Type="application/json"
    )
    assert spelled.body == b"abc"
    wait_until(lambda: server.deployment("bento")["workers"] == 0, "it to sleep, and all its processes")
    note("programs", "BentoML: service")


def test_a_service_of_litserve(server: RunningServer, tmp_path: Path) -> None:
    (tmp_path / "serve.py").write_text(LIT)
    deploy(server, tmp_path, "lit", f"{environment('litserve')}/bin/python serve.py", "/health")
    assert posted(server, "lit/predict", {"input": 4}) == {"output": 16}
    wait_until(lambda: server.deployment("lit")["workers"] == 0, "it to sleep, and all its processes")
    assert posted(server, "lit/predict", {"input": 5}) == {"output": 25}
    note("programs", "LitServe: LitAPI")


def test_a_model_of_mlflow(server: RunningServer, tmp_path: Path) -> None:
    (tmp_path / "MLmodel").write_text(MLMODEL)
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "own_model.py").write_text(LOADER)
    home = environment("mlflow") / "bin"
    command = f"PATH={home}:$PATH mlflow models serve -m . -h $HOST -p $PORT --env-manager local"
    deploy(server, tmp_path, "scored", command, "/ping")
    said = posted(
        server, "scored/invocations", {"dataframe_split": {"columns": ["a", "b"], "data": [[1, 2], [3, 4]]}}
    )
    assert said == {"predictions": [3, 7]}
    bad = server.request("POST", "/invoke/scored/invocations", b"{}", Content_Type="application/json")
    assert bad.status == 400
    note("programs", "MLflow: models serve")
