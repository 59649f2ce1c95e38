"""Clients of those of AWS's services that are not here hear so, each in the form that it reads."""

from __future__ import annotations

from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from tests.support.aws_clients import REGION
from tests.support.server import RunningServer


@pytest.mark.parametrize(("service", "call", "words", "what"), [
    ("events", "put_rule", {"Name": "x"}, "AWSEvents.PutRule is not served here"),
    ("dynamodb", "list_tables", {}, "DynamoDB_20120810.ListTables is not served here"),
    ("apigateway", "get_rest_apis", {}, "apigateway: GET /restapis is not served here"),
    ("sts", "get_caller_identity", {}, "sts: POST / is not served here"),
    ("cloudformation", "list_stacks", {}, "cloudformation: POST / is not served here"),
    ("s3", "list_buckets", {}, "s3: GET / is not served here"),
    ("s3", "get_object", {"Bucket": "metrics", "Key": "a<b"}, "s3: GET /metrics/a<b is not served here"),
])  # fmt: skip
def test_what_is_not_here_is_told(
    server: RunningServer, service: str, call: str, words: dict[str, Any], what: str
) -> None:
    client = boto3.client(
        service,
        endpoint_url=server.url,
        region_name=REGION,
        aws_access_key_id=server.about["access_key_id"],
        aws_secret_access_key=server.about["secret_access_key"],
        config=Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}),
    )
    with pytest.raises(ClientError) as raised:
        getattr(client, call)(**words)
    error = raised.value.response["Error"]
    assert error["Code"] == "UnknownOperationException"
    assert error["Message"].startswith(what)


def test_the_servers_own_pages_are_there_for_who_does_not_sign(server: RunningServer) -> None:
    assert server.request("GET", "/").status == 200
    assert server.request("GET", "/nowhere").headers["content-type"] == "application/problem+json"
