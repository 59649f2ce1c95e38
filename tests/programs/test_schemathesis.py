"""Requests made from the OpenAPI document of the control API, right and wrong ones, find no error of ours."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

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
# A log that is followed does not end, a key that is taken back may be the one that asks, and an upload is no
# JSON, which is all that is made up here.
LEFT_OUT = r"/logs$|/keys/|/artifacts$"


@pytest.mark.programs
@pytest.mark.parametrize("phase", ["coverage", "fuzzing,stateful"])
def test_whatever_the_description_allows_or_forbids_is_answered_as_it_says_and_by_no_error_of_ours(
    tmp_path: Path, phase: str
) -> None:
    running = RunningServer(tmp_path / "state").start()
    try:
        (tmp_path / "app.py").write_text(CODE)
        running.deploy(tmp_path / "app.py")
        description = tmp_path / "openapi.json"
        description.write_bytes(running.request("GET", "/api/v1/openapi.json").body)
        done = subprocess.run(
            [
                *(environment("schemathesis") / "bin" / "schemathesis", "run", description),
                *("--url", running.url, "--header", f"Authorization: Bearer {running.about['api_key']}"),
                *("--checks", CHECKS, "--phases", phase, "--exclude-path-regex", LEFT_OUT),
                *("--max-examples", "15", "--max-time", "25", "--seed", "7", "--request-timeout", "60"),
                *("--continue-on-failure", "--warnings", "off", "--no-color"),
            ],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=PATIENT_S,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
        assert running.request("GET", "/readyz").status == 200
    finally:
        status = running.stop()
    log = [json.loads(line) for line in running.log().splitlines() if line.startswith("{")]
    assert [line for line in log if line["level"] == "error"] == []
    assert status == 0
