"""npz files in the browser against the command: the same bytes, or a refusal by both."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

from tests.actions.convert.support import TABLE, TEXT, rules
from tests.web.test_convert_js import LINES, PIXELS, SIGNED, WHOLE, File, both, chosen
from validator.manifest import PayloadRules

TO_COMMAND = "use the command line, validator contribute"
DTYPES = (
    "?",
    "i1",
    "u1",
    "<i2",
    ">i2",
    "<u2",
    "<i4",
    ">u4",
    "<i8",
    ">i8",
    "<u8",
    "<f2",
    ">f2",
    "<f4",
    ">f4",
    "<f8",
    ">f8",
)


def npz(arrays: dict[str, Any], compressed: bool = False) -> bytes:
    """As numpy writes it."""
    out = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(out, **arrays)
    return out.getvalue()


def zipped(members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    """As anybody may write it."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return out.getvalue()


def npy(header: bytes, body: bytes = b"", version: tuple[int, int] = (1, 0)) -> bytes:
    """One array by hand."""
    size = len(header).to_bytes(2 if version == (1, 0) else 4, "little")
    return b"\x93NUMPY" + bytes(version) + size + header + body


def saved(array: Any) -> bytes:
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


ROWS, CLASSES = np.array([[0, 0.5], [1, 0.25]]), np.array([2, 0])
GOOD = {"inputs.npy": saved(ROWS), "targets.npy": saved(CLASSES)}
SHAPED = b"{'descr': '<f8', 'fortran_order': False, 'shape': (2, 2), }"


def taken() -> Iterator[tuple[str, File]]:
    for compressed in (False, True):
        by = "compressed" if compressed else "stored"
        for dtype in DTYPES:
            data = npz(
                {"inputs": np.array([[0, 1], [1, 1]]).astype(dtype), "targets": CLASSES.astype("u1")}, compressed
            )
            yield f"{by} {dtype}", File("a.npz", data, rules())
            data = npz({"inputs": ROWS, "targets": np.array([1, 0]).astype(dtype)}, compressed)
            names = ("False", "True", "x") if dtype == "?" else ("0", "1", "x")
            names = ("0.0", "1.0", "x") if "f" in dtype else names
            yield f"{by} targets of {dtype}", File("a.npz", data, rules(), chosen(classes=names))
    deep = np.arange(24).reshape(4, 3, 2) / 24
    for order in "CF":
        data = npz({"inputs": np.array(deep, order=order), "targets": np.arange(4) % 3})
        yield f"rows of two axes in {order}", File("a.npz", data, rules(LINES, shape=[6]))
        yield f"part of them in {order}", File("A.NPZ", data, rules(shape=[2, 3]), chosen(skip=1, take=2))
    tokens = np.array([[1, 2, 3], [250, 5, 0]])
    for dtype in ("u1", "<i2", "<u8", "<f4"):
        yield f"tokens of {dtype}", File("a.npz", npz({"inputs": tokens.astype(dtype)}), rules(TEXT))
    yield "tokens with padding", File("a.npz", npz({"inputs": np.array([[1, 2, -1, -1]])}), rules(TEXT))
    odd = np.array([[0, 1], [np.nan, 0], [0, np.inf], [2, 0], [-0.0, 1e-40], [0.1, 0.3], [1, 1], [0, 0]] + [[1, 0]] * 3)
    yield (
        "some that do not fit",
        File("a.npz", npz({"inputs": odd, "targets": [0, 0, 1, 2, 0, 1, 7, -1, 2, 1, 0]}), rules()),
    )
    large = np.array([[2**53 + 1, 5], [999999999999, -5], [3, 4]])
    yield "large whole numbers", File("a.npz", npz({"inputs": large, "targets": [0, 1, 2]}), rules(WHOLE))
    yield "pixels", File("a.npz", npz({"inputs": np.array([[0, 255], [7, 9]], "u1"), "targets": [0, 1]}), rules(PIXELS))
    real = np.array([[1e-45, -3.4e-38], [0.1, 123456789.123]])
    yield "real numbers", File("a.npz", npz({"inputs": real, "targets": [0, 1]}), rules(LINES, **SIGNED))
    named = np.array([1e-5, 2.5, 1e16])
    yield (
        "labels that are written with exponents",
        File(
            "a.npz",
            npz({"inputs": np.zeros((3, 2)), "targets": named}),
            rules(),
            chosen(classes=("1e-05", "2.5", "1e+16")),
        ),
    )
    yield "members in another order", File("a.npz", zipped(dict(reversed(GOOD.items()))), rules())
    yield (
        "a header of version 2",
        File("a.npz", zipped({**GOOD, "inputs.npy": npy(SHAPED + b" \n", ROWS.tobytes(), (2, 0))}), rules()),
    )


