"""Embeddings and what is computed like them, in the words of their clients."""

from __future__ import annotations

import base64
import sys
from array import array
from typing import Any

from lambent.wire.openai.asked import EmbeddingBody, RerankBody
from lambent.wire.openai.events import Made, body
from lambent.wire.skills import Json, Scores, Usage, Vectors

FLOAT = "float"


def embeddings(asked: EmbeddingBody, vectors: Vectors) -> bytes:
    """The answer to `/v1/embeddings`: base64 of float32 where that is asked for, numbers elsewhere."""
    write = _base64 if asked.encoding_format == "base64" else _floats
    rows = [
        {"object": "embedding", "index": index, "embedding": write(row)}
        for index, row in enumerate(vectors.each())
    ]
    return body({"object": "list", "data": rows, "model": asked.model, "usage": input_usage(vectors.usage)})


def reranked(asked: RerankBody, scores: Scores, made: Made) -> bytes:
    """The answer to `/v1/rerank`: the best first."""
    order = sorted(range(len(scores.scores)), key=lambda place: -scores.scores[place])
    with_documents = asked.return_documents is not False
    results = []
    for place in order[: asked.top_n]:
        found: Json = {"index": place, "relevance_score": scores.scores[place]}
        if with_documents:
            document = asked.documents[place]
            found["document"] = {"text": document} if isinstance(document, str) else document
        results.append(found)
    return body({"id": made.id, "model": asked.model, "usage": input_usage(scores.usage), "results": results})


def scored(model: str, scores: Scores, made: Made) -> bytes:
    """The answer to `/v1/score`: in the order of the texts."""
    rows = [{"index": index, "object": "score", "score": score} for index, score in enumerate(scores.scores)]
    return body(
        {
            "id": made.id,
            "object": "list",
            "created": made.created_s,
            "model": model,
            "data": rows,
            "usage": input_usage(scores.usage),
        }
    )


def input_usage(usage: Usage | None) -> Json:
    """What clients insist on finding; zeros where the model does not say."""
    tokens = usage.input_tokens if usage is not None else 0
    return {"prompt_tokens": tokens, "total_tokens": tokens}


def _base64(row: bytes) -> Any:
    return base64.b64encode(row).decode()


def _floats(row: bytes) -> Any:
    numbers = array("f", row)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tolist()
