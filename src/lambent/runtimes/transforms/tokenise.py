"""Tokenise: text becomes numbers of words, of bytes, or of pieces that Hugging Face's `tokenizers` finds.

0 stands for the room behind a text's end and 1 for what is in no vocabulary.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np

from lambent.runtimes.datasets.opening import package
from lambent.runtimes.transforms.steps import Values, known_options
from lambent.wire.transforms import Step

LEVELS: Final = ("word", "byte", "bpe")
WORD: Final = re.compile(r"\w+|[^\w\s]")
PADDING: Final = 0
UNKNOWN: Final = 1
FIRST: Final = 2
LENGTH: Final = 128
VOCABULARY: Final = 10_000
VOCABULARY_MAX: Final = 1_000_000
LENGTH_MAX: Final = 1_000_000


def inputs(values: Mapping[str, Any], _: Mapping[str, Any]) -> Sequence[str]:
    """The one value that is text."""
    found = [name for name, value in values.items() if len(value) and isinstance(value[0], str)]
    if len(found) != 1:
        raise ValueError(f"name what is to be tokenised: inputs=[...], of {', '.join(values)}")
    return found


def learnt(batches: Callable[[], Iterable[Values]], step: Step) -> dict[str, Any]:
    """The vocabulary, the most frequent first; words that are as frequent are in the alphabet's order."""
    known_options(step.options, "level", "length", "vocabulary")
    level = step.options.get("level", "word")
    if level not in LEVELS:
        raise ValueError(f"level={level!r} is none of {', '.join(LEVELS)}")
    told = {
        "level": level,
        "length": _whole(step.options, "length", LENGTH, LENGTH_MAX),
        "size": _whole(step.options, "vocabulary", VOCABULARY, VOCABULARY_MAX),
    }
    texts = (text for batch in batches() for name in step.inputs for text in _texts(name, batch[name]))
    if level == "word":
        counts = Counter(word for text in texts for word in _words(text))
        ordered = sorted(counts, key=lambda word: (-counts[word], word))
        return {**told, "words": ordered[: told["size"] - FIRST]}
    return {**told, "bpe": _pieces(texts, told["size"])} if level == "bpe" else told


def applied(step: Step, values: Values) -> Values:
    """Whole numbers, one row of `length` for each text."""
    numbers = _numbering(step.statistics)
    length = step.statistics["length"]
    return {
        name: np.array([_row(numbers(text), length) for text in _texts(name, values[name])], np.int32)
        for name in step.inputs
    }


def asked(value: object) -> object:
    """A text by itself as the only one of its batch."""
    return [value] if isinstance(value, str | bytes) else value


def _numbering(told: Mapping[str, Any]) -> Callable[[str], Sequence[int]]:
    if told["level"] == "byte":
        return lambda text: [byte + FIRST for byte in text.encode("utf-8", "surrogatepass")]
    if told["level"] == "bpe":
        tokenizer = package("tokenizers", "level='bpe'", "tokenizers").Tokenizer.from_str(told["bpe"])
        return lambda text: tokenizer.encode(text).ids
    known = {word: number for number, word in enumerate(told["words"], start=FIRST)}
    return lambda text: [known.get(word, UNKNOWN) for word in _words(text)]


def _pieces(texts: Iterable[str], size: int) -> str:
    tokenizers = package("tokenizers", "level='bpe'", "tokenizers")
    trainers = package("tokenizers.trainers", "level='bpe'", "tokenizers")
    pieces = tokenizers.Tokenizer(tokenizers.models.BPE(unk_token="[UNK]"))
    pieces.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=["[PAD]", "[UNK]"], show_progress=False)
    pieces.train_from_iterator(texts, trainer)
    told: str = pieces.to_str()
    return told


def _words(text: str) -> list[str]:
    return WORD.findall(text.lower())


def _row(numbers: Sequence[int], length: int) -> list[int]:
    return [*numbers[:length], *[PADDING] * (length - len(numbers))]


def _texts(name: str, value: Any) -> Sequence[str]:
    texts = [one.decode() if isinstance(one, bytes) else one for one in np.asarray(value, object).reshape(-1)]
    if not all(isinstance(one, str) for one in texts):
        raise ValueError(f"{name!r} cannot be tokenised: it is no text")
    return texts


def _whole(options: Mapping[str, Any], name: str, usual: int, most: int) -> int:
    value = options.get(name, usual)
    if not isinstance(value, int) or not FIRST < value <= most:
        raise ValueError(f"{name}={value!r} is no whole number from {FIRST + 1} to {most}")
    return value
