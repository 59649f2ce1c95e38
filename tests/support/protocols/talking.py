"""What clients of models that talk ask: OpenAI's API and Anthropic's."""

from __future__ import annotations

from typing import Final

from tests.support.protocols.base import Protocol

NOT_KEPT: Final = "no response is kept here: send the whole input; `previous_response_id` is refused"
NO_JOBS: Final = "`lambent run` starts a job, `Prefer: respond-async` accepts a request for later"

OPENAI: Final = Protocol(
    key="openai",
    title="OpenAI",
    clients="openai",
    operations={
        "GET /v1/models": "with the names that KServe's V1 reads; every model, awake or not",
        "GET /v1/models/{model}": "with the keys of KServe's and TensorFlow's V1; `name` or `name:alias`",
        "POST /v1/chat/completions": "a class with `chat`, or a GGUF file; unheard-of fields reach it",
        "POST /v1/chat/completions (stream)": "comments while a cold model wakes; usage for who asks",
        "POST /v1/chat/completions (tools)": "passed on; by llama.cpp where the file's template has tools",
        "POST /v1/chat/completions (compressed)": "gzip and deflate, both ways, at all of these",
        "POST /v1/completions": "a class with `complete`, or a GGUF file; texts or ids of tokens",
        "POST /v1/completions (stream)": "",
        "POST /v1/embeddings": "a class with `embed`, or a GGUF file that is set to; float and base64",
        "POST /v1/responses": "a class with `chat`; without a model where there is one that can chat",
        "POST /v1/responses (stream)": "",
        "GET /v1/responses/{id}": NOT_KEPT,
        "POST /v1/audio/transcriptions": "a class with `transcribe`; each form, or a stream",
        "POST /v1/audio/translations": "the same, asked with `translate`",
        "POST /v1/files": "as large as a body may be; kept until it is deleted or has expired",
        "GET /v1/files": "",
        "GET /v1/files/{id}": "",
        "DELETE /v1/files/{id}": "",
        "GET /v1/files/{id}/content": "",
        "POST /v1/batches": "chats, completions, embeddings, responses; any window up to 30 days",
        "GET /v1/batches": "",
        "GET /v1/batches/{id}": "",
        "POST /v1/batches/{id}/cancel": "",
        "POST /v1/uploads": "up to 8 GiB, whatever the limit of a body is; for an hour",
        "POST /v1/uploads/{id}/parts": "up to 64 MiB each, side by side",
        "POST /v1/uploads/{id}/complete": "in the order that is named; the MD5 is compared",
        "POST /v1/uploads/{id}/cancel": "",
        "POST /v1/fine_tuning/jobs": "a run of the job that trains the model; `supervised`, or left out",
        "GET /v1/fine_tuning/jobs": "",
        "GET /v1/fine_tuning/jobs/{id}": "",
        "GET /v1/fine_tuning/jobs/{id}/events": "with what the run has logged",
        "GET /v1/fine_tuning/jobs/{id}/checkpoints": "the model that serves, once there is one",
        "POST /v1/fine_tuning/jobs/{id}/cancel": "",
        "POST /v1/fine_tuning/jobs/{id}/pause, /resume": "400: a run is not paused by hand, it is cancelled",
        "POST /v1/audio/speech, /v1/images, /v1/moderations": "no model has a method for these",
    },
)
ANTHROPIC: Final = Protocol(
    key="anthropic",
    title="Anthropic",
    clients="anthropic, by either of its headers",
    operations={
        "GET /v1/models": "in pages, for who sends `anthropic-version`",
        "GET /v1/models/{model}": "",
        "POST /v1/messages": "every model with `chat`; thoughts of earlier turns are not passed on",
        "POST /v1/messages (stream)": "pings while a cold model wakes",
        "POST /v1/messages (tools)": "tools of the caller; Anthropic's own are not here",
        "POST /v1/messages/count_tokens": "by the model's own count, where it says one",
        "POST /v1/messages/batches": NO_JOBS,
    },
)
