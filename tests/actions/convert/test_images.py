from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.actions.convert.support import convert, inputs, parsed, rules, write
from validator.actions.convert import ConvertError, Options
from validator.actions.convert.images import Layout, boxed, image_samples, layout_of
from validator.payload import Field, Schema

GREY = {"dtype": "uint8", "minimum": "0", "maximum": "255"}


def picture(colours: object, form: str = "PNG", mode: str | None = None, **options: object) -> bytes:
    image = Image.fromarray(np.array(colours, np.uint8))
    stream = io.BytesIO()
    (image.convert(mode) if mode else image).save(stream, form, **options)
    return stream.getvalue()


CHESS = picture([[0, 255], [255, 0]])


def test_convert__folder_a_class__gives_records_in_the_order_of_paths(tmp_path: Path) -> None:
    for name, content in {"1/b.png": CHESS, "1/a.png": picture([[9, 9], [9, 9]]), "0/c.PNG": CHESS}.items():
        write(tmp_path, name, content)
    by = rules(shape=[2, 2], **GREY)

    done = convert(tmp_path, by)

    assert inputs(done, by).tolist() == [[[0, 255], [255, 0]], [[9, 9], [9, 9]], [[0, 255], [255, 0]]]
    assert parsed(done, by).targets.tolist() == [0, 1, 1]


def test_convert__named_folders__are_classes_by_their_names(tmp_path: Path) -> None:
    for name in ("dog/1.png", "cat/1.png"):
        write(tmp_path, name, CHESS)
    by = rules(shape=[4])

    done = convert(tmp_path, by, Options(classes=("bird", "cat", "dog")))

    assert parsed(done, by).targets.tolist() == [1, 2]
    assert inputs(done, by).tolist() == [[0, 1, 1, 0]] * 2


def test_convert__list_of_labels__is_followed_in_its_order(tmp_path: Path) -> None:
    write(tmp_path, "z.png", CHESS)
    write(tmp_path, "sub/a.png", picture([[255, 255], [0, 0]]))
    write(tmp_path, "labels.csv", "label,file\n2,z.png\n0,sub/a.png\n1,missing.png\n1\n2,z.png\n")
    by = rules(shape=[4])

    done = convert(tmp_path, by)

    assert parsed(done, by).targets.tolist() == [2, 0, 2]
    assert done.dropped == {
        "no such file, or one too large": ["missing.png"],
        "not a PNG or JPEG picture in a folder of a class": ["labels.csv line 5"],
    }
    assert done.repeats == 1


def test_convert__files_that_are_no_pictures__are_left_out_and_hidden_ones_not_seen(tmp_path: Path) -> None:
    for name in ("0/a.png", "0/b.png", "1/c.png", "1/d.png"):
        write(tmp_path, name, CHESS)
    for name in ("top.png", "0/notes.txt", "1/broken.png", "0/.hidden.png", ".git/0/x.png"):
        write(tmp_path, name, CHESS[:40])

    done = convert(tmp_path, rules(shape=[4]))

    assert done.records == 4
    assert done.dropped == {
        "not a PNG or JPEG picture in a folder of a class": ["0/notes.txt", "top.png"],
        "not a PNG or JPEG picture that can be read": ["1/broken.png"],
    }


def colour(**changes: object) -> dict[str, object]:
    return {"shape": [3, 1, 1], "dtype": "uint8", "minimum": "0", "maximum": "255", **changes}


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        (picture([[[10, 20, 30]]]), [10, 20, 30]),
        (picture([[77]]), [77, 77, 77]),
        (picture([[[10, 20, 30, 255]]]), [10, 20, 30]),
        (picture([[[10, 20, 30, 0]]]), [255, 255, 255]),
        (picture([[[0, 0, 0, 51]]]), [204, 204, 204]),
        (picture([[[0, 0, 255]]], mode="P"), [0, 0, 255]),
        (picture([[0]], mode="1"), [0, 0, 0]),
        (picture([[0]], mode="LA"), [0, 0, 0]),
        (picture([[[200, 200, 200]]], "JPEG"), [200, 200, 200]),
        (picture([[[10, 20, 30], [30, 40, 50]]]), [20, 30, 40]),
    ],
    ids=["rgb", "grey", "opaque", "transparent", "fifth", "palette", "bits", "grey-alpha", "jpeg", "two-pixels"],
)
def test_convert__colours_of_each_kind__become_red_green_and_blue(
    tmp_path: Path, content: bytes, wanted: list[int]
) -> None:
    write(tmp_path, "0/a.png", content)
    by = rules(**colour())

    assert inputs(convert(tmp_path, by), by).ravel().tolist() == wanted


