"""What V1 of the prediction protocol asks of a model: rows or columns in, their predictions out.

A class is given what lay under `instances` or `inputs`, as if it had been invoked with that; beside `predict`
it may have `classify`, `regress` and `explain`, and `signatures`, the names of further methods that a request
may name. A file has one signature, and what is classified or regressed is read off its one output.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, Protocol

import msgspec

from lambent.runtimes.base import Body, Reply
from lambent.runtimes.faults import Fault
from lambent.runtimes.predict_v1.bodies import as_text, bad, encoded, opened, written
from lambent.runtimes.predict_v1.results import by_row, labels_of, results
from lambent.wire.frames import Call
from lambent.wire.predict_v1 import Asked, Key, Verb, asked_of

if TYPE_CHECKING:
    from lambent.runtimes.able import Able
    from lambent.runtimes.together import Forms

PREDICTED: Final = frozenset({"predictions", "outputs"})
PLAIN: Final = Asked(Verb.PREDICT, Key.INSTANCES)
DEPTH_MAX: Final = 100


class Answers(Protocol):
    """A model as this protocol sees it."""

    def value(self, asked: Asked, body: Body) -> object:
        """What the model is to be given: for a plain prediction as from any other caller. Raises `Fault`."""

    def run(self, asked: Asked, value: object) -> object:
        """The model's answer. Raises what it raises."""

    def reply(self, asked: Asked, result: object) -> Reply:
        """The answer as JSON. Raises `Fault`."""


class Question(msgspec.Struct, frozen=True):
    """A call that is no plain prediction: it does not run beside others."""

    asked: Asked
    value: object


class Alone(Exception):
    """Stands for a question among the values of a batch."""


class Rows(dict[str, object]):
    """A body of this protocol for a model without code: where it does not fit, the fault is its sender's."""


class OfClass:
    """A class of the user's."""

    def __init__(self, instance: object) -> None:
        self._instance: Final = instance

    def value(self, asked: Asked, body: Body) -> object:
        """What lay under the key."""
        key, value = opened(asked, body)
        return Question(msgspec.structs.replace(asked, key=key), value) if asked.alone else value

    def run(self, asked: Asked, value: object) -> object:
        """By the method of the verb, or of the signature."""
        result = self._method(asked)(value)
        if asked.key is not Key.INPUTS or asked.verb is not Verb.PREDICT:
            return result
        return _outputs_later(result) if isinstance(result, Awaitable) else _outputs(result)

    def reply(self, asked: Asked, result: object) -> Reply:
        """What a method has put under the answer's key itself is left as it is."""
        if asked.verb in (Verb.CLASSIFY, Verb.REGRESS):
            return written("results", results(asked.verb, result, labels_of(self._instance)))
        if isinstance(result, Mapping) and (asked.verb is Verb.EXPLAIN or result.keys() & PREDICTED):
            return encoded(result)
        if asked.verb is Verb.EXPLAIN:
            return written("explanations", result)
        return (
            written("outputs", result) if asked.key is Key.INPUTS else written("predictions", by_row(result))
        )

    def _method(self, asked: Asked) -> Callable[[object], object]:
        name: str = asked.verb
        if asked.signature and asked.signature not in (name, f"tensorflow/serving/{name}"):
            if asked.signature not in tuple(getattr(self._instance, "signatures", ())):
                raise no_signature(asked.signature)
            name = asked.signature
        method = getattr(self._instance, name, None)
        if not callable(method):
            raise bad(f"{type(self._instance).__name__} has no method {name}(self, inputs)")
        found: Callable[[object], object] = method
        return found


