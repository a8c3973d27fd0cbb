from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.actions.convert.support import TEXT, convert, inputs, parsed, rules, write
from validator.actions.convert import ConvertError, Options
from validator.actions.convert import convert as checked_convert
from validator.payload import Malformed

GOOD = "x,y,target\n0,0.5,2\n1,0.25,0\n"


def test_convert__csv__takes_all_columns_but_the_label(tmp_path: Path) -> None:
    done = convert(write(tmp_path, "a.csv", GOOD), rules())

    assert inputs(done, rules()).tolist() == [[0, 0.5], [1, 0.25]]
    assert parsed(done, rules()).targets.tolist() == [2, 0]
    assert (done.records, done.classes, done.repeats, done.dropped) == (2, 2, 0, {})


def test_convert__tsv__is_separated_by_tabs(tmp_path: Path) -> None:
    done = convert(write(tmp_path, "a.tsv", GOOD.replace(",", "\t")), rules())

    assert inputs(done, rules()).tolist() == [[0, 0.5], [1, 0.25]]


def test_convert__named_columns__are_taken_in_the_order_of_the_names(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", 'id,kind,y,"x ",note\n7,b,1,0,"a, b"\n8,a,0.5,0.25,\n')
    options = Options(label="kind", columns=("x", "y"), classes=("a", "b", "c"))

    done = convert(path, rules(), options)

    assert inputs(done, rules()).tolist() == [[0, 1], [0.25, 0.5]]
    assert parsed(done, rules()).targets.tolist() == [1, 0]


def test_convert__as_spreadsheets_write_it__is_read(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", b"\xef\xbb\xbfx,y,target\r\n 0 ,+5e-1,2.0\r\n\r\n1,.25,0\r\n")

    assert inputs(convert(path, rules()), rules()).tolist() == [[0, 0.5], [1, 0.25]]


def test_convert__rows_that_do_not_fit__are_left_out_and_told_by_reason_and_line(tmp_path: Path) -> None:
    good = "0,0,1\n" * 10
    path = write(
        tmp_path,
        "a.csv",
        f"x,y,target\n{good}0,abc,1\n0,,1\n0,nan,1\n0,inf,1\n0,1_0,1\n2,0,1\n0,0,3\n0,0,x\n0,0\n0,0,1,1\n",
    )

    done = convert(path, rules(most=10))

    assert done.records == 10
    assert (
        done.dropped
        == {
            "a cell is not a number": ["line 12", "line 16"],
            "a cell is empty": ["line 13"],
            "a value is missing or infinite": ["line 14", "line 15"],
            "a value lies outside 0 to 1": ["line 17"],
            "label '3' is no class: they are 0 to 2": ["line 18"],
            "label 'x' is no number: name the classes in order with --classes": ["line 19"],
            "2 cells under 3 columns": ["line 20"],
            "4 cells under 3 columns": ["line 21"],
        }
        or done.dropped_records == 9
    )


def test_convert__repeats_within_the_file__are_counted(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "x,y,target\n0,0,1\n-0.0,0,1\n0,0,1\n0,0,2\n")

    assert convert(path, rules()).repeats == 2


def test_convert__number_that_float32_rounds_out_of_the_range__stays_in_it(tmp_path: Path) -> None:
    by = rules(maximum="0.1", minimum="-0.1")
    path = write(tmp_path, "a.csv", "x,y,target\n0.1,-0.1,1\n")

    assert float(inputs(convert(path, by), by).max()) <= 0.1


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=2, max_size=2))
def test_convert__any_number_in_range__becomes_the_nearest_float32(row: list[float]) -> None:
    from tempfile import TemporaryDirectory

    from validator.actions.convert.sample import Sample
    from validator.actions.convert.table import table_samples
    from validator.stages.open import payload_schema

    with TemporaryDirectory() as folder:
        path = write(Path(folder), "a.csv", f"x,y,target\n{row[0]!r},{row[1]!r},1\n")
        (found,) = table_samples(path, payload_schema(rules()), Options())

    assert isinstance(found, Sample)
    assert np.array_equal(found.inputs, np.array(row, np.float32))


def test_convert__whole_numbers__are_wanted_where_the_dtype_has_no_others(tmp_path: Path) -> None:
    by = rules(dtype="uint8", maximum="300")
    path = write(tmp_path, "a.csv", "x,y,target\n0,255,1\n3.0,4,1\n0.5,1,1\n256,1,1\n")

    done = convert(path, by)

    assert inputs(done, by).tolist() == [[0, 255], [3, 4]]
    assert sorted(done.dropped) == ["a value is not a whole number", "a value lies outside 0 to 255"]


