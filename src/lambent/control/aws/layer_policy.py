"""Permissions of layers' versions: made, kept and given back. Nothing here is judged by them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from lambent.control.aws.books import Books
from lambent.control.aws.layers import ONE, layer_name, layer_number
from lambent.control.aws.making import Maker, new_revision_id
from lambent.control.aws.policy import (
    document,
    layer_arn,
    statement_of,
    with_statement,
    without_statement,
)
from lambent.control.aws.state import Kind, LayerBook, PolicyBook
from lambent.core.invocation import Role
from lambent.wire.aws.beside_requests import PolicyResponse, StatementResponse
from lambent.wire.aws.control import Answer, Call, ControlOperation
from lambent.wire.aws.faults import gone, outdated
from lambent.wire.aws.layer_requests import LayerPermissionRequest
from lambent.wire.aws.reading import Query, read

POLICY: Final = f"{ONE}/policy"


class LayerPolicyVerbs:
    """Add, get and remove."""

    def __init__(self, *, maker: Maker, books: Books) -> None:
        self._maker: Final = maker
        self._books: Final = books

    def operations(self) -> Iterator[ControlOperation]:
        """What AWS calls them."""
        for name, method, path, run in (
            ("AddLayerVersionPermission", "POST", POLICY, self._add),
            ("GetLayerVersionPolicy", "GET", POLICY, self._get),
            ("RemoveLayerVersionPermission", "DELETE", f"{POLICY}/{{StatementId}}", self._remove),
        ):
            yield ControlOperation(name=name, method=method, path=path, run=run)

    async def _add(self, call: Call) -> Answer:
        call.principal.require(Role.DEPLOY)
        request = read(call.body, LayerPermissionRequest)
        name, number = layer_name(call), layer_number(call)
        arn = layer_arn(call.place, name, number)
        statement = statement_of(request, arn, _conditions(request))
        async with self._maker.names.held(call.principal.project, [f"layer {name}"]):
            book = await self._book(call, name, number, f"Layer version {arn} does not exist.")
            before = book.policy or PolicyBook(revision_id=new_revision_id())
            revision_id = Query(call.query).text("RevisionId")
            policy = with_statement(before, statement)
            if revision_id and revision_id != before.revision_id:
                raise outdated(of="GetLayerPolicy")
            await self._keep(call, name, number, msgspec.structs.replace(book, policy=policy))
        text = msgspec.json.encode(statement).decode()
        return Answer(201, StatementResponse(statement=text, revision_id=policy.revision_id))

    async def _get(self, call: Call) -> Answer:
        call.principal.require(Role.READ)
        name, number = layer_name(call), layer_number(call)
        arn = layer_arn(call.place, name, number)
        book = await self._book(call, name, number, f"Layer version {arn} does not exist.")
        if book.policy is None or not book.policy.statements:
            raise gone("No policy is associated with the given resource.")
        told = PolicyResponse(policy=document(book.policy), revision_id=book.policy.revision_id)
        return Answer(200, told)

    async def _remove(self, call: Call) -> Answer:
        call.principal.require(Role.DEPLOY)
        name, number = layer_name(call), layer_number(call)
        arn = layer_arn(call.place, name, number)
        async with self._maker.names.held(call.principal.project, [f"layer {name}"]):
            book = await self._book(call, name, number, f"Layer version {arn} does not exist.")
            revision_id = Query(call.query).text("RevisionId")
            policy = without_statement(book.policy, call.labels[2], revision_id, of="GetLayerPolicy")
            await self._keep(call, name, number, msgspec.structs.replace(book, policy=policy))
        return Answer(204)

    async def _book(self, call: Call, name: str, number: int, said: str) -> LayerBook:
        found = await self._books.find(LayerBook, call.principal.project, Kind.LAYER, name, str(number))
        if found is None:
            raise gone(said)
        return found

    async def _keep(self, call: Call, name: str, number: int, book: LayerBook) -> None:
        await self._books.put(call.principal.project, Kind.LAYER, name, book, key=str(number))


def _conditions(request: LayerPermissionRequest) -> Mapping[str, Mapping[str, str]]:
    if not request.organization_id:
        return {}
    return {"StringEquals": {"aws:PrincipalOrgID": request.organization_id}}
