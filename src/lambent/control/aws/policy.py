"""Resource policies of functions: statements are made, kept and given back. Nothing is judged by them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from lambent.control.aws.books import Books
from lambent.control.aws.calls import named
from lambent.control.aws.found import Finder, Function
from lambent.control.aws.making import Maker, new_revision_id
from lambent.control.aws.state import Kind, PolicyBook
from lambent.core.invocation import Role
from lambent.wire.aws.beside_requests import AddPermissionRequest, PolicyResponse, StatementResponse
from lambent.wire.aws.control import Answer, Call, ControlOperation
from lambent.wire.aws.faults import bad_parameter, conflict, gone, outdated
from lambent.wire.aws.layer_requests import LayerPermissionRequest
from lambent.wire.aws.names import LATEST, FunctionName, Place
from lambent.wire.aws.reading import Query, read

POLICY: Final = "/2015-03-31/functions/{FunctionName}/policy"
ACCOUNT: Final = re.compile(r"\d{12}")
SERVICE: Final = re.compile(r"[a-z0-9.-]+\.amazonaws\.com(\.cn)?|[a-z0-9-]+\.[a-z0-9.-]*internal")
CONDITIONS: Final[Mapping[str, tuple[str, str]]] = {
    "source_arn": ("ArnLike", "AWS:SourceArn"),
    "source_account": ("StringEquals", "AWS:SourceAccount"),
    "event_source_token": ("StringEquals", "lambda:EventSourceToken"),
    "function_url_auth_type": ("StringEquals", "lambda:FunctionUrlAuthType"),
    "principal_org_id": ("StringEquals", "aws:PrincipalOrgID"),
    "invoked_via_function_url": ("Bool", "lambda:InvokedViaFunctionUrl"),
}


class PolicyVerbs:
    """AddPermission, GetPolicy, RemovePermission."""

    def __init__(self, *, finder: Finder, maker: Maker, books: Books) -> None:
        self._finder: Final = finder
        self._maker: Final = maker
        self._books: Final = books

    def operations(self) -> Iterator[ControlOperation]:
        """What AWS calls them."""
        yield ControlOperation(name="AddPermission", method="POST", path=POLICY, run=self._add)
        yield ControlOperation(name="GetPolicy", method="GET", path=POLICY, run=self._get)
        yield ControlOperation(
            name="RemovePermission", method="DELETE", path=f"{POLICY}/{{StatementId}}", run=self._remove
        )

    async def _add(self, call: Call) -> Answer:
        name, project = named(call, Role.DEPLOY), call.principal.project
        request = read(call.body, AddPermissionRequest)
        if name.qualifier == LATEST:
            raise bad_parameter("We currently do not support adding policies for $LATEST.")
        arn = call.place.function_arn(name.name, name.qualifier)
        statement = statement_of(request, arn, _conditions(request))
        async with self._maker.names.held(project, [name.name]):
            found = await self._finder.version(project, call.place, name)
            before = await self._book(project, name) or PolicyBook(revision_id=await self._first(found, name))
            if request.revision_id is not None and request.revision_id != before.revision_id:
                raise outdated(of="GetPolicy")
            made = with_statement(before, statement)
            await self._books.put(project, Kind.POLICY, name.name, made, key=name.qualifier)
        return Answer(201, StatementResponse(statement=msgspec.json.encode(statement).decode()))

    async def _first(self, function: Function, name: FunctionName) -> str:
        """What stands for a policy's revision while there is none: that of what it will be about."""
        alias = (await self._finder.aliases(function)).get(name.qualifier)
        return alias.revision_id if alias is not None else function.book.revision_id

    async def _get(self, call: Call) -> Answer:
        name, project = named(call, Role.READ), call.principal.project
        book = await self._book(project, FunctionName(name.name, name.qualifier.removeprefix(LATEST)))
        if book is None or not book.statements or await self._finder.find(project, name.name) is None:
            raise gone("The resource you requested does not exist.")
        return Answer(200, PolicyResponse(policy=document(book), revision_id=book.revision_id))

    async def _remove(self, call: Call) -> Answer:
        name, project, sid = named(call, Role.DEPLOY), call.principal.project, call.labels[1]
        async with self._maker.names.held(project, [name.name]):
            if await self._finder.find(project, name.name) is None:
                raise gone(f"No policy found for: {call.place.function_arn(name.name)}")
            await self._finder.version(project, call.place, name)
            book = await self._book(project, name)
            made = without_statement(book, sid, Query(call.query).text("RevisionId"))
            await self._books.put(project, Kind.POLICY, name.name, made, key=name.qualifier)
        return Answer(204)

    async def _book(self, project: str, name: FunctionName) -> PolicyBook | None:
        return await self._books.find(PolicyBook, project, Kind.POLICY, name.name, name.qualifier)


