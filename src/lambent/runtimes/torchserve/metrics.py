"""The `metrics` of a context: each value is a line of the deployment's log, in TorchServe's form."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from enum import Enum
from typing import Final

UNITS: Final = {
    "ms": "Milliseconds", "s": "Seconds", "MB": "Megabytes", "kB": "Kilobytes", "GB": "Gigabytes",
    "B": "Bytes", "percent": "Percent", "count": "Count", "": "Unit",
}  # fmt: skip


class MetricTypes(Enum):
    """What becomes of a metric's values."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Dimension:
    """A name and a value that a metric's value is told apart by."""

    def __init__(self, name: str, value: str) -> None:
        self.name: Final = name
        self.value: Final = value

    def __str__(self) -> str:
        return f"{self.name}:{self.value}"


class Metric:
    """A metric that was declared, with the names of its dimensions."""

    def __init__(
        self, name: str, unit: str, dimension_names: Sequence[str], metric_type: MetricTypes
    ) -> None:
        self.metric_name: Final = name
        self.unit: Final = unit
        self.dimension_names: Final = tuple(dimension_names)
        self.metric_type: Final = metric_type

    def add_or_update(self, value: float, dimension_values: Sequence[str], request_id: str = "") -> None:
        """Tell a value. Raises `ValueError` where it has more or fewer dimensions than were declared."""
        named = zip(self.dimension_names, dimension_values, strict=True)
        _tell(self.metric_name, self.unit, value, [Dimension(*one) for one in named], request_id)


class Metrics:
    """What a handler tells. `idx` is a request's place in its batch."""

    def __init__(self, model_name: str) -> None:
        self.request_ids: dict[int, str] = {}
        self._own: Final = [Dimension("ModelName", model_name), Dimension("Level", "Model")]
        self._declared: Final[dict[tuple[str, MetricTypes], Metric]] = {}

    def add_metric(
        self,
        name: str,
        value: float,
        unit: str = "",
        idx: int | None = None,
        dimensions: Sequence[Dimension] | None = None,
        metric_type: MetricTypes = MetricTypes.COUNTER,
    ) -> None:
        """Tell a value of any kind."""
        request_id = self.request_ids.get(idx, "") if idx is not None else ""
        _tell(name, unit, value, [*(dimensions or ()), *self._own], request_id)

    def add_counter(
        self, name: str, value: float, idx: int | None = None, dimensions: Sequence[Dimension] | None = None
    ) -> None:
        """Tell a count."""
        self.add_metric(name, value, "count", idx, dimensions)

    def add_time(
        self,
        name: str,
        value: float,
        idx: int | None = None,
        unit: str = "ms",
        dimensions: Sequence[Dimension] | None = None,
    ) -> None:
        """Tell how long something took."""
        self.add_metric(name, value, unit, idx, dimensions, MetricTypes.GAUGE)

    def add_size(
        self,
        name: str,
        value: float,
        idx: int | None = None,
        unit: str = "MB",
        dimensions: Sequence[Dimension] | None = None,
    ) -> None:
        """Tell how large something is."""
        self.add_metric(name, value, unit, idx, dimensions, MetricTypes.GAUGE)

    def add_percent(
        self, name: str, value: float, idx: int | None = None, dimensions: Sequence[Dimension] | None = None
    ) -> None:
        """Tell a share."""
        self.add_metric(name, value, "percent", idx, dimensions, MetricTypes.GAUGE)

    def add_error(self, name: str, value: object, dimensions: Sequence[Dimension] | None = None) -> None:
        """Tell of an error."""
        _tell(name, "", value, [*(dimensions or ()), *self._own], "")

    def add_metric_to_cache(
        self,
        metric_name: str,
        unit: str = "",
        dimension_names: Sequence[str] = (),
        metric_type: MetricTypes = MetricTypes.COUNTER,
    ) -> Metric:
        """Declare one whose values are told by `Metric.add_or_update`."""
        return self._declared.setdefault(
            (metric_name, metric_type), Metric(metric_name, unit, dimension_names, metric_type)
        )

    def get_metric(self, metric_name: str, metric_type: MetricTypes = MetricTypes.COUNTER) -> Metric:
        """One that was declared. Raises `KeyError`."""
        return self._declared[metric_name, metric_type]


def _tell(name: str, unit: str, value: object, dimensions: Sequence[Dimension], request_id: str) -> None:
    told = ",".join(map(str, dimensions))
    tail = f",requestId:{request_id}" if request_id else ""
    sys.stdout.write(f"[METRICS]{name}.{UNITS.get(unit, unit)}:{value}|#{told}{tail}\n")