def test_convert__turned_by_its_camera__is_turned_back(tmp_path: Path) -> None:
    image, stream = Image.fromarray(np.array([[0, 255]], np.uint8)), io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise
    image.save(stream, "PNG", exif=exif)
    write(tmp_path, "0/a.png", stream.getvalue())
    by = rules(shape=[2, 1], **GREY)

    assert inputs(convert(tmp_path, by), by).tolist() == [[[0], [255]]]


@pytest.mark.parametrize(
    ("dtype", "low", "high", "wanted"),
    [
        ("float32", "0", "1", [0, np.float32(51 / 255), 1]),
        ("float32", "-1", "1", [-1, np.float32(-1 + 2 * 51 / 255), 1]),
        ("uint8", "0", "255", [0, 51, 255]),
        ("int64", "0", "16", [0, 3, 16]),
    ],
)
def test_convert__any_range__is_reached_from_end_to_end(
    tmp_path: Path, dtype: str, low: str, high: str, wanted: list[float]
) -> None:
    write(tmp_path, "0/a.png", picture([[0, 51, 255]]))
    by = rules(shape=[1, 3], dtype=dtype, minimum=low, maximum=high)

    assert inputs(convert(tmp_path, by), by).ravel().tolist() == [float(one) for one in wanted]


def slow_box(pixels: np.ndarray, height: int, width: int) -> list[list[int]]:
    """What `boxed` promises, one place at a time in fractions."""
    rows, columns = pixels.shape

    def overlap(place: int, new: int, at: int, old: int) -> Fraction:
        low, high = max(Fraction(place * old, new), at), min(Fraction((place + 1) * old, new), at + 1)
        return max(high - low, Fraction(0))

    def average(i: int, j: int) -> int:
        total = sum(
            overlap(i, height, r, rows) * overlap(j, width, c, columns) * int(pixels[r, c])
            for r in range(rows)
            for c in range(columns)
        )
        area = Fraction(rows * columns, height * width)
        return int(Fraction(total, area) + Fraction(1, 2))

    return [[average(i, j) for j in range(width)] for i in range(height)]


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 7), st.integers(1, 7), st.integers(1, 5), st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_boxed__any_size__is_the_average_over_boxes_to_the_bit(
    rows: int, columns: int, height: int, width: int, seed: int
) -> None:
    grey = np.random.default_rng(seed).integers(0, 256, (rows, columns))
    pixels = np.repeat(grey[:, :, None], 3, axis=2)

    found = boxed(pixels, Layout(height, width, 3, channels_first=True))

    assert found[:, :, 0].tolist() == found[:, :, 2].tolist() == slow_box(grey, height, width)


def test_boxed__grey__weighs_colours_and_leaves_grey_as_it_is() -> None:
    one = Layout(1, 1, 1, channels_first=True)

    assert [boxed(np.full((1, 1, 3), value), one).item() for value in range(256)] == list(range(256))
    assert boxed(np.array([[[255, 0, 0]]]), one).item() == 76
    assert boxed(np.array([[[0, 255, 0]]]), one).item() == 150
    assert boxed(np.array([[[0, 0, 255]]]), one).item() == 29


