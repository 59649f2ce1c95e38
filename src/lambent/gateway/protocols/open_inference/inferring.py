"""An inference from its checks to the tensors that came back, whichever way it was asked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from lambent.core.errors import CallerFault, LambentError
from lambent.core.invocation import JSON, OCTETS, Invocation, Outcome, Principal, Status
from lambent.core.tensors import check_given, check_wanted
from lambent.core.tracing import Trace
from lambent.gateway.flow import Streams
from lambent.gateway.presence import Presence
from lambent.gateway.protocols import Invoker
from lambent.gateway.protocols.open_inference.models import Found, check_takes_tensors
from lambent.pool.routes import Routes
from lambent.runtimes.tensors.exchange import ONLY_OUTPUT, NoText
from lambent.runtimes.tensors.lists import write
from lambent.wire import frames, problem
from lambent.wire.open_inference import Inference
from lambent.wire.process import Runtime
from lambent.wire.tensors import CONTENT_TYPE, BadTensors, Form, Piece, Sheet, unpack

Tensors = tuple[Sheet, Sequence[memoryview]]


class Failed(LambentError):
    """The model's code failed, or refused its input: `outcome` says how."""

    code = "user_code_failed"

    def __init__(self, outcome: Outcome) -> None:
        document = problem.of_outcome(outcome)
        kind = document.error_type
        # What is wrong with the input is said in our words, what went wrong inside in those of its code.
        own = document.status < 500 or not kind
        super().__init__(document.detail if own else f"{kind}: {document.detail}")
        self.outcome: Final = outcome
        self.http_status: Final = document.status


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks, and on what terms."""

    invocation_id: str
    principal: Principal
    sticky: str = ""
    deadline_s: float | None = None
    trace: Trace | None = None

    def invocation(
        self, found: Found, body: bytes, *, content_type: str = JSON, client_context: str = ""
    ) -> Invocation:
        """What is asked of a model."""
        return Invocation(
            id=self.invocation_id,
            project=self.principal.project,
            deployment=found.route.name,
            body=body,
            content_type=content_type,
            client_context=client_context,
            alias=found.alias,
            sticky=self.sticky,
            deadline_s=self.deadline_s,
            trace=self.trace,
        )


class Inferred(msgspec.Struct, frozen=True):
    """What came back, and whose it is."""

    outcome: Outcome
    version: str
    sheet: Sheet
    buffers: Sequence[memoryview]


class Inferring:
    """Runs inferences."""

    def __init__(self, invoker: Invoker, routes: Routes) -> None:
        self._invoker: Final = invoker
        self.routes: Final = routes

    async def run(
        self,
        found: Found,
        inference: Inference,
        asked: Asked,
        *,
        client: Presence | None = None,
        streams: Streams | None = None,
    ) -> Inferred:
        """The tensors of the answer. Raises `CallerFault`, `Failed`, and what the invoker raises."""
        invocation = self.invocation(found, inference, asked)
        outcome = await self._invoker.invoke(invocation, client=client, streams=streams)
        if outcome.status is not Status.OK:
            raise Failed(outcome)
        sheet, buffers = tensors_of(outcome, inference)
        return Inferred(outcome, self.version_of(found, outcome.revision), sheet, buffers)

    def invocation(self, found: Found, inference: Inference, asked: Asked) -> Invocation:
        """What runs. Raises `CallerFault` for tensors that do not fit."""
        route = found.route
        check_takes_tensors(route)
        signature = route.plan.signature
        check_given(inference.given, signature)
        if inference.wish.wanted:
            check_wanted([one.name for one in inference.wish.wanted], signature)
        content_type, beside = inference.content_type(signature), _beside(found, inference)
        return asked.invocation(found, inference.body(), content_type=content_type, client_context=beside)

    def version_of(self, found: Found, revision: str) -> str:
        """The number of the revision that answered."""
        route = self.routes.of_revision(revision) or found.route
        return str(route.plan.number)


def tensors_of(outcome: Outcome, inference: Inference) -> Tensors:
    """What user code answered. What it streamed and nobody read piece by piece is one output."""
    if outcome.content_type.startswith(CONTENT_TYPE):
        try:
            return unpack(outcome.body)
        except BadTensors as error:  # a worker is the side that is not trusted
            raise LambentError(f"the model's answer cannot be read: {error}") from error
    form = inference.wish.wanted[0].form if inference.wish.wanted else inference.wish.form
    return piece_of(outcome.content_type, outcome.body, form)


def piece_of(content_type: str, body: bytes, form: Form) -> Tensors:
    """A value that is no set of tensors as the only output. Raises `CallerFault` where JSON cannot say it."""
    if content_type.startswith(JSON):
        value = msgspec.json.decode(body)
    else:
        value = body.decode("utf-8", "replace") if content_type.startswith("text/") else body
    try:
        written = write(value, "", form)
    except NoText as error:
        raise CallerFault(f"output {ONLY_OUTPUT!r}: {error}") from error
    except (ValueError, TypeError):  # lists that differ in length: the text itself, then
        written = write(body.decode("utf-8", "replace"), "", form)
    buffer = memoryview(written.buffer)
    return Sheet((Piece(ONLY_OUTPUT, written.datatype, written.shape, buffer.nbytes, form),)), [buffer]


def content_type_of(form: frames.Form) -> str:
    """Of what a piece of a stream is."""
    return {frames.Form.JSON: JSON, frames.Form.TEXT: "text/plain"}.get(form, OCTETS)


def _beside(found: Found, inference: Inference) -> str:
    """The request's parameters, where a function can see them: in its context, as `custom`."""
    if not inference.parameters or found.route.plan.runtime is not Runtime.HANDLER:
        return ""
    return msgspec.json.encode({"custom": inference.parameters}).decode()
