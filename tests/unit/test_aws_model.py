"""The checker of AWS's answers notices what AWS would not say."""

from __future__ import annotations

import json
from typing import Any

import botocore.session
import pytest

from tests.support.aws_model import complaints

MODEL = botocore.session.get_session().get_service_model("lambda")
ARN = "arn:aws:lambda:eu-central-1:000000000000:function:f:a"
ALIAS = {"AliasArn": ARN, "Name": "a", "FunctionVersion": "1"}
REQUEST_ID = {"x-amzn-requestid": "some"}


def found(name: str, status: int, body: Any, **headers: str) -> list[str]:
    sent = {"status_code": status, "headers": {**REQUEST_ID, **headers}, "body": json.dumps(body).encode()}
    return list(complaints(MODEL.operation_model(name), sent))


def test_a_good_answer_has_nothing_wrong() -> None:
    assert not found("GetAlias", 200, ALIAS)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"Unknown": 1}, "has no member Unknown"),
        ({"Name": 1}, "is 1, not a string"),
        ({"Name": "1"}, "does not match"),
        ({"Name": "x" * 200}, "over 128"),
        ({"RoutingConfig": {"AdditionalVersionWeights": {"2": 3.5}}}, "over 1"),
        ({"RoutingConfig": []}, "not a structure"),
    ],
)
def test_a_wrong_member_is_noticed(changes: dict[str, Any], said: str) -> None:
    assert said in "".join(found("GetAlias", 200, {**ALIAS, **changes}))


def test_a_missing_member_a_wrong_status_and_no_request_id_are_noticed() -> None:
    assert "lacks FunctionUrl" in "".join(found("GetFunctionUrlConfig", 200, {}))
    assert "status 200 is not {201}" in "".join(found("CreateAlias", 200, ALIAS))
    sent = {"status_code": 200, "headers": {}, "body": json.dumps(ALIAS).encode()}
    assert "no x-amzn-RequestId" in "".join(complaints(MODEL.operation_model("GetAlias"), sent))


@pytest.mark.parametrize(
    ("status", "kind", "body", "said"),
    [
        (404, "ResourceNotFoundException", {"Message": "x", "Type": "User"}, ""),
        (400, "ResourceNotFoundException", {"Message": "x"}, "which is 404 in the model"),
        (400, "InventedException", {"Message": "x"}, "knows no InventedException"),
        (404, "ResourceNotFoundException", {"Type": "User"}, "without a message"),
        (404, "ResourceNotFoundException", {"Message": "x", "Trace": "y"}, "has no ['Trace']"),
        (404, "", {"Message": "x"}, "an error without a type"),
    ],
)
def test_errors_are_those_of_the_model(status: int, kind: str, body: Any, said: str) -> None:
    text = "".join(found("GetAlias", status, body, **{"x-amzn-errortype": kind}))
    assert said in text if said else not text
