"""What clients of Replicate and RunPod ask: work that is accepted, and asked about."""

from __future__ import annotations

from typing import Final

from tests.support.protocols.base import Protocol

NOT_LISTED: Final = "`lambent` has no list of what was accepted"

REPLICATE: Final = Protocol(
    key="replicate",
    title="Replicate",
    clients="replicate",
    operations={
        "POST /v1/predictions": "a version is a live revision, or `owner/name`",
        "POST /v1/models/{owner}/{name}/predictions": "the deployment `name`; whoever is said to own it",
        "POST /v1/deployments/{owner}/{name}/predictions": "the same",
        "GET /v1/predictions/{id}": "kept as results are (`result_keep_s`); `started_at` is not told",
        "POST /v1/predictions/{id}/cancel": "",
        "Prefer: wait": "up to 60 s",
        "webhook (completed)": "signed as Standard Webhooks; `start`, `output` and `logs` are not sent",
        "GET /v1/webhooks/default/secret": "for an admin's key; `validate` takes the signatures",
        "GET /v1/models/{owner}/{name}/versions/{version}": "inputs and outputs are not described",
        "GET /v1/predictions": NOT_LISTED,
        "GET urls.stream": "`POST /invoke/{name}` streams",
        "/v1/models, /v1/deployments, /v1/trainings, /v1/files": "`lambent deploy` and `lambent run`",
    },
)
RUNPOD: Final = Protocol(
    key="runpod",
    title="RunPod",
    clients="runpod, whose worker loop runs unmodified as well (`runtime=runpod`)",
    operations={
        "POST /{endpoint}/run": "`policy` and `s3Config` are ignored",
        "POST /{endpoint}/runsync": "waits for 60 s, as its client then asks on",
        "GET /{endpoint}/status/{id}": "`delayTime` and `executionTime` are not told",
        "GET /{endpoint}/stream/{id}": "all pieces once it has ended; `POST /invoke/{name}` streams them",
        "POST /{endpoint}/cancel/{id}": "the worker loop is told to stop it",
        "GET /{endpoint}/health": "what ended is counted since the server's start",
        "webhook": "signed as Standard Webhooks",
        "POST /{endpoint}/purge-queue": NOT_LISTED,
        "POST /{endpoint}/retry/{id}": "send it again",
    },
)
