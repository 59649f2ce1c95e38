"""Resize: images of any size, as arrays or as files' bytes, become arrays of one size and mode."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np

from lambent.runtimes.datasets.images import IMAGE, decoded
from lambent.runtimes.datasets.opening import package
from lambent.runtimes.transforms.steps import Values, known_options
from lambent.wire.transforms import Step

MODES: Final = ("L", "RGB", "RGBA")  # Pillow's
CHANNELS: Final = (3, 4)
SIDE_MAX: Final = 16_384


def inputs(values: Mapping[str, Any], _: Mapping[str, Any]) -> Sequence[str]:
    """The images of a folder of them; arrays have to be named."""
    if IMAGE not in values:
        raise ValueError(f"name what is to be resized: inputs=[...], of {', '.join(values)}")
    return [IMAGE]


def learnt(_: Callable[[], Iterable[Values]], step: Step) -> dict[str, Any]:
    """Nothing: the options say it all."""
    known_options(step.options, "size", "mode")
    size = step.options.get("size")
    sides = [size] if isinstance(size, int) else size
    if not isinstance(sides, list | tuple) or len(sides) not in (1, 2):
        raise ValueError(f"size={size!r} is no size, such as 28 or [width, height]")
    if not all(isinstance(side, int) and 0 < side <= SIDE_MAX for side in sides):
        raise ValueError(f"size={size!r}: sides are whole numbers from 1 to {SIDE_MAX}")
    if step.options.get("mode", "RGB") not in MODES:
        raise ValueError(f"mode={step.options['mode']!r} is none of {', '.join(MODES)}")
    return {"size": [*sides, *sides][:2], "mode": step.options.get("mode", "RGB")}


def applied(step: Step, values: Values) -> Values:
    """Arrays of bytes: items, height, width, and channels where the mode has several."""
    size, mode = step.statistics["size"], step.statistics["mode"]
    return {
        name: np.stack([_resized(one, tuple(size), mode) for one in values[name]]) for name in step.inputs
    }


def asked(value: object) -> object:
    """An image by itself as the only one of its batch: a file's bytes, gray, or with 3 or 4 channels."""
    if isinstance(value, bytes | bytearray):
        return [value]
    if isinstance(value, list | tuple) and value and isinstance(value[0], bytes | bytearray):
        return value
    try:
        array = np.asarray(value)
    except ValueError:  # images of several sizes
        return value
    is_one = array.ndim == 2 or (array.ndim == 3 and array.shape[-1] in CHANNELS)
    return array[np.newaxis] if is_one else array


def _resized(value: Any, size: tuple[int, int], mode: str) -> Any:
    pillow = package("PIL.Image", "resizing", "pillow")
    if isinstance(value, bytes | bytearray):
        image = decoded(io.BytesIO(value), "the image")
    else:
        image = pillow.fromarray(_pixels(value))
    return np.asarray(image.convert(mode).resize(size, pillow.Resampling.BILINEAR))


def _pixels(value: Any) -> Any:
    array = np.asarray(value)
    if array.ndim not in (2, 3) or array.dtype.kind not in "biuf":
        raise ValueError(f"an array of shape {array.shape} of {array.dtype} is no image")
    whole = array.astype(np.uint8)
    if not np.array_equal(whole, array):
        raise ValueError("an image has whole numbers from 0 to 255")
    return whole
