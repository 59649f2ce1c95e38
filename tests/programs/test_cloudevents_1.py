"""The cloudevents package of version 1, which functions-framework and KServe bring, knows the same wire."""

from __future__ import annotations

import pytest

from tests.support.programs import told_by
from tests.support.server import RunningServer

CODE = """
def reply(event, context):
    return {"specversion": "1.0", "id": "r1", "source": "/here", "type": "com.example.reply",
            "data": {"twice": event["n"] * 2, "of": context.cloud_event["id"]}}
"""
PROGRAM = """
import json, sys, urllib.request
from cloudevents.conversion import to_binary, to_structured
from cloudevents.http import CloudEvent, from_http

url, key = sys.argv[1:]
event = CloudEvent({"type": "com.example.ask", "source": "here", "id": "e 1"}, {"n": 4})
for write in (to_binary, to_structured):
    headers, body = write(event)
    request = urllib.request.Request(url, body, {**headers, "Authorization": "Bearer " + key})
    with urllib.request.urlopen(request, timeout=300) as answer:
        read = from_http(dict(answer.headers.items()), answer.read())
    print(json.dumps([read["id"], read["type"], read.data]))
"""


@pytest.fixture(scope="module")
def deployed(server: RunningServer, tmp_path_factory: pytest.TempPathFactory) -> RunningServer:
    code = tmp_path_factory.mktemp("events") / "code.py"
    code.write_text(CODE)
    server.deploy(f"{code}:reply")
    return server


@pytest.mark.programs
def test_the_package_of_version_1_sends_and_reads_events(deployed: RunningServer) -> None:
    told = told_by("functions-framework", PROGRAM, f"{deployed.url}/invoke/reply", deployed.about["api_key"])
    answer = ["r1", "com.example.reply", {"twice": 8, "of": "e 1"}]
    assert told == [answer, answer]
