"""AWS's own clients, as their users make them, pointed at a running server and strict about its answers."""

from __future__ import annotations

import io
import zipfile
from typing import Any, Final

import boto3
import pytest
import urllib3
from botocore.config import Config
from botocore.exceptions import ClientError

from tests.support import compatibility
from tests.support.aws_model import watched
from tests.support.patience import PATIENT_S
from tests.support.server import RunningServer

REGION: Final = "eu-central-1"
ROLE: Final = "arn:aws:iam::000000000000:role/worker"
PREFIX: Final = f"arn:aws:lambda:{REGION}:000000000000:function:"
HANDLER: Final = """
import os

def handler(event, context):
    return {
        "event": event,
        "version": context.function_version,
        "arn": context.invoked_function_arn,
        "mark": os.environ.get("MARK", ""),
    }
"""


def client_of(server: RunningServer, service: str = "lambda", **changes: Any) -> Any:
    """A boto3 client that sends what it is told to, and holds every answer against the model."""
    words = {
        "endpoint_url": server.url,
        "region_name": REGION,
        "aws_access_key_id": server.about["access_key_id"],
        "aws_secret_access_key": server.about["secret_access_key"],
        "config": Config(
            connect_timeout=PATIENT_S,
            read_timeout=PATIENT_S,
            retries={"total_max_attempts": 1},
            parameter_validation=False,
        ),
        **changes,
    }
    return watched(boto3.client(service, **words), compatibility.note)


def zip_of(code: str | dict[str, str] = HANDLER, *, mode: int = 0o644) -> bytes:
    """A zip of files; `main.py` where only one text is given."""
    files = {"main.py": code} if isinstance(code, str) else code
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            entry = zipfile.ZipInfo(name)
            entry.external_attr = mode << 16
            archive.writestr(entry, text, zipfile.ZIP_DEFLATED)
    return made.getvalue()


def make(client: Any, name: str, code: str | dict[str, str] = HANDLER, **more: Any) -> Any:
    """Create a function and wait until it is active."""
    words = {
        "Runtime": "python3.12",
        "Handler": "main.handler",
        "Role": ROLE,
        "Code": {"ZipFile": zip_of(code)},
        **more,
    }
    made = client.create_function(FunctionName=name, **words)
    client.get_waiter("function_active_v2").wait(
        FunctionName=name, WaiterConfig={"Delay": 0.05, "MaxAttempts": 2000}
    )
    return made


def settled(client: Any, name: str) -> None:
    """Return when no update of a function is under way."""
    waiter = client.get_waiter("function_updated_v2")
    waiter.wait(FunctionName=name, WaiterConfig={"Delay": 0.05, "MaxAttempts": 2000})


def refused(call: Any, **words: Any) -> tuple[int, str, str]:
    """Status, type and text of the error that a call ends in."""
    with pytest.raises(ClientError) as caught:
        call(**words)
    response = caught.value.response
    text = response["Error"].get("Message") or response.get("message") or response.get("Message")
    return response["ResponseMetadata"]["HTTPStatusCode"], response["Error"]["Code"], str(text)


def fetched(url: str) -> tuple[int, bytes]:
    """Status and body of a plain GET without any key."""
    with urllib3.PoolManager(retries=False) as http:
        answer = http.request("GET", url, timeout=PATIENT_S)
        return answer.status, answer.data
