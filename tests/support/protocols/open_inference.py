"""The Open Inference Protocol, version 2, with what Triton's clients ask beyond it."""

from __future__ import annotations

from typing import Final

from tests.support.protocols.base import Protocol

STAYS_READY: Final = (
    "cools it down, one in use after its calls; a cold model stays ready, as its next inference wakes it"
)
NOT_SHARED: Final = "tensors come with the request: no memory is shared with clients"
NOT_TOLD: Final = "tracing follows the request's own `traceparent`; logging is the server's own setting"

REST: Final = Protocol(
    key="open-inference-rest",
    title="Open Inference Protocol, REST",
    clients="tritonclient (http, http.aio) and kserve",
    operations={
        "GET /v2": "",
        "GET /v2/health/live": "without a key",
        "GET /v2/health/ready": "without a key",
        "GET /v2/models/{model}": "names and shapes come from the file, or from what the class declares",
        "GET /v2/models/{model}/config": "Triton's: name, platform, backend, batch size, inputs, outputs",
        "GET /v2/models/{model}/ready": "a cold model is ready: an inference wakes it",
        "GET /v2/models/{model}/stats": "Triton's: counts and times since the server's start, at every door",
        "GET /v2/models/stats": "",
        "POST /v2/models/{model}/infer": "",
        "POST /v2/models/{model}/infer (binary tensors)": "",
        "POST /v2/models/{model}/infer (compressed)": "gzip and deflate, both ways",
        "POST /v2/models/{model}/infer (classification)": "ask the model for its outputs",
        "POST /v2/models/{model}/infer (shared memory)": NOT_SHARED,
        "POST /v2/models/{model}/versions/{version}/infer": "a version is a revision's number, or an alias",
        "POST /v2/models/{model}/generate": "`text_input` in, `text_output` out; other fields as they are",
        "POST /v2/models/{model}/generate_stream": "an event for each piece that the function yields",
        "POST /v2/repository/index": "every function and model",
        "POST /v2/repository/models/{model}/load": "loads it into its template; a deploy brings its files",
        "POST /v2/repository/models/{model}/unload": STAYS_READY,
        "/v2/systemsharedmemory, /v2/cudasharedmemory": NOT_SHARED,
        "/v2/trace/setting, /v2/logging": NOT_TOLD,
    },
)
GRPC: Final = Protocol(
    key="open-inference-grpc",
    title="Open Inference Protocol, gRPC",
    clients="tritonclient (grpc, grpc.aio) and kserve",
    operations={
        "ServerLive": "without a key",
        "ServerReady": "without a key",
        "ServerMetadata": "",
        "ModelReady": "as over REST",
        "ModelMetadata": "as over REST",
        "ModelInfer": "raw or typed contents; the client's deadline is the invocation's",
        "ModelStreamInfer": "a response for each piece that the function yields",
        "ModelConfig": "as over REST",
        "ModelStatistics": "as over REST",
        "RepositoryIndex": "as over REST",
        "RepositoryModelLoad": "as over REST",
        "RepositoryModelUnload": STAYS_READY,
        "SystemSharedMemory*, CudaSharedMemory*": NOT_SHARED,
        "TraceSetting, LogSettings": NOT_TOLD,
    },
)