REFUSED = {
    "nothing": b"",
    "text": b"PK not really",
    "no member": zipped({}),
    "a member too few": zipped({"inputs.npy": GOOD["inputs.npy"]}),
    "a member too many": zipped({**GOOD, "more.npy": GOOD["targets.npy"]}),
    "a member of another name": zipped({"inputs.npy": GOOD["inputs.npy"], "target.npy": GOOD["targets.npy"]}),
    "an archive cut": zipped(GOOD)[:-1],
    "an archive without its first half": zipped(GOOD)[200:],
    "objects": npz({"inputs": ROWS, "targets": np.array([1, None], object)}),
    "texts": npz({"inputs": ROWS, "targets": np.array(["1", "2"])}),
    "complex numbers": npz({"inputs": ROWS.astype(complex), "targets": CLASSES}),
    "dates": npz({"inputs": ROWS, "targets": CLASSES.astype("M8[s]")}),
    "a number alone": npz({"inputs": np.float64(1), "targets": CLASSES}),
    "other lengths": npz({"inputs": ROWS, "targets": np.arange(3)}),
    "targets of two axes": npz({"inputs": ROWS, "targets": CLASSES.reshape(2, 1)}),
    "no row": npz({"inputs": np.zeros((0, 2)), "targets": np.zeros(0)}),
    "rows of nothing": zipped(
        {
            "inputs.npy": npy(SHAPED.replace(b"(2, 2)", b"(9999999999, 0)")),
            "targets.npy": npy(SHAPED.replace(b"(2, 2)", b"(9999999999,)")),
        }
    ),
    "rows too wide": npz({"inputs": np.zeros((2, 3)), "targets": CLASSES}),
    "most that do not fit": npz({"inputs": ROWS + 9, "targets": CLASSES}),
    "a header that lies": zipped({**GOOD, "inputs.npy": npy(SHAPED.replace(b"(2,", b"(9,"), ROWS.tobytes())}),
    "a header cut": zipped({**GOOD, "inputs.npy": GOOD["inputs.npy"][:40]}),
    "a header of code": zipped({**GOOD, "inputs.npy": npy(SHAPED.replace(b"2, 2", b"1+1, 2"), ROWS.tobytes())}),
    "a header without an end": zipped({**GOOD, "inputs.npy": b"\x93NUMPY\x02\x00" + b"\xff" * 4 + SHAPED}),
    "a header of version 3": zipped({**GOOD, "inputs.npy": npy(SHAPED + b"\n", ROWS.tobytes(), (3, 0))}),
    "no array": zipped({**GOOD, "inputs.npy": b"hello"}),
}

SENT_TO_COMMAND = {
    "bzip2": zipped(GOOD, zipfile.ZIP_BZIP2),
    "something before the archive": b"#!/bin/sh\n" + zipped(GOOD),
    "another way to write a header": zipped(
        {**GOOD, "inputs.npy": npy(b'{"shape":(2,2),"fortran_order":False,"descr":"<f8"}', ROWS.tobytes())}
    ),
    "numbers of sixteen bytes": npz({"inputs": ROWS.astype("g"), "targets": CLASSES}),
}


def test_npz_js__every_array__gives_the_command_s_bytes_and_count(tmp_path: Path) -> None:
    files = dict(taken())
    for name, (_, wanted, found) in zip(files, both(list(files.values()), tmp_path), strict=True):
        assert wanted is not None, f"{name}: the command refuses it"
        assert found == wanted, name