def with_statement(book: PolicyBook, statement: Mapping[str, Any]) -> PolicyBook:
    """A policy with one more statement. Raises `Fault` where its name is taken."""
    sid = statement["Sid"]
    if any(one["Sid"] == sid for one in book.statements):
        raise conflict(
            f"The statement id ({sid}) provided already exists. Please provide a new statement id, or remove "
            "the existing statement."
        )
    return PolicyBook(revision_id=new_revision_id(), statements=(*book.statements, dict(statement)))


def without_statement(
    book: PolicyBook | None, sid: str, revision_id: str, *, of: str = "GetFunction/GetAlias"
) -> PolicyBook:
    """A policy with one statement less. Raises `Fault` where it is not there, or the policy is another."""
    if book is None or not book.statements:
        raise gone("No policy is associated with the given resource.")
    left = tuple(one for one in book.statements if one["Sid"] != sid)
    if len(left) == len(book.statements):
        raise gone(f"Statement {sid} is not found in resource policy.")
    if revision_id and revision_id != book.revision_id:
        raise outdated(of=of)
    return PolicyBook(revision_id=new_revision_id(), statements=left)


def document(book: PolicyBook) -> str:
    """A policy as the JSON text that AWS gives back."""
    whole = {"Version": "2012-10-17", "Id": "default", "Statement": book.statements}
    return msgspec.json.encode(whole).decode()


def principal_of(text: str) -> str | dict[str, str]:
    """Who a statement is about, as policies say it. Raises `Fault` for nobody that AWS knows."""
    if text == "*":
        return "*"
    if ACCOUNT.fullmatch(text):
        return {"AWS": f"arn:aws:iam::{text}:root"}
    if text.startswith("arn:"):
        return {"AWS": text}
    if SERVICE.fullmatch(text):
        return {"Service": text}
    raise bad_parameter("The provided principal was invalid. Please check the principal and try again.")


def statement_of(
    request: AddPermissionRequest | LayerPermissionRequest,
    arn: str,
    conditions: Mapping[str, Mapping[str, str]],
) -> Mapping[str, Any]:
    """That somebody may do something with `arn`. Raises `Fault` for nobody that AWS knows."""
    made: dict[str, Any] = {
        "Sid": request.statement_id,
        "Effect": "Allow",
        "Principal": principal_of(request.principal),
        "Action": request.action,
        "Resource": arn,
    }
    return {**made, "Condition": conditions} if conditions else made


def _conditions(request: AddPermissionRequest) -> Mapping[str, Mapping[str, str]]:
    conditions: dict[str, dict[str, str]] = {}
    for name, (operator, key) in CONDITIONS.items():
        value = getattr(request, name)
        if value is not None:
            text = str(value).lower() if isinstance(value, bool) else value
            conditions.setdefault(operator, {})[key] = text
    return conditions


def layer_arn(place: Place, name: str, number: int | str = "") -> str:
    """The ARN of a layer, or of one version of it."""
    arn = f"arn:aws:lambda:{place.region}:{place.account}:layer:{name}"
    return f"{arn}:{number}" if number != "" else arn
