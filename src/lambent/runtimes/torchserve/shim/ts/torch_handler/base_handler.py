"""The handler that others are made from."""

from __future__ import annotations

from lambent.runtimes.torchserve.base_handler import BaseHandler

__all__ = ["BaseHandler"]
