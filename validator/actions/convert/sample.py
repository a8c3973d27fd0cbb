"""One record on its way into a payload, what a contributor may choose about it, and why it may be left out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from validator.errors import ValidatorError
from validator.payload.schema import DTYPES, Array, Field, Schema


class ConvertError(ValidatorError):
    """A source cannot be made into a payload at all."""


class Unfit(Exception):
    """One record cannot be taken; its text is the reason."""


@dataclass(frozen=True, slots=True)
class Options:
    """What a contributor chooses. `label` and `columns`: names in a table; `classes`: names of the classes in order;
    `documents`: whether a line or a file is a document; `tokenizer`: a tokenizer.json; `skip` and `take`: leave out the
    first records, and take so many of the rest.
    """

    label: str | None = None
    columns: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    documents: Literal["lines", "files"] | None = None
    tokenizer: Path | None = None
    skip: int = 0
    take: int | None = None


@dataclass(frozen=True, slots=True)
class Sample:
    """A record that fits: where it came from, `inputs` in the schema's dtype and shape, and its class, or None for a
    sequence.
    """

    place: str
    inputs: Array
    target: int | None


@dataclass(frozen=True, slots=True)
class Dropped:
    """A record that does not fit: where it stands, and why."""

    place: str
    reason: str


Samples = Iterator[Sample | Dropped]
Reader = Callable[[Path, Schema, Options], Samples]


def class_names(text: str) -> tuple[str, ...]:
    """Names of the classes from 0: separated by commas, or, as `@FILE`, one a line of a file."""
    if not text.startswith("@"):
        return tuple(name.strip() for name in text.split(","))
    try:
        return tuple(Path(text[1:]).read_text(encoding="utf-8").splitlines())
    except UnicodeDecodeError:
        raise ConvertError(f"{text[1:]} is not text in UTF-8") from None


def sampled(place: str, make: Callable[[], tuple[Array, int | None]]) -> Sample | Dropped:
    """The record that `make` makes, or the reason why it cannot."""
    try:
        return Sample(place, *make())
    except Unfit as reason:
        return Dropped(place, str(reason))


class Labels:
    """Classes as a source names them: by number, or by the names that the contributor gave."""

    def __init__(self, names: tuple[str, ...], classes: int) -> None:
        if names and (len(names) != classes or len(set(names)) != classes or not all(names)):
            told = f"--classes has {len(names)} names, {len(set(names) - {''})} of them different"
            raise ConvertError(f"{told}: the DAO tells {classes} classes apart, name each of them once")
        self._numbers = {name: number for number, name in enumerate(names)}
        self._classes = classes

    def of(self, text: str) -> int:
        """The class that `text` stands for. Raises Unfit."""
        if self._numbers:
            if text.strip() in self._numbers:
                return self._numbers[text.strip()]
            raise Unfit(f"label {text[:40]!r} is not among --classes")
        try:
            number = float(text.replace("_", "?"))
        except ValueError:
            raise Unfit(f"label {text[:40]!r} is no number: name the classes in order with --classes") from None
        if not (0 <= number < self._classes and number.is_integer()):
            raise Unfit(f"label {text[:40]!r} is no class: they are 0 to {self._classes - 1}")
        return int(number)


def fit(values: Array, field: Field) -> Array:
    """One record's numbers in the field's dtype and shape. Raises Unfit unless they are as many, and each is finite,
    whole where it must be, and in range.
    """
    if values.size != field.values:
        raise Unfit(f"{values.size} values instead of {field.values}")
    numbers = values.astype(np.float64).reshape(field.shape)
    if not np.isfinite(numbers).all():
        raise Unfit("a value is missing or infinite")
    if field.dtype != "float32" and (numbers != np.floor(numbers)).any():
        raise Unfit("a value is not a whole number")
    low, high = bounds(field)
    least, most = (field.minimum, field.maximum) if field.dtype == "float32" else (low.item(), high.item())
    if numbers.min() < least or numbers.max() > most:
        raise Unfit(f"a value lies outside {least:.12g} to {most:.12g}")
    # + 0 makes 0.0 of -0.0, which is the same to whoever pays: equal records are equal bytes, in either format.
    return np.clip(numbers.astype(DTYPES[field.dtype]), low, high) + np.zeros((), DTYPES[field.dtype])


def bounds(field: Field) -> tuple[np.generic, np.generic]:
    """The least and the greatest number of the field's dtype within its range.

    A number within the range may be rounded out of it: 0.1 is more as float32 than as a decimal.
    """
    dtype = DTYPES[field.dtype]
    if field.dtype != "float32":
        info = np.iinfo(dtype)  # type: ignore[type-var]
        low, high = max(int(np.ceil(field.minimum)), info.min), min(int(np.floor(field.maximum)), info.max)
        return dtype.type(low), dtype.type(high)
    least, most = np.float32(field.minimum), np.float32(field.maximum)
    if float(least) < field.minimum:
        least = np.nextafter(least, np.float32(np.inf))
    if float(most) > field.maximum:
        most = np.nextafter(most, np.float32(-np.inf))
    return least, most