class OfFile:
    """A model without code; `answer` takes a whole body, as `adapters.instances.answer` does."""

    def __init__(self, answer: Callable[[object], Mapping[str, object]]) -> None:
        self._answer: Final = answer

    def value(self, asked: Asked, body: Body) -> object:
        """A body of the row or the column form."""
        if asked.signature not in ("", asked.verb, f"tensorflow/serving/{asked.verb}"):
            raise no_signature(asked.signature)
        key, value = opened(asked, body)
        if key is Key.EXAMPLES:
            key, value = Key.INSTANCES, [_example(one) for one in value]
        rows = Rows({key: as_text(value)})
        return Question(asked, rows) if asked.alone else rows

    def run(self, asked: Asked, value: object) -> object:
        """The model has no other way than to predict."""
        if asked.verb is Verb.EXPLAIN:
            raise bad("a model file without code explains nothing: deploy a class with explain(self, inputs)")
        try:
            return self._answer(value)
        except Exception as error:
            raise refused(error) from error

    def reply(self, asked: Asked, result: object) -> Reply:
        """As it is, or read as classes or numbers."""
        if asked.verb is Verb.PREDICT or not isinstance(result, Mapping):
            return encoded(result)
        return written("results", results(asked.verb, result.get("predictions"), ()))


def taught(able: Able, answers: Answers) -> Able:
    """A model that answers this protocol beside what it answers already."""
    plain, beside = able.predict, able.together
    if plain is None:
        return able

    def read(call: Call, body: Body) -> object:
        asked = asked_of(call.content_type)
        return able.read(call, body) if asked is None else answers.value(asked, body)

    def predict(value: object) -> object:
        if isinstance(value, Question):
            return answers.run(value.asked, value.value)
        return answers.run(PLAIN, value) if isinstance(value, Rows) else plain(value)

    def together(values: Sequence[object], forms: Forms) -> Sequence[object]:
        # A question has no rows: without another way it runs by itself in any case.
        ended = beside([_unasked(value) for value in values], forms) if beside else ()
        return [_ended(predict, value, end) for value, end in zip(values, ended, strict=True)]

    def write(call: Call, result: object) -> Reply:
        asked = asked_of(call.content_type)
        return able.write(call, result) if asked is None else answers.reply(asked, result)

    return msgspec.structs.replace(
        able, read=read, predict=predict, write=write, together=together if beside else None
    )


def no_signature(name: str) -> Fault:
    """As TensorFlow Serving says it."""
    return bad(f'Serving signature name: "{name}" not found in signature def')


def refused(error: BaseException) -> BaseException:
    """What a model without code raised: its input did not fit, as its code is not the caller's."""
    if isinstance(error, Fault) or not isinstance(error, Exception) or isinstance(error, MemoryError):
        return error
    return Fault(type(error).__name__, str(error), status=400)


def refusing(answer: Callable[[object], object]) -> Callable[[object], object]:
    """`answer` of a model without code, where whoever sent what it cannot take is told so."""

    def answered(value: object) -> object:
        try:
            return answer(value)
        except Exception as error:
            raise refused(error) from error

    return answered


def refusing_each(
    together: Callable[[Sequence[object], Forms], Sequence[object]],
) -> Callable[[Sequence[object], Forms], Sequence[object]]:
    """The same of several."""

    def answered(values: Sequence[object], forms: Forms) -> Sequence[object]:
        ended = together(values, forms)
        return [refused(end) if isinstance(end, BaseException) else end for end in ended]

    return answered


def _unasked(value: object) -> object:
    """Stands in a batch for what does not run in it."""
    return Alone() if isinstance(value, Question) else value


def _ended(predict: Callable[[object], object], value: object, end: object) -> object:
    if isinstance(value, Question):
        try:
            return predict(value)
        except Exception as error:  # noqa: BLE001 - frameworks have errors of their own, with no common one
            return error
    return refused(end) if isinstance(value, Rows) and isinstance(end, BaseException) else end


def _outputs(result: object) -> object:
    return result if isinstance(result, Mapping) and "outputs" in result else {"outputs": result}


async def _outputs_later(result: Awaitable[object]) -> object:
    return _outputs(await result)


def _example(example: object) -> object:
    if not isinstance(example, dict):
        raise bad(f"Example must be JSON object but got JSON {type(example).__name__}")
    return example