@pytest.mark.parametrize(
    ("shape", "wanted"),
    [
        ((64,), Layout(8, 8, 1, channels_first=True)),
        ((4, 6), Layout(4, 6, 1, channels_first=True)),
        ((1, 4, 6), Layout(4, 6, 1, channels_first=True)),
        ((3, 4, 6), Layout(4, 6, 3, channels_first=True)),
        ((4, 6, 3), Layout(4, 6, 3, channels_first=False)),
        ((4, 6, 1), Layout(4, 6, 1, channels_first=False)),
    ],
)
def test_layout__shape_of_a_picture__is_understood(shape: tuple[int, ...], wanted: Layout) -> None:
    assert layout_of(shape) == wanted


@pytest.mark.parametrize("shape", [(), (5,), (2, 4, 6), (4, 6, 2), (1, 1, 4, 6)])
def test_layout__shape_that_is_no_picture__is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ConvertError, match="no picture"):
        layout_of(shape)


def test_convert__channels_last__are_kept_so(tmp_path: Path) -> None:
    write(tmp_path, "0/a.png", picture([[[1, 2, 3]], [[4, 5, 6]]]))
    by = rules(**colour(shape=[2, 1, 3]))

    assert inputs(convert(tmp_path, by), by).ravel().tolist() == [1, 2, 3, 4, 5, 6]


def huge_png(width: int, height: int) -> bytes:
    """A picture that claims a size, without the pixels."""
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(bytes(999))) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not a PNG or JPEG picture that can be read"),
        (b"GIF89a" + bytes(99), "not a PNG or JPEG picture that can be read"),
        (CHESS[:45], "not a PNG or JPEG picture that can be read"),
        (huge_png(1000, 1000), "not a PNG or JPEG picture that can be read"),
        (huge_png(9000, 9000), "more than 67108864 pixels"),
        (huge_png(60000, 60000), "not a PNG or JPEG picture that can be read"),
        (picture([[[0, 0, 0]]], "JPEG", mode="CMYK"), "a picture of mode CMYK: save it as grey or RGB with 8 bits"),
    ],
    ids=["empty", "gif", "cut", "no-pixels", "large", "bomb", "cmyk"],
)
def test_convert__picture_that_cannot_be_read__is_told(tmp_path: Path, content: bytes, reason: str) -> None:
    write(tmp_path, "0/a.png", content)

    with pytest.raises(ConvertError, match="1 of 1 records") as caught:
        convert(tmp_path, rules(shape=[4]))
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("files", "options", "words"),
    [
        ([], Options(), "holds no record"),
        (["a.png"], Options(), "1 of 1 records .* in a folder of a class"),
        (["cat/a.png"], Options(), "name the classes in order with --classes"),
        (["cat/a.png"], Options(classes=("dog", "bird", "fish")), "'cat' is not among --classes"),
        (["7/a.png"], Options(), "is no class: they are 0 to 2"),
        (["0/a.png"], Options(label="x"), "--label says nothing"),
        ([f"0/{n}.png" for n in range(9)], Options(), "more than 8 records"),
    ],
)
def test_convert__folder_that_cannot_be_taken__is_refused(
    tmp_path: Path, files: list[str], options: Options, words: str
) -> None:
    for name in files:
        write(tmp_path, name, CHESS)

    with pytest.raises(ConvertError, match=words):
        convert(tmp_path, rules(shape=[4]), options)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_image_samples__mutated_picture__a_record_or_a_reason_and_nothing_else(
    tmp_path: Path, data: st.DataObject
) -> None:
    form = data.draw(st.sampled_from(["PNG", "JPEG"]))
    mutated = bytearray(picture(np.arange(48).reshape(4, 4, 3), form))
    for _ in range(data.draw(st.integers(1, 5))):
        mutated[data.draw(st.integers(0, len(mutated) - 1))] = data.draw(st.integers(0, 255))
    write(tmp_path, "0/a.png", bytes(mutated))
    schema = Schema((Field("inputs", "float32", (4,), 0, 1),), 3, 8, 1 << 20)

    assert len(list(image_samples(tmp_path, schema, Options()))) == 1
