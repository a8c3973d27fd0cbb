"""The canonical bytes of one record, over which its keyed hash is taken."""

from __future__ import annotations

import numpy as np

from validator.payload.schema import DTYPES, Array


def canonical_record(inputs_row: Array, target: int) -> bytes:
    """Equal records give equal bytes, whatever format they came in.

        "poc-record/1\\n" | length of dtype name (u8) | dtype name | axes (u8) | sizes (u32 LE each) | values (LE, C
        order) | target (i64 LE)

    -0.0 is taken as 0.0, since no model tells them apart and a copy must not pass as new. Raises ValueError for NaN,
    infinity and for other dtypes than float32, uint8, int32 and int64. The hash over it must be keyed: records may
    have little entropy.
    """
    row = np.asarray(inputs_row)
    name = row.dtype.name
    if name not in DTYPES:
        raise ValueError(f"a record of {name} has no canonical form: use one of {', '.join(DTYPES)}")
    if row.dtype.kind == "f":
        if not np.isfinite(row).all():
            raise ValueError("a record with NaN or infinity has no canonical form")
        row = row + np.zeros((), row.dtype)
    sizes = b"".join(size.to_bytes(4, "little") for size in row.shape)
    values = np.ascontiguousarray(row.astype(DTYPES[name], copy=False)).tobytes()
    label = name.encode("ascii")
    head = b"poc-record/1\n" + bytes((len(label),)) + label + bytes((row.ndim,)) + sizes
    return head + values + int(target).to_bytes(8, "little", signed=True)
