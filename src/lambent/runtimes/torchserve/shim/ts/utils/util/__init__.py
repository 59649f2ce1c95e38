"""Errors, classes and labels."""

from __future__ import annotations

from lambent.runtimes.torchserve.words import (
    PredictionException,
    list_classes_from_module,
    load_label_mapping,
    map_class_to_label,
)

__all__ = ["PredictionException", "list_classes_from_module", "load_label_mapping", "map_class_to_label"]
