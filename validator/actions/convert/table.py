"""CSV and TSV: a header that names the columns, then one record a row."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from validator.actions.convert.sample import ConvertError, Labels, Options, Samples, Unfit, fit, sampled
from validator.payload.schema import Array, Field, Schema

LABELS = ("target", "label")
"""Columns that hold the class unless another is named."""


def table_samples(path: Path, schema: Schema, options: Options) -> Samples:
    """A record of each row: all columns but the label, or the named ones, in this order."""
    if schema.is_sequence:
        raise ConvertError(f"{path} is a table, but this DAO takes sequences of tokens: give text, npz or JSON Lines")
    field, labels = schema.fields[0], Labels(options.classes, schema.classes)
    rows = table_rows(path)
    header = table_header(path, rows)
    label = _label(path, header, options.label)
    columns = _columns(path, header, label, options.columns, field)
    for line, cells in rows:

        def make(cells: list[str] = cells) -> tuple[Array, int]:
            if len(cells) != len(header):
                raise Unfit(f"{len(cells)} cells under {len(header)} columns")
            return fit(_numbers([cells[column] for column in columns]), field), labels.of(cells[label])

        yield sampled(f"line {line}", make)


def table_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Line number and cells of each row that is not blank, the header included."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, delimiter="\t" if path.suffix.lower() == ".tsv" else ",", strict=True)
        try:
            for cells in reader:
                if cells:
                    yield reader.line_num, cells
        except (csv.Error, UnicodeDecodeError) as error:
            raise ConvertError(f"{path} is no table in UTF-8, near line {reader.line_num + 1}: {error}") from None


def table_header(path: Path, rows: Iterator[tuple[int, list[str]]]) -> list[str]:
    """The names of the columns. Raises ConvertError when the first row holds none, or one twice."""
    header = [name.strip() for name in next(rows, (0, list[str]()))[1]]
    if not header or all(_is_number(name) for name in header):
        raise ConvertError(f"{path} has no header: its first line must name the columns")
    twice = next((name for name in header if header.count(name) > 1), None)
    if twice is not None:
        raise ConvertError(f"{path} has more than one column called {twice!r}")
    return header


def place_of(path: Path, header: list[str], name: str) -> int:
    """Which column has this name."""
    if name not in header:
        raise ConvertError(f"{path} has no column {name!r}; it has {', '.join(header)[:200]}")
    return header.index(name)


def _label(path: Path, header: list[str], chosen: str | None) -> int:
    if chosen is not None:
        return place_of(path, header, chosen)
    found = [name for name in LABELS if name in header]
    if len(found) != 1:
        raise ConvertError(f"say which column of {path} holds the class with --label: {', '.join(header)[:200]}")
    return header.index(found[0])


def _columns(path: Path, header: list[str], label: int, chosen: tuple[str, ...], field: Field) -> list[int]:
    if chosen:
        columns = [place_of(path, header, name) for name in chosen]
    else:
        columns = [column for column in range(len(header)) if column != label]
    if label in columns:
        raise ConvertError(f"the label column {header[label]!r} cannot be among --columns")
    if len(columns) != field.values:
        told = f"{len(columns)} columns of {path} besides the label are to be taken, a record has {field.values} values"
        raise ConvertError(f"{told}: choose with --columns")
    return columns


def _numbers(cells: list[str]) -> Array:
    text = "\n".join(cells)
    try:
        if "_" in text:  # Python would read 1_0 as ten
            raise ValueError
        return np.array(cells, dtype=np.float64)
    except ValueError:
        wrong = next((cell for cell in cells if not _is_number(cell)), "")
        raise Unfit("a cell is empty" if not wrong.strip() else "a cell is not a number") from None


def _is_number(cell: str) -> bool:
    try:
        float(cell.replace("_", "?"))
    except ValueError:
        return False
    return True
