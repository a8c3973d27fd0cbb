"""Folders of PNG and JPEG pictures: a sub-folder a class, or `labels.csv` with the columns file and label.

A picture is brought to the record's shape by averaging over boxes, in whole numbers, so that the same file gives the
same record on every machine: transparent parts over white, grey by ITU-R BT.601 in 1/65536, sides stretched.
"""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from validator.actions.convert.sample import ConvertError, Dropped, Labels, Options, Samples, Unfit, fit, sampled
from validator.actions.convert.table import place_of, table_header, table_rows
from validator.payload.schema import Array, Field, Schema

LIST = "labels.csv"
SUFFIXES = (".png", ".jpg", ".jpeg")
MOST_PIXELS = 1 << 26
MOST_BYTES = 1 << 28
_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA")
_GREY = np.array([19595, 38470, 7471])  # 0.299, 0.587, 0.114 in 1/65536

Pixels = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Layout:
    """How a record's shape is a picture: its size, 1 (grey) or 3 channels, and whether they come first."""

    height: int
    width: int
    channels: int
    channels_first: bool


def image_samples(folder: Path, schema: Schema, options: Options) -> Samples:
    """A record of each picture, in the order of the list or of the paths."""
    field, labels = schema.fields[0], Labels(options.classes, schema.classes)
    layout, library = layout_of(field.shape), _pillow()
    for place, path, label in _listed(folder) if (folder / LIST).is_file() else _sorted(folder):
        if path is None or path.suffix.lower() not in SUFFIXES:
            yield Dropped(place, "not a PNG or JPEG picture in a folder of a class")
            continue

        def make(path: Path = path, label: str = label) -> tuple[Array, int]:
            return fit(scaled(boxed(_pixels(library, path), layout), layout, field), field), labels.of(label)

        yield sampled(place, make)


def layout_of(shape: tuple[int, ...]) -> Layout:
    """The picture that a record of this shape is. Raises ConvertError when it is none."""
    if len(shape) == 1 and math.isqrt(shape[0]) ** 2 == shape[0]:
        return Layout(math.isqrt(shape[0]), math.isqrt(shape[0]), 1, channels_first=True)
    if len(shape) == 2:
        return Layout(*shape, 1, channels_first=True)
    if len(shape) == 3 and shape[0] in (1, 3):
        return Layout(shape[1], shape[2], shape[0], channels_first=True)
    if len(shape) == 3 and shape[2] in (1, 3):
        return Layout(*shape, channels_first=False)
    raise ConvertError(f"the DAO's records have the shape {list(shape)}, which is no picture: convert them yourself")


def boxed(pixels: Pixels, layout: Layout) -> Pixels:
    """Red, green and blue (height, width, 3) of 0 to 255 as (height, width, channels) of the layout: each value is the
    average over the box that its place covers, halves rounded up.
    """
    if layout.channels == 1:
        pixels = ((pixels @ _GREY + 32768) >> 16)[:, :, None]
    rows, columns = _overlaps(len(pixels), layout.height), _overlaps(pixels.shape[1], layout.width)
    # Below 2**53, so these sums of whole numbers are exact in float64 in any order.
    sums = np.einsum("ir,rwc->iwc", rows, pixels.astype(np.float64), optimize=True)
    sums = np.einsum("jw,iwc->ijc", columns, sums, optimize=True)
    area = pixels.shape[0] * pixels.shape[1]
    averages: Pixels = (2 * sums.astype(np.int64) + area) // (2 * area)
    return averages


def scaled(pixels: Pixels, layout: Layout, field: Field) -> NDArray[np.float64]:
    """0 to 255 as the field's range, in its shape; to the nearest whole number for dtypes of those."""
    ordered = pixels.transpose(2, 0, 1) if layout.channels_first else pixels
    values = field.minimum + (field.maximum - field.minimum) * ordered.reshape(field.shape) / 255
    return values if field.dtype == "float32" else np.floor(values + 0.5)


def _overlaps(old: int, new: int) -> NDArray[np.float64]:
    """(new, old): how much of each old place each new one covers, in 1/new of an old one; a row adds up to `old`."""
    to, at = np.arange(new)[:, None], np.arange(old)[None]
    covered = np.minimum((to + 1) * old, (at + 1) * new) - np.maximum(to * old, at * new)
    overlaps: NDArray[np.float64] = np.clip(covered, 0, None).astype(np.float64)
    return overlaps


def _sorted(folder: Path) -> Iterator[tuple[str, Path | None, str]]:
    """Place, path and label of each file under the folders; those that lie in none have no label, and no path here."""
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        if path.is_file() and not any(part.startswith(".") for part in parts):
            yield "/".join(parts), path if len(parts) > 1 else None, parts[0]


def _listed(folder: Path) -> Iterator[tuple[str, Path | None, str]]:
    path = folder / LIST
    rows = table_rows(path)
    header = table_header(path, rows)
    file, label = place_of(path, header, "file"), place_of(path, header, "label")
    for line, cells in rows:
        if len(cells) != len(header):
            yield f"{LIST} line {line}", None, ""
        else:
            yield cells[file], folder / cells[file], cells[label]


def _pillow() -> Any:  # noqa: ANN401 - a module
    try:
        from PIL import Image, ImageOps
    except ImportError:
        raise ConvertError("pictures are read by an optional library: pip install 'poc-validator[images]'") from None
    return Image, ImageOps


def _pixels(library: Any, path: Path) -> Pixels:  # noqa: ANN401
    """Red, green and blue as (height, width, 3) of 0 to 255. Raises Unfit."""
    if not path.is_file() or path.stat().st_size > MOST_BYTES:
        raise Unfit("no such file, or one too large")
    data, (image_module, operations) = path.read_bytes(), library
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about large pictures, which are refused below
            image = image_module.open(io.BytesIO(data), formats=("PNG", "JPEG"))
            _check(image)
            image = operations.exif_transpose(image)
            colours = np.asarray(image.convert("RGBA"), dtype=np.int64)
    except Unfit:
        raise
    except Exception:  # noqa: BLE001 - a damaged picture makes the library raise almost anything
        raise Unfit("not a PNG or JPEG picture that can be read") from None
    alpha = colours[:, :, 3:]
    over_white: Pixels = (colours[:, :, :3] * alpha + 255 * (255 - alpha) + 127) // 255
    return over_white


def _check(image: Any) -> None:  # noqa: ANN401
    """Before any pixel is decoded."""
    if image.width * image.height > MOST_PIXELS:
        raise Unfit(f"more than {MOST_PIXELS} pixels")
    if image.mode not in _MODES:
        raise Unfit(f"a picture of mode {image.mode}: save it as grey or RGB with 8 bits a channel")
