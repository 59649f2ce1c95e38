"""Model archives as SageMaker's users make them: `model.tar.gz` with the files and `code/inference.py`."""

import io
import tarfile
import textwrap
from collections.abc import Mapping
from pathlib import Path

ARRAY_CODE = """
import os
import numpy as np

def model_fn(model_dir):
    return np.load(os.path.join(model_dir, "weights.npy"))

def predict_fn(data, model):
    return np.asarray(data, dtype=float) @ model
"""


def npy(array: object) -> bytes:
    """An array as a file of it."""
    import numpy as np

    file = io.BytesIO()
    np.save(file, np.asarray(array))
    return file.getvalue()


def files_of(code: str, **more: bytes) -> dict[str, bytes]:
    """An archive's files: weights that double each number and the program."""
    return {
        "weights.npy": npy([[2.0, 0.0], [0.0, 2.0]]),
        "code/inference.py": textwrap.dedent(code).encode(),
        **more,
    }


def write(folder: Path, files: Mapping[str, bytes]) -> Path:
    """Lay it out in a folder."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def pack(path: Path, files: Mapping[str, bytes], *, prefix: str = "./") -> Path:
    """Pack it as `tar czf model.tar.gz -C folder .` does."""
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(prefix + name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path
