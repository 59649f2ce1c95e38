"""Requests made from descriptions in OpenAPI, right and wrong ones, find no error of ours."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support import models
from tests.support.open_inference import open_inference
from tests.support.patience import PATIENT_S
from tests.support.programs import environment
from tests.support.server import RunningServer

# What the examples of the document name, so that more than what is not there is asked for.
CODE = """
import lambent

app = lambent.App("told")

@app.function()
def hello(event, context):
    return event

@app.job()
def fit(run):
    run.report(accuracy=1.0)
"""
# Answers are as the document says, too, and who has no key gets none.
CHECKS = ",".join(
    (
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_schema_conformance",
        "ignored_auth",
    )
)
# A log that is followed does not end, a key that is taken back may be the one that asks, and uploads are no
# JSON, which is all that is made up here.
LEFT_OUT = r"/logs$|/keys/|/artifacts$|/datasets/[^/]+$"


@pytest.mark.programs
@pytest.mark.parametrize("phase", ["coverage", "fuzzing,stateful"])
def test_whatever_the_description_allows_or_forbids_is_answered_as_it_says_and_by_no_error_of_ours(
    tmp_path: Path, phase: str
) -> None:
    with well(tmp_path) as running:
        (tmp_path / "app.py").write_text(CODE)
        running.deploy(tmp_path / "app.py")
        description = running.request("GET", "/api/v1/openapi.json").body
        ask(running, tmp_path, description, "--checks", CHECKS, "--phases", phase)


@pytest.mark.programs
@pytest.mark.parametrize("phase", ["coverage", "fuzzing"])
def test_whatever_is_sent_by_the_open_inference_protocol_is_answered_in_its_words(
    tmp_path: Path, phase: str
) -> None:
    with well(tmp_path) as running:
        models.linear(tmp_path / "linear.onnx", inputs=2, outputs=2)
        running.deploy(tmp_path / "linear.onnx")
        description = json.dumps(open_inference(("linear", "nobody"))).encode()
        ask(running, tmp_path, description, "--checks", CHECKS, "--phases", phase)


@contextmanager
def well(folder: Path) -> Iterator[RunningServer]:
    """A server that is ready at the end, has said nothing of errors, and stops."""
    running = RunningServer(folder / "state").start()
    try:
        yield running
        assert running.request("GET", "/readyz").status == 200
    finally:
        status = running.stop()
    log = [json.loads(line) for line in running.log().splitlines() if line.startswith("{")]
    assert [line for line in log if line["level"] == "error"] == []
    assert status == 0


def ask(running: RunningServer, folder: Path, description: bytes, *how: str) -> None:
    (folder / "openapi.json").write_bytes(description)
    done = subprocess.run(
        [
            *(environment("schemathesis") / "bin" / "schemathesis", "run", folder / "openapi.json"),
            *("--url", running.url, "--header", f"Authorization: Bearer {running.about['api_key']}"),
            *(*how, "--exclude-path-regex", LEFT_OUT),
            *("--max-examples", "15", "--max-time", "25", "--seed", "7", "--request-timeout", "60"),
            *("--continue-on-failure", "--warnings", "off", "--no-color"),
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=PATIENT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
