"""Which of the packages that user code imports its environment template imports for it.

A template is forked for as long as it lives, so it may import only what leaves one thread, no socket and no
file open behind. `PRELOADS` lists the packages of which that is known and which are worth it. What is not
listed is imported by the revision's own template: it wakes as fast, and shares less memory.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

# Seen to leave one thread after import with the thread counts of a template (OMP_NUM_THREADS=1 and its kin);
# each takes 50 ms to 4 s to import.
PRELOADS: Final = frozenset({
    "PIL", "boto3", "h5py", "joblib", "keras", "lightgbm", "numpy", "onnx", "onnxruntime", "pandas",
    "requests", "scipy", "sklearn", "tensorflow", "torch", "transformers", "xgboost",
})  # fmt: skip


def preloads(packages: Iterable[str]) -> tuple[str, ...]:
    """Those of the packages that user code imports which its environment template should import, sorted."""
    return tuple(sorted(PRELOADS.intersection(packages)))
