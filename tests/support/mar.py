"""Model archives of TorchServe's, laid out as torch-model-archiver 0.12 lays them out."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path


def archived(
    file: Path, files: Mapping[str, str | bytes], *, handler: str = "handler.py", **model: str
) -> Path:
    """A `.mar` of these files; `model` are further entries of its manifest, such as `configFile`."""
    told = {"modelName": file.stem, "handler": handler, "modelVersion": "1.0", **model}
    manifest = {
        "createdOn": "01/01/2026 00:00:00",
        "runtime": "python",
        "model": told,
        "archiverVersion": "0.12.0",
    }
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
        archive.writestr("MAR-INF/MANIFEST.json", json.dumps(manifest))
    return file
