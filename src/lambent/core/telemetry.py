"""Where spans and metrics are sent, and how: OpenTelemetry's own environment variables, read into one value.

Names and defaults are those of the specification (general SDK configuration, OTLP exporter, batch span
processor), but for the bounds of the queue, which here count invocations.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Final
from urllib.parse import unquote, urlsplit

import msgspec

from lambent.core.errors import InvalidSpec

OTLP: Final = "OTEL_EXPORTER_OTLP_"
SERVICE: Final = "lambent"
NUMBER_MAX: Final = 1_000_000

_NUMBER: Final = re.compile(r"[0-9]{1,9}")
SAMPLERS: Final = ("parentbased_always_on", "always_off")


class Telemetry(msgspec.Struct, frozen=True, kw_only=True):
    """How one signal is exported, every `every_s`.

    At most `queue_max` invocations wait for their spans to be told, `batch_max` go at once.

    `certificate` is a file of authorities that the receiver's certificate is checked with, empty for the
    machine's.
    """

    url: str
    headers: Mapping[str, str] = {}
    timeout_s: float = 10.0
    is_compressed: bool = False
    certificate: str = ""
    resource: Mapping[str, str] = {}
    every_s: float = 5.0
    queue_max: int = 8192
    batch_max: int = 512


class Signal(StrEnum):
    """What is exported, as variables name it."""

    TRACES = "TRACES"
    METRICS = "METRICS"


def read_telemetry(environ: Mapping[str, str], *, endpoint: str = "") -> Telemetry | None:
    """What the variables say of spans; `endpoint` wins over theirs. `None` where none shall be exported.

    Raises `InvalidSpec` for what is said and cannot be done, naming the variable.
    """
    sampler = environ.get("OTEL_TRACES_SAMPLER", "").strip() or SAMPLERS[0]
    found = None if sampler == "always_off" else _read(environ, Signal.TRACES, endpoint)
    if found is None:
        return None
    _check("OTEL_TRACES_SAMPLER", sampler, SAMPLERS)
    queue_max = _number(environ, "OTEL_BSP_MAX_QUEUE_SIZE", 8192)
    return msgspec.structs.replace(
        found,
        every_s=_number(environ, "OTEL_BSP_SCHEDULE_DELAY", 5000) / 1e3,
        queue_max=queue_max,
        batch_max=min(queue_max, _number(environ, "OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 512)),
    )


def read_metrics_telemetry(environ: Mapping[str, str], *, endpoint: str = "") -> Telemetry | None:
    """The same for metrics, which have no queue."""
    found = _read(environ, Signal.METRICS, endpoint)
    if found is None:
        return None
    preference = OTLP + "METRICS_TEMPORALITY_PREFERENCE"
    _check(preference, (environ.get(preference, "").strip() or "cumulative").lower(), ("cumulative",))
    every_ms = _number(environ, "OTEL_METRIC_EXPORT_INTERVAL", 60_000)
    return msgspec.structs.replace(found, every_s=every_ms / 1e3)


def _read(environ: Mapping[str, str], signal: Signal, endpoint: str) -> Telemetry | None:
    url = endpoint.rstrip("/") + f"/v1/{signal.lower()}" if endpoint else _url(environ, signal)
    exporter = f"OTEL_{signal}_EXPORTER"
    exporters = environ.get(exporter, "").strip() or "otlp"
    is_off = environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    if not url or is_off or exporters == "none":
        return None

    def told(name: str) -> str:
        """What is said for this signal, else for everything that OTLP sends."""
        return (environ.get(f"{OTLP}{signal}_{name}", "") or environ.get(OTLP + name, "")).strip()

    _check(exporter, exporters, ("otlp", "none"))
    _check(OTLP + "PROTOCOL", told("PROTOCOL") or "http/protobuf", ("http/protobuf",))
    compression = told("COMPRESSION") or "none"
    _check(OTLP + "COMPRESSION", compression, ("none", "gzip"))
    if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
        raise InvalidSpec(f"the OTLP endpoint {url!r} is no http or https URL")
    return Telemetry(
        url=url,
        headers={name.lower(): value for name, value in _pairs(OTLP + "HEADERS", told("HEADERS"))},
        timeout_s=_number(environ, OTLP + "TIMEOUT", 10_000, said=told("TIMEOUT")) / 1e3,
        is_compressed=compression == "gzip",
        certificate=told("CERTIFICATE"),
        resource=_resource(environ),
    )


def _url(environ: Mapping[str, str], signal: Signal) -> str:
    """That for the signal is taken as it is, that for everything has a path appended."""
    if own := environ.get(f"{OTLP}{signal}_ENDPOINT", "").strip():
        return own
    base = environ.get(OTLP + "ENDPOINT", "").strip()
    return base.rstrip("/") + f"/v1/{signal.lower()}" if base else ""


def _check(name: str, said: str, known: Sequence[str]) -> None:
    if said not in known:
        raise InvalidSpec(f"{name}={said}: what is known here is {' and '.join(known)}")


def _number(environ: Mapping[str, str], name: str, default: int, *, said: str | None = None) -> int:
    text = environ.get(name, "").strip() if said is None else said
    if not text:
        return default
    if not _NUMBER.fullmatch(text) or not 1 <= int(text) <= NUMBER_MAX:
        raise InvalidSpec(f"{name}={text}: a whole number from 1 to {NUMBER_MAX}")
    return int(text)


def _resource(environ: Mapping[str, str]) -> Mapping[str, str]:
    said = dict(_pairs("OTEL_RESOURCE_ATTRIBUTES", environ.get("OTEL_RESOURCE_ATTRIBUTES", "")))
    name = environ.get("OTEL_SERVICE_NAME", "").strip() or said.get("service.name", "") or SERVICE
    return {**said, "service.name": name}


def _pairs(name: str, text: str) -> Iterator[tuple[str, str]]:
    """`a=1,b=2`, percent-encoded (W3C Baggage, section 3.3.1)."""
    for one in filter(None, (part.strip() for part in text.split(","))):
        key, is_pair, value = one.partition("=")
        if not is_pair or not key.strip():
            raise InvalidSpec(f"{name}: {key!r} is no NAME=VALUE")
        yield unquote(key.strip()), unquote(value.strip().strip('"'))
