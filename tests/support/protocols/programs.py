"""Servers of other people's, unmodified, as commands that listen on `$PORT`."""

from __future__ import annotations

from typing import Final

from tests.support.protocols.base import Protocol

PROGRAMS: Final = Protocol(
    key="programs",
    title="Programs that serve HTTP (`lambent deploy --cmd`)",
    clients="these programs themselves, unmodified, each in an environment of its own",
    operations={
        "functions-framework: http": "`FUNCTION_TARGET` by `env.FUNCTION_TARGET`; any method and path",
        "functions-framework: cloudevent": "binary and structured",
        "functions-framework: event": "Google's own older events",
        "functions-framework: streams": "piece by piece; it sleeps, and is woken by the next request",
        "Cog: POST /predictions": "asked once `setup` is done: `ready_path=/health-check`",
        "Cog: PUT /predictions/{id}": "",
        "Cog: Prefer: respond-async": "",
        "BentoML: service": "answers and streams; all its processes sleep",
        "LitServe: LitAPI": "sleeps, and is woken by the next request",
        "MLflow: models serve": "`/invocations`, with its own errors",
        "FastAPI under uvicorn: requests": "every method, path, query, header and status as without us",
        "FastAPI under uvicorn: server-sent events": "",
        "FastAPI under uvicorn: WebSockets": "text, bytes, subprotocols and codes of closing",
    },
)
