from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.actions.convert.support import TEXT, convert, inputs, parsed, rules, write
from validator.actions.convert import ConvertError, Options

INPUTS = np.array([[0, 0.5], [1, 0.25]])
TARGETS = np.array([2, 0])


def npz(folder: Path, **arrays: object) -> Path:
    np.savez(folder / "a.npz", **arrays)
    return folder / "a.npz"


def npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def archive(folder: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(folder / "a.npz", "w", compression) as made:
        for name, data in members.items():
            made.writestr(name, data)
    return folder / "a.npz"


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, ">f8"])
def test_convert__arrays_of_any_real_dtype__become_the_schema_s(tmp_path: Path, dtype: object) -> None:
    done = convert(npz(tmp_path, inputs=INPUTS.astype(dtype), targets=TARGETS.astype(np.uint8)), rules())

    assert inputs(done, rules()).tolist() == INPUTS.tolist()
    assert parsed(done, rules()).targets.tolist() == [2, 0]


def test_convert__compressed_and_in_column_order__is_the_same(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", inputs=np.asfortranarray(INPUTS), targets=TARGETS)

    assert inputs(convert(tmp_path / "a.npz", rules()), rules()).tolist() == INPUTS.tolist()


def test_convert__flat_rows__are_put_into_the_shape(tmp_path: Path) -> None:
    by = rules(shape=[2, 2])

    done = convert(npz(tmp_path, inputs=np.arange(4).reshape(1, 4) / 4, targets=[1]), by)

    assert inputs(done, by).tolist() == [[[0, 0.25], [0.5, 0.75]]]


def test_convert__records_that_do_not_fit__are_told_by_their_number(tmp_path: Path) -> None:
    rows = np.array([[0, 0], [0, 2], [0, np.nan], [0, 1], [1, 1], [0, 0.5]])

    done = convert(npz(tmp_path, inputs=rows, targets=[0, 0, 0, 3, 2, 1]), rules())

    assert inputs(done, rules()).tolist() == [[0, 0], [1, 1], [0, 0.5]]
    assert done.dropped == {
        "a value lies outside 0 to 1": ["record 1"],
        "a value is missing or infinite": ["record 2"],
        "label '3' is no class: they are 0 to 2": ["record 3"],
    }


def test_convert__sequences__may_be_shorter_and_padded(tmp_path: Path) -> None:
    tokens = np.array([[1, 2, 3], [4, 255, -1]], np.int32)

    done = convert(npz(tmp_path, inputs=tokens), rules(TEXT))

    assert inputs(done, rules(TEXT)).tolist() == [[1, 2, 3] + [-1] * 5, [4, 255] + [-1] * 6]
    assert (done.tokens, done.classes) == (5, 5)


BOMB = npy(np.zeros(1 << 24, np.uint8))


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({}, "it holds nothing"),
        ({"inputs.npy": npy(INPUTS)}, "exactly inputs and targets; it holds inputs"),
        ({"x_train.npy": npy(INPUTS), "y_train.npy": npy(TARGETS)}, "it holds x_train, y_train"),
        ({"inputs.npy": npy(INPUTS), "targets.npy": npy(TARGETS), "more.npy": b""}, "it holds inputs, targets, more"),
        ({"a\nb.npy": npy(INPUTS), "\x1b[1m.npy": b""}, r"it holds a\\nb, \\x1b\[1m$"),
        ({"inputs.npy": b"", "targets.npy": npy(TARGETS)}, "not an array"),
        ({"inputs.npy": b"junk" * 9, "targets.npy": npy(TARGETS)}, "not an array"),
        ({"inputs.npy": npy(INPUTS)[:-1], "targets.npy": npy(TARGETS)}, "not as long"),
        ({"inputs.npy": npy(INPUTS) + b"\0", "targets.npy": npy(TARGETS)}, "not as long"),
        ({"inputs.npy": npy(INPUTS), "targets.npy": npy(TARGETS[:1])}, "first axis"),
        ({"inputs.npy": npy(INPUTS), "targets.npy": npy(TARGETS[:, None])}, "one axis"),
        ({"inputs.npy": npy(np.float64(1)), "targets.npy": npy(np.int64(1))}, "first axis"),
        ({"inputs.npy": npy(INPUTS.astype("U8")), "targets.npy": npy(TARGETS)}, "not numbers"),
        ({"inputs.npy": npy(INPUTS + 1j), "targets.npy": npy(TARGETS)}, "not numbers"),
        ({"inputs.npy": npy(np.array([(1, 2)], "i4,i4")), "targets.npy": npy(TARGETS[:1])}, "not numbers"),
        ({"inputs.npy": npy(INPUTS[:, :1]), "targets.npy": npy(TARGETS)}, "1 values instead of 2"),
        ({"inputs.npy": npy(INPUTS[:0]), "targets.npy": npy(TARGETS[:0])}, "holds no record"),
    ],
)
def test_convert__archive_that_is_not_what_is_asked_for__is_refused_in_one_line(
    tmp_path: Path, members: dict[str, bytes], words: str
) -> None:
    with pytest.raises(ConvertError, match=words) as caught:
        convert(archive(tmp_path, members), rules())
    assert "\n" not in str(caught.value)


