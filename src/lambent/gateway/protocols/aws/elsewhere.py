"""AWS's other services: that they are not here, in a form that their clients can read.

Tools that talk to many services are pointed here by one variable. What they cannot have they shall be told.
"""

from __future__ import annotations

import re
from typing import Final
from xml.sax.saxutils import escape

import msgspec

from lambent.gateway.protocols.aws.asked import request_id
from lambent.gateway.protocols.aws.services import JSON_1_1, TARGET, Found
from lambent.gateway.requests import Request
from lambent.gateway.responses import JSON_HEADER, Header, Reply
from lambent.wire.aws.faults import Fault

SIGNED: Final = b"AWS4-HMAC-SHA256"
# The service in a signature's scope: AccessKeyId/date/region/service/aws4_request.
SERVICE: Final = re.compile(
    rb"Credential=[^/,]{1,200}/[^/,]{1,20}/[^/,]{1,40}/([a-z0-9-]{1,40})/aws4_request"
)
FORM: Final = b"application/x-www-form-urlencoded"
OBJECTS: Final = "s3"
WHAT_CHARACTERS_MAX: Final = 100
XML: Final[Header] = (b"content-type", b"text/xml")
UNKNOWN: Final = "UnknownOperationException"


class Elsewhere:
    """Claims what AWS's clients sign and nobody else here answers; to be asked last."""

    scope: Final = ""

    def claims(self, request: Request) -> bool:
        """Whether it is one of AWS's clients that asks."""
        return TARGET in request.headers or request.headers.get(b"authorization", b"").startswith(SIGNED)

    def find(self, request: Request) -> Found:
        """There is nothing: raises `Fault`."""
        target = request.headers.get(TARGET, b"").decode("latin-1")[:WHAT_CHARACTERS_MAX]
        service = _service(request)
        what = target or (f"{service}: " if service else "") + f"{request.method} {request.path}"
        raise Fault(
            UNKNOWN,
            404,
            f"{what[:WHAT_CHARACTERS_MAX]} is not served here: this server has AWS Lambda, CloudWatch Logs, "
            "SQS and SageMaker. AWS_ENDPOINT_URL_LAMBDA and the like point single services at it",
            extra={},
        )

    def refuse(self, request: Request, fault: Fault) -> Reply:
        """In the form of the protocol that was spoken: JSON by targets, forms, objects, or JSON by paths."""
        told = request_id(request.invocation_id)
        kind = (b"x-amzn-errortype", fault.kind.encode())
        if TARGET in request.headers:
            body = msgspec.json.encode({"__type": fault.kind, "message": fault.message})
            return Reply(fault.http_status, [JSON_1_1, kind, *told], body)
        code, text = escape(fault.kind), escape(fault.message)
        error = f"<Code>{code}</Code><Message>{text}</Message>"
        if request.headers.get(b"content-type", b"").startswith(FORM):
            said = f"<ErrorResponse><Error><Type>Sender</Type>{error}</Error></ErrorResponse>"
            return Reply(fault.http_status, [XML, *told], said.encode())
        if _service(request) == OBJECTS:
            return Reply(fault.http_status, [XML, *told], f"<Error>{error}</Error>".encode())
        return Reply(fault.http_status, [JSON_HEADER, kind, *told], fault.body())


def _service(request: Request) -> str:
    """The service for which the request is signed; empty where it is not."""
    found = SERVICE.search(request.headers.get(b"authorization", b""))
    return found[1].decode() if found else ""
