"""Model archives of TorchServe's are deployed as they are, and its inference API answers."""

from __future__ import annotations

import io
import json
import stat
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import urllib3

from tests.support.mar import archived
from tests.support.server import RunningServer

CLASS = """
import os
from ts.torch_handler.base_handler import BaseHandler
from ts.utils.util import PredictionException


class Words(BaseHandler):
    def initialize(self, context):
        properties = context.system_properties
        self.words = open(os.path.join(properties.get("model_dir"), "words.txt")).read().split()
        self.name = context.manifest["model"]["modelName"]
        self.batch_size = properties["batch_size"]
        self.top_k = (context.model_yaml_config or {}).get("top_k", 1)
        self.initialized = True

    def preprocess(self, data):
        texts = []
        for row in data:
            text = row.get("data") or row.get("body")
            if isinstance(text, (bytes, bytearray)):
                text = text.decode("utf-8")
            if isinstance(text, dict):
                text = text["text"]
            if text == "refuse":
                raise PredictionException("this text is refused", 422)
            texts.append(text)
        return texts

    def inference(self, texts):
        return [[word for word in self.words if word in text][: self.top_k] for text in texts]

    def postprocess(self, found):
        return [{"found": words, "beside": len(found), "model": self.name} for words in found]
"""

FUNCTION = """
state = {}


def entry(data, context):
    if not data:
        state["loaded"] = context.system_properties["model_dir"]
        return None
    answers = []
    for place, row in enumerate(data):
        body = row.get("body")
        context.set_response_content_type(place, "text/csv")
        context.set_response_header(place, "x-seen", str(context.get_request_header(place, "X-Ask")))
        if body == b"teapot":
            context.set_response_status(418, "I am a teapot", place)
        if body == b"measure":
            context.metrics.add_counter("Seen", 1, place)
        answers.append(f"{type(body).__name__},{sorted(row)},{len(body or b'')}")
    return answers
"""


@pytest.fixture(scope="module")
def words(server: RunningServer, tmp_path_factory: pytest.TempPathFactory) -> str:
    files = {
        "handler.py": CLASS,
        "words.txt": "good bad fine",
        "model-config.yaml": "batchSize: 4\ntop_k: 2\n",
    }
    mar = archived(tmp_path_factory.mktemp("mar") / "words.mar", files, configFile="model-config.yaml")
    server.deploy(mar)
    return "words"


@pytest.fixture(scope="module")
def plain(server: RunningServer, tmp_path_factory: pytest.TempPathFactory) -> str:
    mar = archived(tmp_path_factory.mktemp("mar") / "plain.mar", {"own.py": FUNCTION}, handler="own.py:entry")
    server.deploy(mar)
    return "plain"


def test_a_class_made_from_base_handler_answers_the_way_of_its_three_steps(
    server: RunningServer, words: str
) -> None:
    answer = server.invoke(words, {"text": "good and bad and fine"}).json()
    assert answer == {"found": ["good", "bad"], "beside": 1, "model": "words"}


def test_what_lies_in_the_archives_settings_is_set(server: RunningServer, words: str) -> None:
    assert (
        server.request("GET", f"/api/v1/deployments/{words}").json()["revisions"][0]["spec"]["max_batch"] == 4
    )


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        pytest.param(b"good", "text/plain", id="text"),
        pytest.param(b"good", "application/octet-stream", id="bytes"),
        pytest.param(b"good", "", id="as curl -T sends a file"),
        pytest.param(b'{"text": "good"}', "application/json", id="JSON"),
        pytest.param(b'{"text": "good"}', "application/x-www-form-urlencoded", id="as curl -d sends JSON"),
        pytest.param(b"data=good", "application/x-www-form-urlencoded", id="a form"),
    ],
)
def test_the_inference_api_takes_what_torchserve_takes(
    server: RunningServer, words: str, body: bytes, content_type: str
) -> None:
    headers = {"Content_Type": content_type} if content_type else {}
    answer = server.request("PUT", f"/predictions/{words}", body, **headers)
    assert (answer.status, answer.json()["found"]) == (200, ["good"])


