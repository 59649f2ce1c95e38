"""The server's AWS doors, as a template's deploy calls them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from lambent.client.errors import ApiError
from lambent.client.transport import Transport
from lambent.wire.typed import from_json

CALL_TIMEOUT_S: Final = 600.0  # a create loads the code once
SQS: Final = "AmazonSQS."


class Api:
    """JSON to and from AWS's paths and targets."""

    def __init__(self, transport: Transport) -> None:
        self._transport: Final = transport

    def call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """One operation of AWS Lambda. Raises `ApiError`."""
        return self._sent(method, path, body, {"content-type": "application/json"})

    def find(self, path: str) -> dict[str, Any] | None:
        """What is there, or None. Raises `ApiError`."""
        try:
            return self.call("GET", path)
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    def queues(self, operation: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """One operation of SQS. Raises `ApiError`."""
        headers = {"content-type": "application/x-amz-json-1.0", "x-amz-target": SQS + operation}
        return self._sent("POST", "/", body, headers)

    def _sent(
        self, method: str, path: str, body: Mapping[str, Any] | None, headers: Mapping[str, str]
    ) -> dict[str, Any]:
        sent = b"" if body is None else msgspec.json.encode(body)
        answer = self._transport.request(
            method, path, timeout_s=CALL_TIMEOUT_S, body=sent, headers=dict(headers)
        )
        return from_json(answer.body, dict[str, Any]) if answer.body else {}