def test_npz_js__what_the_command_refuses__is_refused_in_words(tmp_path: Path) -> None:
    files = [File("a.npz", data, rules()) for data in REFUSED.values()]
    files += [File("a.npz", npz({"inputs": ROWS, "targets": CLASSES}), by, part) for by, part in OTHERWISE]
    for name, (_, wanted, found) in zip([*REFUSED, *map(str, OTHERWISE)], both(files, tmp_path), strict=True):
        assert wanted is None, f"{name}: the command takes it"
        assert found.keys() == {"refused"}, name
        assert found["refused"].strip(), name


OTHERWISE: list[tuple[PayloadRules, Any]] = [
    (rules(), chosen(label="target")),
    (rules(), chosen(classes=("a", "b"))),
    (rules(TEXT), chosen()),
    (rules(shape=[3]), chosen()),
]


def test_npz_js__rows_of_nothing__are_not_counted_one_by_one(tmp_path: Path) -> None:
    """Ten thousand million sequences in two hundred bytes."""
    header = SHAPED.replace(b"(2, 2)", b"(9999999999, 0)") + b"\n"

    [(_, wanted, found)] = both([File("a.npz", zipped({"inputs.npy": npy(header)}), rules(TEXT))], tmp_path)

    assert wanted is None
    assert "no values" in found["refused"]


def test_npz_js__what_numpy_does_not_write__is_sent_to_the_command(tmp_path: Path) -> None:
    files = [File("a.npz", data, rules()) for data in SENT_TO_COMMAND.values()]
    for name, (_, wanted, found) in zip(SENT_TO_COMMAND, both(files, tmp_path), strict=True):
        assert wanted is not None, f"{name}: the command refuses it"
        assert TO_COMMAND in found["refused"], name


def test_npz_js__a_bomb__is_not_unpacked(tmp_path: Path) -> None:
    """64 MiB of zeros in 64 KiB that call themselves 100 bytes: what comes after those is let go."""
    data = bytearray(zipped({**GOOD, "inputs.npy": bytes(64 << 20)}, zipfile.ZIP_DEFLATED))
    entry = data.rindex(b"PK\x01\x02", 0, data.rindex(b"PK\x01\x02"))
    data[entry + 24 : entry + 28] = (100).to_bytes(4, "little")

    [(_, wanted, found)] = both([File("a.npz", bytes(data), rules())], tmp_path)

    assert wanted is None
    assert found.keys() == {"refused"}


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 20))])
def test_npz_js__any_array__gives_the_command_s_bytes_or_is_refused(tmp_path: Path, seed: int) -> None:
    """Shapes, orders, dtypes and values from everywhere, and the same files with bytes changed."""
    sound = 0
    for file, wanted, found in both(list(arrays(300, seed)), tmp_path):
        if TO_COMMAND in found.get("refused", ""):
            continue
        assert (found if wanted is not None else found.keys()) == (wanted or {"refused"}), file
        sound += wanted is not None
    assert sound > 60


def arrays(count: int, seed: int) -> Iterator[File]:
    rng, draw = Random(seed), np.random.default_rng(seed)
    for _ in range(count):
        size, width = rng.randrange(1, 7), rng.choice(((2,), (1, 2), (2, 1), (2, 1, 1), (3,), ()))
        inputs = draw.integers(0, rng.choice((2, 2, 9)), (size, *width)) / rng.choice((1, 1, 4))
        labels = draw.integers(0, rng.choice((3, 3, 3, 5)), size)
        held = {
            "inputs": np.array(inputs.astype(rng.choice(DTYPES)), order=rng.choice("CF")),
            "targets": labels.astype(rng.choice(DTYPES[1:])),
        }
        data = bytearray(npz(held, compressed=rng.random() < 0.5))
        for _ in range(rng.choice((0, 0, 0, 1, 3))):
            data[rng.randrange(len(data))] = rng.choice((0, 1, 32, 49, 255, rng.randrange(256)))
        base = rng.choice((TABLE, LINES, PIXELS, WHOLE))
        by = rules(base, shape=rng.choice(([2], [1, 2])), most=12)
        yield File("a.npz", bytes(data), by, chosen(skip=rng.choice((0, 0, 1)), take=rng.choice((None, None, 3))))