def test_a_form_with_a_file_is_its_fields(server: RunningServer, words: str) -> None:
    body, content_type = urllib3.encode_multipart_formdata({"data": ("a.txt", b"bad", "text/plain")})
    answer = server.request("POST", f"/predictions/{words}/1", body, Content_Type=content_type)
    assert answer.json()["found"] == ["bad"]


def test_calls_that_wait_are_one_batch_and_one_that_is_refused_is_refused_alone(
    server: RunningServer, words: str
) -> None:
    def ask(place: int) -> tuple[int, bytes]:
        text = b"refuse" if place % 8 == 0 else b"fine"
        answer = server.request("POST", f"/predictions/{words}", text, Content_Type="text/plain")
        return answer.status, answer.body

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(ask, range(32)))
    assert [status for status, _ in answers] == [422 if place % 8 == 0 else 200 for place in range(32)]
    assert all(json.loads(body)["found"] == ["fine"] for status, body in answers if status == 200)
    refused = json.loads(answers[0][1])
    assert refused["code"] == 422
    assert "this text is refused" in refused["message"]


def test_a_function_loads_without_data_and_sets_status_headers_and_type(
    server: RunningServer, plain: str
) -> None:
    answer = server.request("POST", f"/predictions/{plain}?size=2", b"\x89PNG", X_Ask="why")
    assert answer.body == b"bytearray,['body', 'size'],4"
    assert answer.headers["content-type"] == "text/csv"
    assert answer.headers["x-seen"] == "why"
    teapot = server.request("POST", f"/invoke/{plain}", b"teapot", Content_Type="application/octet-stream")
    assert teapot.status == 418


def test_a_version_is_a_revision_or_an_alias(server: RunningServer, plain: str) -> None:
    assert server.cli("alias", plain, "set", "live=1").returncode == 0
    for version in ("1", "live"):
        assert server.request("POST", f"/predictions/{plain}/{version}", b"ab").body.endswith(b",2")


def test_a_metric_is_a_line_of_the_log(server: RunningServer, plain: str) -> None:
    server.request("POST", f"/predictions/{plain}", b"measure")
    lines = server.cli("logs", plain).stdout
    assert "[METRICS]Seen.Count:1|#ModelName:plain,Level:Model,requestId:" in lines


def test_ping_needs_no_key(server: RunningServer) -> None:
    answer = server.request("GET", "/ping", key="")
    assert (answer.status, answer.json()) == (200, {"status": "Healthy"})


@pytest.mark.parametrize(
    ("method", "path", "body", "key", "status", "kind"),
    [
        pytest.param(
            "POST", "/predictions/nobody", b"{}", None, 404, "ModelNotFoundException", id="no model"
        ),
        pytest.param(
            "POST", "/predictions/plain/9.9", b"", None, 404, "ModelNotFoundException", id="no version"
        ),
        pytest.param(
            "GET", "/predictions/plain", None, None, 405, "MethodNotAllowedException", id="no method"
        ),
        pytest.param("POST", "/predictions/plain", b"", "", 401, "InvalidKeyException", id="no key"),
        pytest.param("POST", "/predictions/", b"", None, 404, "ModelNotFoundException", id="no name"),
    ],
)
def test_what_is_wrong_is_refused_in_torchserves_shape(
    server: RunningServer,
    plain: str,
    method: str,
    path: str,
    body: bytes,
    key: str | None,
    status: int,
    kind: str,
) -> None:
    answer = server.request(method, path, body, key=key)
    told = answer.json()
    assert (answer.status, told["code"], told["type"]) == (status, status, kind)
    assert told["message"]


def test_a_broken_form_is_the_callers_fault(server: RunningServer, plain: str) -> None:
    answer = server.request(
        "POST", f"/predictions/{plain}", b"no form", Content_Type="multipart/form-data; boundary=x"
    )
    assert (answer.status, answer.json()["type"]) == (400, "BadRequestException")


