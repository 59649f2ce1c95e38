"""Kinds of metrics."""

from __future__ import annotations

from lambent.runtimes.torchserve.metrics import MetricTypes

__all__ = ["MetricTypes"]
