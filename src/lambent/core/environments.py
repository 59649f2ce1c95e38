"""Which of the packages that user code imports its environment template imports for it.

A template is forked for as long as it lives, so it may import only what leaves one thread, no socket and no
file open behind. `PRELOADS` lists the packages of which that is known and which are worth it. What is not
listed is imported by the revision's own template: it wakes as fast, and shares less memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

# Seen to leave one thread after import with the thread counts of a template (OMP_NUM_THREADS=1 and its kin);
# each takes 50 ms to 4 s to import.
PRELOADS: Final = frozenset({
    "PIL", "boto3", "h5py", "joblib", "keras", "lightgbm", "numpy", "onnx", "onnxruntime", "pandas",
    "requests", "scipy", "sklearn", "tensorflow", "torch", "transformers", "xgboost",
})  # fmt: skip

# What a package imports in addition when it first trains, and each slice of a job would import anew: torch's
# optimisers its compiler, which takes a second and 70 MB. Who only infers never does.
FOR_TRAINING: Final[Mapping[str, str]] = MappingProxyType({"torch": "torch._dynamo"})


def preloads(packages: Iterable[str]) -> tuple[str, ...]:
    """Those of the packages that user code imports which its environment template should import, sorted."""
    return tuple(sorted(PRELOADS.intersection(packages)))


def job_preloads(packages: Iterable[str]) -> tuple[str, ...]:
    """The same for a job, with what training imports later."""
    found = preloads(packages)
    return tuple(sorted({*found, *(FOR_TRAINING[name] for name in found if name in FOR_TRAINING)}))