def test_a_model_store_is_imported_as_it_was_configured(server: RunningServer, tmp_path: Path) -> None:
    (tmp_path / "model-store").mkdir()
    (tmp_path / "config").mkdir()
    archived(tmp_path / "model-store" / "a.mar", {"own.py": FUNCTION}, handler="own.py:entry")
    archived(
        tmp_path / "model-store" / "b.mar", {"own.py": FUNCTION}, handler="own.py:entry", modelName="second"
    )
    (tmp_path / "config" / "config.properties").write_text(
        "inference_address=http://0.0.0.0:8080\n# a comment\nload_models=all\nmodels={\\\n"
        '  "first": {\\\n    "1.0": {"defaultVersion": true, "marName": "a.mar", "minWorkers": 0,\\\n'
        '      "maxWorkers": 3, "batchSize": 8, "maxBatchDelay": 50, "responseTimeout": 120}\\\n  }\\\n}\n'
    )
    done = server.cli("import", "torchserve", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "deployed  first" in done.stdout
    assert "deployed  second" in done.stdout
    assert "ignored  first: maxBatchDelay: " in done.stdout
    assert "ignored  inference_address: " in done.stdout
    spec = server.request("GET", "/api/v1/deployments/first").json()["revisions"][0]["spec"]
    assert (spec["workers_max"], spec["max_batch"], spec["timeout_s"]) == (3, 8, 120)
    assert server.request("POST", "/predictions/second", b"xy").body == b"bytearray,['body'],2"
    archived(tmp_path / "model-store" / "0.mar", {}, handler="image_classifier", modelName="pictures")
    again = server.cli("import", "torchserve", str(tmp_path), "--set", "max_batch=2")
    assert again.returncode == 1
    assert "failed  pictures  Lambent.NoBuiltInHandler: the handler 'image_classifier'" in again.stdout
    assert "deployed  first" in again.stdout


@pytest.mark.parametrize(
    ("files", "handler", "said"),
    [
        pytest.param(
            {"x.py": ""},
            "image_classifier",
            "'image_classifier' is one that TorchServe brings",
            id="built-in",
        ),
        pytest.param({"x.py": ""}, "handler.py", "which the archive lacks", id="a handler that is not there"),
        pytest.param(
            {"x.py": "class A:\n  pass\nclass B:\n  pass\n"}, "x.py", "its classes are A, B", id="two classes"
        ),
        pytest.param(
            {"x.py": "class A:\n  pass\n"}, "x.py", "no handle(self, data, context)", id="no handle"
        ),
        pytest.param(
            {"x.py": "from ts.torch_handler.vision_handler import VisionHandler\n"},
            "x.py",
            "imports ts.torch_handler.vision_handler, which is a part of TorchServe that is not here",
            id="a part that is not here",
        ),
        pytest.param(
            {"x.py": "def handle(data, context):\n  1 / 0\n"}, "x.py", "division by zero", id="raises"
        ),
    ],
)
def test_an_archive_that_cannot_be_served_is_told_at_the_deploy(
    server: RunningServer, tmp_path: Path, files: dict[str, str], handler: str, said: str
) -> None:
    done = server.cli("deploy", str(archived(tmp_path / "bad.mar", files, handler=handler)))
    assert done.returncode != 0
    assert said in done.stderr


def _zipped(entries: list[tuple[zipfile.ZipInfo, bytes]], path: Path) -> Path:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for entry, data in entries:
            archive.writestr(entry, data)
    path.write_bytes(content.getvalue())
    return path


def test_an_archive_that_leads_out_of_its_folder_is_refused_by_the_entrys_name(
    server: RunningServer, tmp_path: Path
) -> None:
    link = zipfile.ZipInfo("own/link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    for entry, said in (
        (zipfile.ZipInfo("../../evil.py"), "'../../evil.py' leads out of the tree"),
        (zipfile.ZipInfo("/etc/evil"), "'/etc/evil' is an absolute path"),
        (link, "'own/link' is not a plain file"),
    ):
        done = server.cli("deploy", str(_zipped([(entry, b"x")], tmp_path / "evil.mar")))
        assert done.returncode != 0
        assert said in done.stderr
    (tmp_path / "evil.mar").write_bytes(b"PK\x03\x04 and nothing more")
    assert "the archive cannot be read" in server.cli("deploy", str(tmp_path / "evil.mar")).stderr
