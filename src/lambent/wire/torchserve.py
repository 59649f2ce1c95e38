"""TorchServe's words: what a `.mar` says of itself, how its settings are called here, and its errors."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from lambent.core.spec import Setting

SUFFIX: Final = ".mar"
MANIFEST: Final = "MAR-INF/MANIFEST.json"
PREDICTIONS: Final = "/predictions/"
QUERY: Final = "?"  # before the name of a field of the query, where it travels beside headers: none begins so

# What is the server's business and not a handler's.
NOT_TOLD: Final = frozenset({b"authorization", b"x-api-key", b"cookie", b"content-length", b"connection"})

# Settings that are the same thing here, and what they must be at least.
COUNTERPARTS: Final[Mapping[str, tuple[str, int]]] = {
    "minWorkers": ("workers_min", 0),
    "maxWorkers": ("workers_max", 1),
    "batchSize": ("max_batch", 1),
    "responseTimeout": ("timeout_s", 1),
}
WITHOUT: Final[Mapping[str, str]] = {
    "maxBatchDelay": "calls that wait run together, and none is made to wait for others",
    "startupTimeout": "loading a model has a bound of its own",
    "deviceType": "workers compute on the processor's cores",
    "deviceIds": "workers compute on the processor's cores",
    "parallelType": "a model is in one process",
    "parallelLevel": "a model is in one process",
    "torchrun": "a model is in one process",
    "continuousBatching": "a handler is given a batch, and answers it whole",
    "sequenceBatching": "calls of one sequence are not kept on one worker",
    "asyncCommunication": "a handler is given a batch, and answers it whole",
}


class Model(msgspec.Struct, frozen=True, rename="camel"):
    """What a manifest says of its model. `handler` is `file.py`, `file.py:function` or a built-in's name."""

    model_name: str | None = None
    handler: str | None = None
    requirements_file: str | None = None
    config_file: str | None = None


class Manifest(msgspec.Struct, frozen=True):
    """`MAR-INF/MANIFEST.json`."""

    model: Model = Model()
    runtime: str = "python"


class Told(msgspec.Struct, frozen=True):
    """Settings in our words, and a sentence for each that has no counterpart."""

    settings: dict[str, Setting] = {}
    left_out: tuple[str, ...] = ()


class BadProperties(ValueError):
    """A `config.properties` cannot be read."""


class Registered(msgspec.Struct, frozen=True, rename="camel"):
    """One version of a model in `models=` of a `config.properties`."""

    mar_name: str = ""
    default_version: bool = False
    min_workers: int | None = None
    max_workers: int | None = None
    batch_size: int | None = None
    max_batch_delay: int | None = None
    response_timeout: int | None = None


class Snapshot(msgspec.Struct, frozen=True):
    """What a server has written down of itself, and started from again."""

    models: dict[str, dict[str, Registered]] = {}


def settings_of(table: Mapping[str, Any]) -> Told:
    """A model's settings, as in its `model-config.yaml`. What is not a setting is the handler's business."""
    settings: dict[str, Setting] = {}
    left: list[str] = []
    for name, value in table.items():
        if value is None:
            continue
        if name in WITHOUT:
            left.append(f"{name}: {WITHOUT[name]}")
        elif name in COUNTERPARTS:
            ours, least = COUNTERPARTS[name]
            if isinstance(value, int) and value >= least:
                settings[ours] = int(value)
            else:
                left.append(f"{name}: {value!r} is not a number from {least} on")
    return Told(settings, tuple(left))


def properties_of(text: str) -> Mapping[str, str]:
    """The keys of a `config.properties` and their values, lines that end in a backslash joined."""
    found = {}
    for line in _lines(text):
        key, _, value = line.partition("=")
        found[key.strip()] = value.strip()
    return found


def _lines(text: str) -> Iterator[str]:
    joined = re.sub(r"\\\r?\n[ \t]*", "", text)
    for line in joined.splitlines():
        if (stripped := line.strip()) and not stripped.startswith(("#", "!")) and "=" in stripped:
            yield stripped


def beside(headers: Mapping[bytes, bytes], query: Mapping[str, str]) -> str:
    """Headers and fields of the query, for a handler's context: a client context, as JSON."""
    told = {
        name.decode("latin-1"): value.decode("latin-1")
        for name, value in headers.items()
        if name not in NOT_TOLD
    }
    told.update((QUERY + name, value) for name, value in query.items())
    return msgspec.json.encode({"custom": told}).decode()


def refusal(status: int, kind: str, message: str) -> bytes:
    """An error as TorchServe's frontend writes it."""
    return msgspec.json.encode({"code": status, "type": kind, "message": message})
