"""What TorchServe's own package has for handlers and needs no framework: errors, classes, labels."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Final

VERSION: Final = "1"
OLD_LABELS: Final = "object_type_names"


class PredictionException(Exception):
    """A handler's own refusal: its message is answered with its status."""

    def __init__(self, message: str, error_code: int = 500) -> None:
        super().__init__(message)
        self.message: Final = message
        self.error_code: Final = error_code

    def __str__(self) -> str:
        return f"{self.message} : {self.error_code}"


def list_classes_from_module(module: ModuleType, parent_class: type | None = None) -> list[type]:
    """The classes that a module itself defines, by their names; those below `parent_class` where one is."""
    own = [one for _, one in inspect.getmembers(module, inspect.isclass) if one.__module__ == module.__name__]
    return own if parent_class is None else [one for one in own if issubclass(one, parent_class)]


def load_label_mapping(mapping_file_path: str | Path) -> dict[str, str] | None:
    """`index_to_name.json`: a label, or a list that ends with it, by class. `None` without such a file.

    Raises `ValueError` for another shape.
    """
    file = Path(mapping_file_path)
    if not file.is_file():
        return None
    told = json.loads(file.read_text("utf-8"))
    if not isinstance(told, dict):
        raise ValueError(f"{file.name} is not an object with a label for each class")
    if isinstance(names := told.get(OLD_LABELS), list):
        return {str(place): name for place, name in enumerate(names)}
    labels = {key: value[-1] if isinstance(value, list) and value else value for key, value in told.items()}
    if wrong := [key for key, label in labels.items() if not isinstance(label, str)]:
        raise ValueError(f"{file.name} has no label for {wrong[0]!r}, but {labels[wrong[0]]!r}")
    return labels


def map_class_to_label(
    probs: Sequence[Sequence[float]],
    mapping: Mapping[str, str] | None = None,
    lbl_classes: Sequence[Sequence[Any]] | None = None,
) -> list[dict[str, float]]:
    """For each row, its numbers by the label of their class: its place, where `lbl_classes` say no other.

    Raises `TypeError` for rows that are no list, `KeyError` for a class without a label.
    """
    if not isinstance(probs, list):
        raise TypeError(f"a list of rows is mapped, not a {type(probs).__name__}")
    rows = lbl_classes if lbl_classes is not None else [range(len(row)) for row in probs]
    return [
        {
            mapping[str(one)] if mapping is not None else str(one): number
            for one, number in zip(*row, strict=False)
        }
        for row in zip(rows, probs, strict=False)
    ]
