"""What a user may change of a deployment with `--set`, a decorator or lambent.toml: read and bounded."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Final

import msgspec

from lambent.core.datasets import check_name
from lambent.core.errors import InvalidSpec
from lambent.core.naming import name_and_alias
from lambent.core.spec import (
    CONCURRENCY_MAX,
    MIB,
    NAME,
    TEMPLATE_KEEP_S_MAX,
    DeploymentSpec,
    ForkUnsafe,
    Keep,
    Kind,
    Parallel,
    Program,
    checked,
)
from lambent.core.worded import env_name, path, plain, shown, webhook

QUEUE_ARN: Final = re.compile(r"arn:aws[a-z-]*:sqs:[a-z0-9-]*:\d{12}:[A-Za-z0-9_.-]{1,80}")
SIZE: Final = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,9})?)\s*(B|KiB|MiB|GiB|TiB|KB|MB|GB|TB)?")
SIZE_UNITS: Final[Mapping[str, int]] = {
    "B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40,
    "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
}  # fmt: skip

# What `--set key=value`, the decorators and lambent.toml may change, and the bounds of each number.
BOUNDS: Final[Mapping[str, tuple[float, float]]] = {
    "memory_bytes": (16 * MIB, 1024 * 1024 * MIB),
    "timeout_s": (0.05, 7 * 86_400),
    "hold_s": (0.05, 86_400),
    "ready_timeout_s": (0.1, 270),  # the server gives no load more than 300
    "socket_s": (1.0, 7 * 86_400),
    "socket_idle_s": (1.0, 86_400),
    "keep_alive_s": (0.0, 7 * 86_400),
    "template_keep_s": (0.0, TEMPLATE_KEEP_S_MAX),
    "workers_min": (0, 256),
    "workers_max": (1, 256),
    "concurrency": (1, CONCURRENCY_MAX),
    "max_batch": (1, 4096),
    "drift_max": (0.0, 100.0),
    "latency_target_ms": (0, 600_000),
    "threads": (1, 256),
    "queue_depth_max": (1, 100_000),
    "retries": (0, 100),
    "retry_first_s": (0.01, 3600),
    "async_age_max_s": (1.0, 30 * 86_400),
    "async_running_max": (0, 1000),
    "result_keep_s": (0.0, 365 * 86_400),
    "dead_keep_s": (60.0, 365 * 86_400),
    "slice_s": (0.0, 7 * 86_400),
    "grace_s": (0.0, 3600),
    "priority": (-1000, 1000),
    "max_cost_usd": (0.0, 1e9),
}
INTEGERS: Final = frozenset(
    {
        "workers_min", "workers_max", "concurrency", "max_batch", "threads", "queue_depth_max", "retries",
        "async_running_max", "priority",
    }
)  # fmt: skip


# Settings that are one of a few words.
WORDS: Final[Mapping[str, type[StrEnum]]] = {
    "keep": Keep,
    "fork_unsafe": ForkUnsafe,
    "parallel": Parallel,
    "runtime": Program,
}
# As AWS says of which system a `bootstrap` expects: here it is this one.
PROVIDED_FOR: Final = f"{Program.PROVIDED}."

# Settings that are text.
TEXTS: Final = (
    "webhook", "on_success", "on_failure", "description", "workers_min_schedule", "command", "ready_path",
    "schedule", "schema", "accept", "on_data",
)  # fmt: skip

IN_OTHER_WORDS: Final = frozenset({"memory_bytes", "max_cost_usd"})
SETTINGS: Final = tuple(
    sorted([*TEXTS, "memory", "max_cost", "env.NAME", *WORDS, *BOUNDS.keys() - IN_OTHER_WORDS])
)


def parse_size(text: str | int) -> int:
    """Bytes from `"256MiB"`, `"1.5 GiB"` or a plain number of bytes. Raises `InvalidSpec`."""
    if isinstance(text, int):
        return text
    match = SIZE.fullmatch(text.strip())
    if match is None:
        raise InvalidSpec(
            f"{shown(text)} is not a size: write a number with B, KiB, MiB or GiB, such as 256MiB"
        )
    return int(float(match[1]) * SIZE_UNITS[match[2] or "B"])


def with_settings(spec: DeploymentSpec, settings: Mapping[str, object]) -> DeploymentSpec:
    """`spec` with user settings applied and checked.

    Keys are `memory` (a size), `max_cost` (dollars), the words of `WORDS`, the numbers of `BOUNDS`, `webhook`
    (a URL), `on_success` and `on_failure` (deployments, or ARNs of queues), `description`, `env.NAME`.
    Raises `InvalidSpec` that names the key, the value and the range.
    """
    changes: dict[str, object] = {}
    env = dict(spec.env)
    for key, value in settings.items():
        if key == "memory":
            changes["memory_bytes"] = _memory_bytes(value)
        elif key == "max_cost":
            changes["max_cost_usd"] = _bounded("max_cost_usd", _number(key, value))
        elif key.startswith("env.") and len(key) > len("env."):
            env[env_name(key)] = plain(key, value)
        elif key in WORDS:
            changes[key] = _word(key, value)
        elif key in TEXTS:
            changes[key] = _text(key, value)
        elif key in BOUNDS:
            changes[key] = _bounded(key, _number(key, value))
        else:
            raise InvalidSpec(f"unknown setting {shown(key)}; known are {', '.join(SETTINGS)}")
    if changes.get("command"):
        changes.setdefault("runtime", Program.HTTP)
    return checked(msgspec.structs.replace(spec, env=env, **changes))


def check_settings(name: str, settings: Mapping[str, object]) -> None:
    """Raise `InvalidSpec` for what no deployment of this name could have, while its kind is not known."""
    # Some settings are for functions alone, others for models.
    kind = Kind.FUNCTION if {"runtime", "command"} & settings.keys() else Kind.MODEL
    kind = Kind.JOB if "on_data" in settings else kind
    with_settings(DeploymentSpec(name=name, kind=kind), settings)


def _memory_bytes(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise InvalidSpec(f"memory={shown(value)} is not a size")
    size_bytes = parse_size(value)
    low, high = BOUNDS["memory_bytes"]
    if not low <= size_bytes <= high:
        raise InvalidSpec(
            f"memory={shown(value)} is out of range: {low / MIB:g}MiB to {high / SIZE_UNITS['TiB']:g}TiB"
        )
    return size_bytes


def _word(key: str, value: object) -> StrEnum:
    words = WORDS[key]
    if key == "runtime" and str(value).startswith(PROVIDED_FOR):
        value = Program.PROVIDED
    if value not in tuple(words):
        raise InvalidSpec(f"{key}={shown(value)} is none of {', '.join(words)}")
    return words(str(value))


def _text(key: str, value: object) -> str:
    match key:
        case "webhook":
            return webhook(value)
        case "on_success" | "on_failure":
            return _destination(key, value)
        case "ready_path":
            return path(key, value)
        case "schema":
            from lambent.core.schemas import read  # few declare one

            if value != "":
                read(str(value))
            return str(value)
        case "accept":
            from lambent.core.gating import checked as checked_gate

            return checked_gate(plain(key, value))
        case "on_data":
            names = [name.strip() for name in plain(key, value).split(",") if name.strip()]
            return ",".join(map(check_name, names))
        case _:
            return plain(key, value)


def _destination(key: str, value: object) -> str:
    name, alias = name_and_alias(str(value))
    if QUEUE_ARN.fullmatch(str(value)):
        return str(value)
    if value != "" and not (NAME.fullmatch(name) and (NAME.fullmatch(alias) or ":" not in str(value))):
        raise InvalidSpec(
            f"{key}={shown(value)} is no deployment: write its name, name:alias, or the ARN of a queue"
        )
    return str(value)


def _bounded(key: str, value: float) -> float | int:
    low, high = BOUNDS[key]
    if not low <= value <= high:
        raise InvalidSpec(f"{key}={value:g} is out of range: {low:g} to {high:g}")
    return int(value) if key in INTEGERS or key == "memory_bytes" else value


def _number(key: str, value: object) -> float:
    what = "a whole number" if key in INTEGERS else "a number"
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise InvalidSpec(f"{key}={shown(value)} is not {what}")
    try:
        number = float(value)
    except (ValueError, OverflowError):  # words; an integer of more than 308 digits
        number = math.nan
    if not math.isfinite(number) or (key in INTEGERS and not number.is_integer()):
        raise InvalidSpec(f"{key}={shown(value)} is not {what}")
    return number
