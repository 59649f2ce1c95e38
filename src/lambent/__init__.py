"""Lambda for models, on your own machine.

Importing this costs next to nothing: each name is loaded when it is first used, because user code is
imported inside workers, where every millisecond is part of a cold start.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from lambent.client.app import App as App
    from lambent.client.client import Client as Client
    from lambent.client.errors import ApiError as ApiError
    from lambent.client.errors import FunctionFailed as FunctionFailed
    from lambent.client.handles import Handle as Handle
    from lambent.client.handles import SomeFailed as SomeFailed
    from lambent.core.errors import CallFailed as CallFailed
    from lambent.core.errors import Cancelled as Cancelled
    from lambent.core.errors import LambentError as LambentError
    from lambent.core.mapping import MapFailed as MapFailed
    from lambent.core.tensors import Tensor as Tensor
    from lambent.runtimes.calling import call as call
    from lambent.runtimes.calling import trace as trace
    from lambent.runtimes.checkpoints import Yielded as Yielded
    from lambent.runtimes.job import Run as Run
    from lambent.runtimes.model import ModelFiles as ModelFiles
    from lambent.wire.rows import BadData as BadData
    from lambent.wire.skills import Chat as Chat
    from lambent.wire.skills import Completion as Completion
    from lambent.wire.skills import Embedding as Embedding
    from lambent.wire.skills import Embeddings as Embeddings
    from lambent.wire.skills import Part as Part
    from lambent.wire.skills import Rerank as Rerank
    from lambent.wire.skills import Sampling as Sampling
    from lambent.wire.skills import Transcription as Transcription
    from lambent.wire.skills import Usage as Usage

    __version__: str

_HOMES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "ApiError": "lambent.client.errors",
        "App": "lambent.client.app",
        "BadData": "lambent.wire.rows",
        "CallFailed": "lambent.core.errors",
        "Cancelled": "lambent.core.errors",
        "Client": "lambent.client.client",
        "FunctionFailed": "lambent.client.errors",
        "Handle": "lambent.client.handles",
        "LambentError": "lambent.core.errors",
        "MapFailed": "lambent.core.mapping",
        "ModelFiles": "lambent.runtimes.model",
        "Run": "lambent.runtimes.job",
        "Yielded": "lambent.runtimes.checkpoints",
        "call": "lambent.runtimes.calling",
        "SomeFailed": "lambent.client.handles",
        "Tensor": "lambent.core.tensors",
        "trace": "lambent.runtimes.calling",
        "Chat": "lambent.wire.skills",
        "Completion": "lambent.wire.skills",
        "Embedding": "lambent.wire.skills",
        "Embeddings": "lambent.wire.skills",
        "Part": "lambent.wire.skills",
        "Rerank": "lambent.wire.skills",
        "Sampling": "lambent.wire.skills",
        "Transcription": "lambent.wire.skills",
        "Usage": "lambent.wire.skills",
    }
)

__all__ = [
    "ApiError",
    "App",
    "BadData",
    "CallFailed",
    "Cancelled",
    "Chat",
    "Client",
    "Completion",
    "Embedding",
    "Embeddings",
    "FunctionFailed",
    "Handle",
    "LambentError",
    "MapFailed",
    "ModelFiles",
    "Part",
    "Rerank",
    "Run",
    "Sampling",
    "SomeFailed",
    "Tensor",
    "Transcription",
    "Usage",
    "Yielded",
    "__version__",
    "call",
    "trace",
]


def __getattr__(name: str) -> object:
    """The public name itself, from the module that it lives in."""
    if name in _HOMES:
        found: object = getattr(importlib.import_module(_HOMES[name]), name)
    elif name == "__version__":
        found = importlib.import_module("importlib.metadata").version("lambent")
    else:
        raise AttributeError(f"module 'lambent' has no attribute {name!r}")
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    """The public names, loaded or not."""
    return sorted({*globals(), *__all__})
