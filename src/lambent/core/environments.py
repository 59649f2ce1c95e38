"""Which packages an environment template imports, and what makes two environments the same.

A template is forked for as long as it lives, so it may import only what leaves one thread, no socket and no
file open behind. `PRELOADS` lists the packages of which that is known and which are worth it. What is not
listed is imported by the revision's own template: it wakes as fast, and shares less memory.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Final

import msgspec

# Seen to leave one thread after import with the thread counts of a template (OMP_NUM_THREADS=1 and its kin);
# each takes 50 ms to 4 s to import.
PRELOADS: Final = frozenset({
    "PIL", "boto3", "h5py", "joblib", "keras", "lightgbm", "numpy", "onnx", "onnxruntime", "pandas",
    "requests", "scipy", "sklearn", "tensorflow", "torch", "transformers", "xgboost",
})  # fmt: skip

SEPARATORS: Final = re.compile(r"[-_.]+")


class Environment(msgspec.Struct, frozen=True, kw_only=True):
    """An interpreter, the modules that its template imports, in order, and its packages by digest."""

    interpreter: str
    imports: tuple[str, ...] = ()
    packages_digest: str = ""


def digest(environment: Environment) -> str:
    """SHA-256 in hex: equal for environments whose template can be shared."""
    return _sha256([environment.interpreter, environment.packages_digest, *environment.imports])


def packages_digest(packages: Mapping[str, str]) -> str:
    """SHA-256 in hex of installed packages, name to version; spellings of one name (PEP 503) count as one."""
    lines = sorted(f"{SEPARATORS.sub('-', name).lower()}=={version}" for name, version in packages.items())
    return _sha256(lines)


def pick_imports(modules: Iterable[str], *, installed: Collection[str]) -> tuple[str, ...]:
    """Those of the modules that user code imports which its environment template should import, sorted.

    `modules` may be dotted (`PIL.Image`); `installed` are the top-level modules that the interpreter has. A
    module of the user's own that hides a listed package must not be among them: its caller leaves it out.
    """
    tops = {module.partition(".")[0] for module in modules}
    return tuple(sorted(tops & PRELOADS & set(installed)))


def _sha256(parts: Iterable[str]) -> str:
    hashed = hashlib.sha256()
    for part in parts:
        raw = part.encode()
        # Each part is preceded by its length: two lists with the same letters must not be the same
        # environment.
        hashed.update(len(raw).to_bytes(8, "big") + raw)
    return hashed.hexdigest()
