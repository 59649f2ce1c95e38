"""The control API as a Starlette application, made from a table of operations.

Who asks is in `scope["lambent.principal"]`: the gateway has checked the key.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from lambent.control import docs_page, openapi
from lambent.control.operations import PREFIX, Asked, Operation
from lambent.core.errors import CallerFault, InvalidSpec, LambentError, NotFound, PayloadTooLarge
from lambent.core.invocation import JSON, Principal
from lambent.wire import problem
from lambent.wire.api import Problem
from lambent.wire.typed import from_json

BODY_BYTES_MAX: Final = 1024 * 1024

log = logging.getLogger(__name__)


def control_app(operations: Sequence[Operation], *, version: str) -> Starlette:
    """The application. Beside the operations it serves their description and a page that shows it."""
    everything = (*operations, openapi.describing(operations, version=version))
    by_path: dict[str, dict[str, Operation]] = {}
    for operation in everything:
        by_path.setdefault(operation.path, {})[operation.method] = operation
    routes = [
        Route(PREFIX + path, _endpoint(by_method), methods=list(by_method))
        for path, by_method in by_path.items()
    ]
    app = Starlette(
        routes=[Route(PREFIX + "/docs", _docs, methods=["GET"]), *routes],
        exception_handlers={HTTPException: _no_route},
    )
    app.router.redirect_slashes = False  # a redirected POST loses its body with many clients
    return app


def _endpoint(by_method: Mapping[str, Operation]) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        operation = by_method["GET" if request.method == "HEAD" else request.method]
        try:
            return await _run(operation, request)
        except LambentError as error:
            return _refusal(error)
        except ClientDisconnect:
            return Response(status_code=400)  # nobody is there to read it
        except Exception:
            log.exception("request_crashed", extra={"method": request.method, "path": request.url.path})
            return _problem(problem.internal())

    return endpoint


async def _run(operation: Operation, request: Request) -> Response:
    principal: Principal = request.scope["lambent.principal"]
    principal.require(operation.role)
    body = await _body(operation, request)
    answer = await operation.run(Asked(principal=principal, request=request, body=body))
    if isinstance(answer, Response):
        return answer
    if answer is None:
        return Response(status_code=operation.status)
    return Response(msgspec.json.encode(answer), status_code=operation.status, media_type=JSON)


async def _body(operation: Operation, request: Request) -> object:
    if operation.body is None:
        return None
    raw = bytearray()
    async for chunk in request.stream():
        raw += chunk
        if len(raw) > BODY_BYTES_MAX:
            raise PayloadTooLarge(f"the body is over the limit of {BODY_BYTES_MAX} bytes")
    try:
        return from_json(raw or b"{}", operation.body)
    except msgspec.ValidationError as error:
        raise InvalidSpec(f"the body does not fit: {error}") from error
    except msgspec.DecodeError as error:
        raise CallerFault(f"the body is not JSON: {error}") from error


async def _docs(_: Request) -> Response:
    return Response(docs_page.PAGE, media_type="text/html", headers=docs_page.HEADERS)


async def _no_route(request: Request, error: Exception) -> Response:
    """What Starlette says of a path or a method that nobody has."""
    assert isinstance(error, HTTPException)  # it is what this function is registered for
    if error.status_code == 405 and request.method == "OPTIONS":
        return Response(status_code=204, headers=error.headers)
    if error.status_code == 404:
        return _refusal(NotFound(f"there is nothing at {request.url.path}; see {PREFIX}/docs"))
    document = Problem(
        title=error.detail,
        status=error.status_code,
        code="_".join(error.detail.lower().split()),
        detail=f"{request.method} {request.url.path}",
    )
    return _problem(document, error.headers)


def _refusal(error: LambentError) -> Response:
    seconds = problem.retry_after(error)
    return _problem(problem.of_error(error), {"retry-after": seconds} if seconds else None)


def _problem(document: Problem, headers: Mapping[str, str] | None = None) -> Response:
    return Response(
        problem.encode(document),
        status_code=document.status,
        media_type=problem.CONTENT_TYPE,
        headers=dict(headers or {}),
    )
