"""The context, for annotations and tests."""

from __future__ import annotations

from lambent.runtimes.sagemaker.context import RequestProcessor
from lambent.runtimes.torchserve.context import Context

__all__ = ["Context", "RequestProcessor"]
