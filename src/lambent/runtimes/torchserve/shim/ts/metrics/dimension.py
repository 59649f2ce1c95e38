"""What tells values of a metric apart."""

from __future__ import annotations

from lambent.runtimes.torchserve.metrics import Dimension

__all__ = ["Dimension"]
