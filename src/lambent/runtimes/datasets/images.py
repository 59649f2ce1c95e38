"""A folder of images: each file is an item, and the folder that it lies in is its label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from lambent.runtimes.datasets.opening import package
from lambent.runtimes.datasets.plain import key_of
from lambent.runtimes.datasets.sources import Batch
from lambent.wire.rows import BadData

IMAGE: Final = "image"
LABEL: Final = "label"
PATH: Final = "path"


class Images:
    """Implements `sources.Source`. Images are decoded when they are taken."""

    def __init__(self, folder: Path, files: Sequence[str]) -> None:
        self._folder: Final = folder
        self._files: Final = files
        self.count: Final = len(files)
        parents = [file.rpartition("/")[0] for file in files]
        self.labels: Final[Sequence[str]] = sorted({*parents} - {""})
        numbers = {label: number for number, label in enumerate(self.labels)}
        self._numbers: Final = [numbers.get(parent, -1) for parent in parents]
        self.names: Final[Sequence[str]] = (IMAGE, LABEL) if self.labels else (IMAGE,)

    @property
    def whole(self) -> Mapping[str, Any]:
        """All of them, decoded."""
        return self.take(range(self.count), self.names)

    def take(self, items: Sequence[int], names: Sequence[str]) -> Batch:
        """Images as arrays of bytes (height, width[, channels]): one array where all have one shape."""
        np = package("numpy", "a batch of images", "numpy")
        found: Batch = {}
        for name in names:
            if name == IMAGE:
                found[name] = stacked(np, [np.asarray(self.image(item)) for item in items])
            elif name == LABEL:
                found[name] = np.array([self._numbers[item] for item in items], np.int64)
            else:
                found[name] = [self._folder / self._files[item] for item in items]
        return found

    def image(self, item: int) -> Any:
        """One, as Pillow has it. Raises `BadData` where it cannot be decoded."""
        return decoded(self._folder / self._files[item], self._files[item])

    def label(self, item: int) -> str:
        """The folder that it lies in; empty where that is the dataset's own."""
        return self._files[item].rpartition("/")[0]

    def key(self, item: int) -> int:
        """By its path, so that an image which is added moves no other one."""
        return key_of(self._files[item])


def opened(folder: Path, files: Sequence[str]) -> Images:
    """Nothing is decoded yet."""
    return Images(folder, files)


def decoded(source: Any, name: str) -> Any:
    """An image out of a path or a binary stream. Raises `BadData`."""
    pillow = package("PIL.Image", "an image", "pillow")
    try:
        with pillow.open(source) as image:
            image.load()
            return image.copy()
    except (OSError, ValueError, SyntaxError, pillow.DecompressionBombError) as error:
        raise BadData(f"{name} is no image that can be read: {' '.join(str(error).split())}") from error


def stacked(np: ModuleType, arrays: Sequence[Any]) -> Any:
    """One array where all have one shape, else a list of them."""
    return np.stack(arrays) if len({one.shape for one in arrays}) == 1 else [*arrays]