def test_convert__other_format__is_written_in_it(tmp_path: Path) -> None:
    by = rules(format="jsonl")

    done = convert(write(tmp_path, "a.csv", GOOD), by)

    assert done.payload == b'{"inputs":[0.0,0.5],"target":2}\n{"inputs":[1.0,0.25],"target":0}\n'


def test_convert__matrix_shape__is_filled_row_by_row(tmp_path: Path) -> None:
    by = rules(shape=[2, 2])
    path = write(tmp_path, "a.csv", "a,b,c,d,label\n0,0.25,0.5,1,1\n")

    assert inputs(convert(path, by), by).tolist() == [[[0, 0.25], [0.5, 1]]]


@pytest.mark.parametrize(
    ("content", "options", "words"),
    [
        ("", Options(), "no header"),
        ("\n\n", Options(), "no header"),
        ("0,0.5,2\n1,0,1\n", Options(), "no header"),
        ("x,y,target\n", Options(), "holds no record"),
        ("x,x,target\n0,0,1\n", Options(), "more than one column called 'x'"),
        ("x,y,kind\n0,0,1\n", Options(), "--label"),
        ("x,target,label\n0,0,1\n", Options(), "--label"),
        ("x,y,target\n0,0,1\n", Options(label="kind"), "no column 'kind'"),
        ("x,y,target\n0,0,1\n", Options(columns=("x", "z")), "no column 'z'"),
        ("x,y,target\n0,0,1\n", Options(columns=("x", "target")), "cannot be among"),
        ("x,y,target\n0,0,1\n", Options(columns=("x",)), "1 columns .* 2 values"),
        ("x,target\n0,1\n", Options(), "1 columns .* 2 values"),
        ("x,y,target\n0,0,1\n", Options(classes=("a", "b")), "2 names"),
        ("x,y,target\n0,0,1\n", Options(classes=("a", "b", "a")), "3 names, 2 of them different"),
        ("x,y,target\n0,0,1\n", Options(classes=("a", "", "b")), "3 names, 2 of them different"),
        ("x,y,target\n0,0,1\n0,2,1\n2,0,1\n", Options(), "2 of 3 records .* first line 3"),
        ("x,y,target\n0,0,1\n", Options(skip=1), "--skip leaves none"),
        ('x,y,target\n0,"0,1\n', Options(), "no table"),
        ('x,y,target\n0,"0"0,1\n', Options(), "no table"),
        ("x,y,target\n0,0,1\n".encode("utf-16"), Options(), "no table"),
        (b"x,y,target\n\xff,0,1\n", Options(), "no table"),
        ("x,y,target\n0," + "0" * 200_000 + ",1\n", Options(), "field larger"),
        ("x,y,target\n" + "0,0,1\n" * 9, Options(), "more than 8 records"),
        ("x,y,target\n" + "0,0,1\n" * 12, Options(skip=1, take=9), "more than 8 records"),
        ("x,y,target\n0,0,1\n", Options(tokenizer=Path("t.json")), "--tokenizer says nothing"),
        ("x,y,target\n0,0,1\n", Options(documents="lines"), "--documents says nothing"),
    ],
)
def test_convert__table_that_cannot_be_taken__is_refused_in_one_line(
    tmp_path: Path, content: str | bytes, options: Options, words: str
) -> None:
    with pytest.raises(ConvertError, match=words) as caught:
        convert(write(tmp_path, "a.csv", content), rules(), options)
    assert "\n" not in str(caught.value)


def test_convert__part_of_a_long_table__can_be_chosen(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "x,y,target\n" + "".join(f"0,{n / 100},1\n" for n in range(100)))

    done = convert(path, rules(), Options(skip=96, take=8))

    assert inputs(done, rules())[:, 1].tolist() == np.array([0.96, 0.97, 0.98, 0.99], np.float32).tolist()


def test_convert__fewer_records_than_the_manifest_asks_for__is_the_verdict_of_validators(tmp_path: Path) -> None:
    with pytest.raises(Malformed, match="at least 3"):
        checked_convert(write(tmp_path, "a.csv", GOOD), rules(least=3))


def test_convert__table_for_a_language_model__is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConvertError, match="sequences of tokens"):
        convert(write(tmp_path, "a.csv", GOOD), rules(TEXT))
