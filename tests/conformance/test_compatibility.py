"""The page that says what other people's clients can do here is what the server does."""

from __future__ import annotations

from typing import Any

import botocore.session
import pytest

from tests.support.aws_fuzz import Fuzz
from tests.support.compatibility import LISTED_IN_PART, PAGE, SERVICES, listed, operations_of, render
from tests.support.server import RunningServer


def test_the_page_is_as_it_would_be_written_now() -> None:
    page = PAGE.read_text()
    assert render(listed(page)) == page, "run `make compatibility`"


@pytest.mark.parametrize("service", SERVICES)
def test_what_the_page_says_is_there_is_there_and_nothing_else(server: RunningServer, service: str) -> None:
    said = {name for of, name in listed(PAGE.read_text()) if of == service}
    model = botocore.session.get_session().get_service_model(service)
    asked = operations_of(service) if service not in LISTED_IN_PART else sorted(said)
    there = {name for name in asked if is_there(server, model.operation_model(name))}
    assert there == said, "run `make compatibility`"


def is_there(server: RunningServer, operation: Any) -> bool:
    """Whether the server knows the operation: what it says of a request of no sense tells."""
    metadata = operation.service_model.metadata
    if "targetPrefix" in metadata:
        target = f"{metadata['targetPrefix']}.{operation.name}"
        answer = server.request("POST", "/", b"{}", X_Amz_Target=target)
    else:
        sent = Fuzz(operation.name, ["nobody"]).request(operation)
        answer = server.request(sent.method, sent.target, sent.body)
    kind = answer.headers.get("x-amzn-errortype", "")
    return kind != "UnknownOperationException"
