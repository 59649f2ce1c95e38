"""From a configuration's variants to what an endpoint serves: the pure part."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from lambent.control.aws.sagemaker.shelf import Book, Plan, Served
from lambent.core.spec import MIB, Setting
from lambent.wire.aws.sagemaker_control import Container, DesiredWeight, Serverless, Variant

replace: Final = msgspec.structs.replace

GIB_MB: Final = 1024
# Of memory: what AWS gives its general instances of a size; those of n xlarge have n times as much.
SIZES_MB: Final[Mapping[str, int]] = {"medium": 4 * GIB_MB, "large": 8 * GIB_MB, "xlarge": 16 * GIB_MB}
WORKERS: Final = 4  # at most, for an instance that says nothing else
MEMORY_MB_MAX: Final = 1024 * GIB_MB


def served(variant: Variant, model: Book, container: Container) -> Served:
    """A variant with its model's artifact. Without a weight it has 1, as on AWS.

    Serverless, it sleeps when nobody asks, as on AWS; `ProvisionedConcurrency` workers are always up. On
    instances, as many workers as instances are.
    """
    settings: dict[str, Setting] = {
        f"env.{name}": value for name, value in (container.environment or {}).items()
    }
    weight = 1.0 if variant.initial_variant_weight is None else variant.initial_variant_weight
    serverless = variant.serverless_config
    if serverless is not None:
        settings |= _serverless(serverless)
        return Served(
            variant=variant.variant_name,
            weight=weight,
            digest=model.digest,
            settings=settings,
            serverless=_told(serverless),
        )
    least, most = _instances(variant)
    settings |= {
        "memory": f"{_memory_mb(variant.instance_type or '')}MiB",
        "workers_min": least,
        "workers_max": most,
    }
    return Served(
        variant=variant.variant_name, weight=weight, digest=model.digest, settings=settings, instances=least
    )


def desired(served: Served, wanted: DesiredWeight) -> Served:
    """The same variant with another share, or with another number of instances."""
    if wanted.desired_weight is not None:
        served = replace(served, weight=wanted.desired_weight)
    count = wanted.desired_instance_count
    if count is None or served.instances is None:
        return served
    scale = {"workers_min": count, "workers_max": max(1, count, WORKERS)}
    return replace(served, instances=count, settings=served.settings | scale)


def percent_of(plan: Plan) -> float:
    """The share of the second of two variants, 0 to 100; equal shares where all weights are 0."""
    first, second = (one.weight for one in plan.variants)
    return 50.0 if first + second == 0 else round(100 * second / (first + second), 3)


def told(served: Served) -> dict[str, Any]:
    """A variant of an endpoint that is in service, as it is described."""
    said: dict[str, Any] = {
        "VariantName": served.variant,
        "CurrentWeight": served.weight,
        "DesiredWeight": served.weight,
    }
    if served.serverless is not None:
        return said | {
            "CurrentServerlessConfig": served.serverless,
            "DesiredServerlessConfig": served.serverless,
        }
    return said | {"CurrentInstanceCount": served.instances, "DesiredInstanceCount": served.instances}


def _serverless(wanted: Serverless) -> dict[str, Setting]:
    return {
        "memory": wanted.memory_mb * MIB,
        "workers_max": wanted.max_concurrency,
        "workers_min": wanted.provisioned_concurrency or 0,
    }


def _told(wanted: Serverless) -> dict[str, int]:
    said = {"MemorySizeInMB": wanted.memory_mb, "MaxConcurrency": wanted.max_concurrency}
    if wanted.provisioned_concurrency is not None:
        said["ProvisionedConcurrency"] = wanted.provisioned_concurrency
    return said


def _instances(variant: Variant) -> tuple[int, int]:
    """The workers that are always up, and those that there may be."""
    scaling = variant.managed_instance_scaling
    if scaling is not None and scaling.status == "ENABLED":
        least = scaling.min_instance_count if scaling.min_instance_count is not None else 1
        return least, max(1, least, scaling.max_instance_count or WORKERS)
    least = variant.initial_instance_count or 1
    return least, max(least, WORKERS)


def _memory_mb(instance_type: str) -> int:
    size = instance_type.rpartition(".")[2]
    if size in SIZES_MB:
        return SIZES_MB[size]
    times = size.removesuffix("xlarge")
    return min(MEMORY_MB_MAX, int(times) * SIZES_MB["xlarge"]) if times.isdecimal() else SIZES_MB["large"]
