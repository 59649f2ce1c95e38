"""What makes training survive in a line or two: loops and callbacks that commit and restore by themselves.

Each name imports its framework when it is first used, and nothing before.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from lambent.training.keras_fit import KerasCheckpoint as KerasCheckpoint
    from lambent.training.lightgbm_train import LightGBMCheckpoint as LightGBMCheckpoint
    from lambent.training.lightning_fit import LightningCheckpoint as LightningCheckpoint
    from lambent.training.loops import resumable as resumable
    from lambent.training.transformers_train import TransformersCheckpoint as TransformersCheckpoint
    from lambent.training.xgboost_train import XGBoostCheckpoint as XGBoostCheckpoint

_HOMES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "KerasCheckpoint": "lambent.training.keras_fit",
        "LightGBMCheckpoint": "lambent.training.lightgbm_train",
        "LightningCheckpoint": "lambent.training.lightning_fit",
        "TransformersCheckpoint": "lambent.training.transformers_train",
        "XGBoostCheckpoint": "lambent.training.xgboost_train",
        "resumable": "lambent.training.loops",
    }
)

__all__ = [
    "KerasCheckpoint",
    "LightGBMCheckpoint",
    "LightningCheckpoint",
    "TransformersCheckpoint",
    "XGBoostCheckpoint",
    "resumable",
]


def __getattr__(name: str) -> object:
    """The public name itself, from the module that it lives in."""
    if name not in _HOMES:
        raise AttributeError(f"module 'lambent.training' has no attribute {name!r}")
    found: object = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    """The public names, loaded or not."""
    return sorted({*globals(), *__all__})
