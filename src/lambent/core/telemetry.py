"""Where spans are sent, and how: OpenTelemetry's own environment variables, read into one value.

Names and defaults are those of the specification (general SDK configuration, OTLP exporter, batch span
processor), but for the bounds of the queue, which here count invocations.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final
from urllib.parse import unquote, urlsplit

import msgspec

from lambent.core.errors import InvalidSpec

OTLP: Final = "OTEL_EXPORTER_OTLP_"
OTLP_TRACES: Final = OTLP + "TRACES_"
TRACES: Final = "/v1/traces"
SERVICE: Final = "lambent"
NUMBER_MAX: Final = 1_000_000

_NUMBER: Final = re.compile(r"[0-9]{1,9}")
SAMPLERS: Final = ("parentbased_always_on", "always_off")


class Telemetry(msgspec.Struct, frozen=True, kw_only=True):
    """How spans are exported. At most `queue_max` invocations wait to be told of, `batch_max` go at once.

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


def read_telemetry(environ: Mapping[str, str], *, endpoint: str = "") -> Telemetry | None:
    """What the variables say; `endpoint` wins over theirs. `None` where nothing shall be exported.

    Raises `InvalidSpec` for what is said and cannot be done, naming the variable.
    """
    url = endpoint.rstrip("/") + TRACES if endpoint else _url(environ)
    exporters = environ.get("OTEL_TRACES_EXPORTER", "").strip() or "otlp"
    sampler = environ.get("OTEL_TRACES_SAMPLER", "").strip() or SAMPLERS[0]
    is_off = environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    if not url or is_off or exporters == "none" or sampler == "always_off":
        return None
    _check("OTEL_TRACES_EXPORTER", exporters, ("otlp", "none"))
    _check("OTEL_TRACES_SAMPLER", sampler, SAMPLERS)
    _check(OTLP + "PROTOCOL", _told(environ, "PROTOCOL") or "http/protobuf", ("http/protobuf",))
    compression = _told(environ, "COMPRESSION") or "none"
    _check(OTLP + "COMPRESSION", compression, ("none", "gzip"))
    if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
        raise InvalidSpec(f"the OTLP endpoint {url!r} is no http or https URL")
    queue_max = _number(environ, "OTEL_BSP_MAX_QUEUE_SIZE", 8192)
    return Telemetry(
        url=url,
        headers={name.lower(): value for name, value in _pairs(OTLP + "HEADERS", _told(environ, "HEADERS"))},
        timeout_s=_number(environ, OTLP + "TIMEOUT", 10_000, said=_told(environ, "TIMEOUT")) / 1e3,
        is_compressed=compression == "gzip",
        certificate=_told(environ, "CERTIFICATE"),
        resource=_resource(environ),
        every_s=_number(environ, "OTEL_BSP_SCHEDULE_DELAY", 5000) / 1e3,
        queue_max=queue_max,
        batch_max=min(queue_max, _number(environ, "OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 512)),
    )


def _url(environ: Mapping[str, str]) -> str:
    """That for traces is taken as it is, that for everything has a path appended."""
    if traces := environ.get(OTLP_TRACES + "ENDPOINT", "").strip():
        return traces
    base = environ.get(OTLP + "ENDPOINT", "").strip()
    return base.rstrip("/") + TRACES if base else ""


def _told(environ: Mapping[str, str], name: str) -> str:
    """What is said for traces, else for everything that OTLP sends."""
    return (environ.get(OTLP_TRACES + name, "") or environ.get(OTLP + name, "")).strip()


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
