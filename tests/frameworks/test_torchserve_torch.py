"""Handlers of TorchServe's that are made from BaseHandler load torch's models, scripted and eager."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.mar import archived
from tests.support.server import RunningServer

pytestmark = [pytest.mark.frameworks, pytest.mark.timeout(300)]

NETWORK = """
import torch


class Doubling(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(3, 2)

    def forward(self, rows):
        return self.layer(rows)
"""

HANDLER = """
import torch
from ts.torch_handler.base_handler import BaseHandler
from ts.utils.util import map_class_to_label


class Classifier(BaseHandler):
    def preprocess(self, data):
        return torch.tensor([row.get("data") or row.get("body") for row in data])

    def postprocess(self, outputs):
        best, classes = torch.topk(outputs, 1, dim=1)
        return map_class_to_label(best.tolist(), self.mapping, classes.tolist())
"""
WEIGHT, BIAS = [[1.0, 0.0, 0.0], [0.0, 2.0, 0.0]], [0.5, 0.0]
ROWS = {"one": [3.0, 1.0, 0.0], "two": [1.0, 3.0, 0.0]}
ANSWERS = {"one": {"cat": 3.5}, "two": {"dog": 6.0}}
LABELS = '{"0": ["n1", "cat"], "1": "dog"}'


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    running = RunningServer(tmp_path_factory.mktemp("server") / "state").start()
    try:
        yield running
    finally:
        running.stop()


def scripted() -> bytes:
    import torch  # the fast suite collects this file where there is no torch

    layer = torch.nn.Linear(3, 2)
    layer.load_state_dict({"weight": torch.tensor(WEIGHT), "bias": torch.tensor(BIAS)})
    content = io.BytesIO()
    torch.jit.save(torch.jit.trace(layer, torch.zeros(1, 3)), content)  # type: ignore[no-untyped-call]  # torch's
    return content.getvalue()


def saved() -> bytes:
    import torch

    content = io.BytesIO()
    torch.save({"layer.weight": torch.tensor(WEIGHT), "layer.bias": torch.tensor(BIAS)}, content)
    return content.getvalue()


@pytest.mark.filterwarnings("ignore:`torch.jit")
@pytest.mark.parametrize("kind", ["scripted", "eager"])
def test_a_classifier_answers_with_labels(server: RunningServer, tmp_path: Path, kind: str) -> None:
    files: dict[str, str | bytes] = {"handler.py": HANDLER, "index_to_name.json": LABELS}
    if kind == "scripted":
        mar = archived(tmp_path / "scripted.mar", files | {"m.pt": scripted()}, serializedFile="m.pt")
    else:
        files |= {"network.py": NETWORK, "m.pth": saved()}
        mar = archived(tmp_path / "eager.mar", files, serializedFile="m.pth", modelFile="network.py")
    server.deploy(mar, "--set", "memory=4GiB", "--set", "max_batch=4")
    for name, row in ROWS.items():
        assert server.request(
            "POST", f"/predictions/{kind}", str(row).encode(), Content_Type="application/json"
        ).json() == pytest.approx(ANSWERS[name])


@pytest.mark.filterwarnings("ignore:`torch.jit")
def test_a_model_without_a_handler_of_its_own_runs_by_base_handler(
    server: RunningServer, tmp_path: Path
) -> None:
    mar = archived(
        tmp_path / "base.mar",
        {"m.pt": scripted(), "own.py": "from ts.torch_handler.base_handler import BaseHandler\n"
         "class Own(BaseHandler):\n    def preprocess(self, data):\n"
         "        return super().preprocess([row['body'] for row in data])\n"},
        handler="own.py", serializedFile="m.pt",
    )  # fmt: skip
    server.deploy(mar, "--set", "memory=4GiB")
    answer = server.request("POST", "/predictions/base", b"[1, 1, 1.0]", Content_Type="application/json")
    assert answer.json() == pytest.approx([1.5, 2.0])
