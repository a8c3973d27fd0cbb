"""npz: `inputs` and `targets`, or for sequences `inputs` alone. Never unpickled, never more read than declared."""

from __future__ import annotations

import io
import math
import zipfile
import zlib
from pathlib import Path

import numpy as np

from validator.actions.convert.sample import ConvertError, Labels, Options, Samples, Unfit, fit, sampled
from validator.payload.schema import PADDING, TARGETS, Array, Field, Schema

MOST_BYTES = 1 << 31
"""Of one array."""
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def npz_samples(path: Path, schema: Schema, options: Options) -> Samples:
    """A record of each row of the arrays. Rows may be flat; numbers of another dtype are taken if they fit."""
    wanted = ("inputs",) if schema.is_sequence else ("inputs", TARGETS)
    arrays = _load(path, wanted)
    inputs, labels, field = arrays["inputs"], Labels(options.classes, schema.classes), schema.fields[0]
    if len({array.shape[:1] for array in arrays.values()}) != 1 or inputs.ndim < 1:
        raise ConvertError(f"{path}: inputs and targets must have one first axis, the records")
    if not schema.is_sequence and arrays[TARGETS].ndim != 1:
        raise ConvertError(f"{path}: targets must have one axis, a class a record")
    if not inputs.size:
        raise ConvertError(f"{path} holds no record, or records of no values")
    for row in range(len(inputs)):

        def make(row: int = row) -> tuple[Array, int | None]:
            if schema.is_sequence:
                return _tokens(inputs[row], field), None
            return fit(inputs[row], field), labels.of(str(arrays[TARGETS][row].item()))

        yield sampled(f"record {row}", make)


def _tokens(row: Array, field: Field) -> Array:
    if row.ndim != 1 or row.size > field.values:
        raise Unfit(f"a sequence must be one row of at most {field.values} tokens")
    return fit(np.concatenate([row, np.full(field.values - row.size, PADDING)]), field)


def _in_line(text: str) -> str:
    """What cannot be printed, such as the end of a line, as an escape."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def _load(path: Path, wanted: tuple[str, ...]) -> dict[str, Array]:
    try:
        with zipfile.ZipFile(path) as archive:
            names = [item.filename for item in archive.infolist()]
            if sorted(names) != sorted(f"{name}.npy" for name in wanted):
                held = _in_line(", ".join(name.removesuffix(".npy") for name in names)[:200]) or "nothing"
                raise ConvertError(f"{path} must hold exactly {' and '.join(wanted)}; it holds {held}")
            return {name: _array(path, archive, name) for name in wanted}
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError, OSError) as error:
        if isinstance(error, OSError) and error.filename is not None:
            raise  # of the file itself; a place outside it, which a damaged archive points to, has no name
        raise ConvertError(f"{path} is not an npz file, or a damaged one") from None


def _array(path: Path, archive: zipfile.ZipFile, name: str) -> Array:
    """One member. Its header says how many bytes follow, and is believed only when they do."""
    item = archive.getinfo(f"{name}.npy")
    if item.file_size > MOST_BYTES:
        raise ConvertError(f"{path}: {name} takes {item.file_size} bytes, at most {MOST_BYTES} are read")
    data = archive.read(item)
    stream = io.BytesIO(data)
    try:
        shape, is_fortran, dtype = _HEADERS[np.lib.format.read_magic(stream)](stream)
    except (ValueError, KeyError):
        raise ConvertError(f"{path}: {name} is not an array that can be read") from None
    if dtype.kind not in "biuf":
        raise ConvertError(f"{path}: {name} holds {dtype}, not numbers")
    if math.prod(shape) * dtype.itemsize != len(data) - stream.tell():
        raise ConvertError(f"{path}: {name} is not as long as its header says")
    array = np.frombuffer(data, dtype, offset=stream.tell())
    return array.reshape(shape, order="F" if is_fortran else "C")