class Evil:
    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (Path("/tmp/unpickled-by-mistake"),))


def test_convert__pickled_objects__are_never_unpickled(tmp_path: Path) -> None:
    objects = np.array([Evil(), Evil()], dtype=object)
    np.savez(tmp_path / "a.npz", inputs=objects, targets=TARGETS)

    with pytest.raises(ConvertError, match="not numbers"):
        convert(tmp_path / "a.npz", rules())
    with pytest.raises(ConvertError, match="not an npz"):
        convert(write(tmp_path, "b.npz", pickle.dumps(Evil())), rules())
    assert not Path("/tmp/unpickled-by-mistake").exists()


def test_convert__header_that_claims_128_gib__is_refused_before_memory_is_taken(tmp_path: Path) -> None:
    header = np.lib.format.magic(1, 0)
    text = b"{'descr': '<f8', 'fortran_order': False, 'shape': (17179869184, 2), }".ljust(117) + b"\n"
    claim = header + len(text).to_bytes(2, "little") + text + bytes(64)

    with pytest.raises(ConvertError, match="not as long"):
        convert(archive(tmp_path, {"inputs.npy": claim, "targets.npy": npy(TARGETS)}), rules())


def test_convert__declared_size_beyond_the_limit__is_not_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("validator.actions.convert.arrays.MOST_BYTES", 1 << 20)
    path = archive(tmp_path, {"inputs.npy": BOMB, "targets.npy": npy(TARGETS)}, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 1 << 16

    with pytest.raises(ConvertError, match="at most 1048576 are read"):
        convert(path, rules())


def test_convert__archive_cut_at_its_front__is_refused_in_one_line(tmp_path: Path) -> None:
    # Its directory then points to places before the file begins.
    data = npz(tmp_path, inputs=INPUTS, targets=TARGETS).read_bytes()

    for cut in range(1, 60):
        with pytest.raises(ConvertError, match="not an npz"):
            convert(write(tmp_path, "b.npz", data[cut:]), rules())


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_convert__mutated_archive__only_our_errors_come_out(tmp_path: Path, data: st.DataObject) -> None:
    from validator.actions.convert.arrays import npz_samples
    from validator.stages.open import payload_schema

    good = npz(tmp_path, inputs=INPUTS, targets=TARGETS).read_bytes()
    mutated = bytearray(good)
    for _ in range(data.draw(st.integers(1, 4))):
        mutated[data.draw(st.integers(0, len(mutated) - 1))] = data.draw(st.integers(0, 255))
    path = write(tmp_path, "m.npz", bytes(mutated))

    try:
        list(npz_samples(path, payload_schema(rules()), Options()))
    except ConvertError as error:
        assert "\n" not in str(error)
