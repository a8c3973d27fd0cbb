"""From a source of any kind to payload bytes, and what a contributor should know about them before paying."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np

from validator.actions.convert.arrays import npz_samples
from validator.actions.convert.images import image_samples
from validator.actions.convert.sample import ConvertError, Dropped, Options, Reader, Sample, Samples
from validator.actions.convert.table import table_samples
from validator.actions.convert.text import SUFFIXES as TEXTS
from validator.actions.convert.text import text_samples
from validator.manifest import Manifest, PayloadRules
from validator.payload import Parsed, encode_jsonl, encode_safetensors, parse
from validator.payload.schema import PADDING, Array, Schema, check_bytes
from validator.stages.open import parse_payload, payload_schema

SHOWN = 3
"""Places of records left out that are told."""

_FILES: Mapping[str, tuple[Reader, frozenset[str]]] = {
    ".csv": (table_samples, frozenset({"label", "columns", "classes"})),
    ".tsv": (table_samples, frozenset({"label", "columns", "classes"})),
    ".npz": (npz_samples, frozenset({"classes"})),
    **{suffix: (text_samples, frozenset({"documents", "tokenizer"})) for suffix in TEXTS},
}
"""How each kind of file is read, and the options that say something about it."""
_PAYLOADS = {".safetensors": "safetensors", ".jsonl": "jsonl"}


@dataclass(frozen=True, slots=True)
class Converted:
    """A payload that validators will take, and what is in it.

    `classes`: different targets, or tokens. `tokens`: of all sequences, 0 for records with a class. `repeats`: records
    that equal an earlier one of the same file, and will earn nothing. `dropped`: places of those left out, by reason.
    `fingerprints`: SHA-256 of each different record; they give away what is easily guessed, so they stay here.
    """

    payload: bytes = field(repr=False)
    records: int
    classes: int
    tokens: int
    repeats: int
    dropped: dict[str, list[str]]
    fingerprints: frozenset[bytes] = field(default=frozenset(), repr=False)

    @property
    def dropped_records(self) -> int:
        """How many were left out."""
        return sum(map(len, self.dropped.values()))


def convert(source: Path, rules: Manifest | PayloadRules, options: Options | None = None) -> Converted:
    """The payload of a source: a folder of pictures or text, or a file by the end of its name. One that already is a
    payload is taken as it is, and written anew only if the DAO wants the other format, or a part is chosen.

    Raises ConvertError for a source that cannot be converted, or of which more than half does not fit, and Malformed
    when what comes out breaks the rules: too few records, or too many bytes.
    """
    payload, dropped = make_payload(source, rules, options or Options())
    return described(payload, parse_payload(payload, rules), dropped)


def make_payload(source: Path, rules: Manifest | PayloadRules, options: Options) -> tuple[bytes, dict[str, list[str]]]:
    """The bytes alone, not yet parsed as validators will, and the places of records left out by reason."""
    schema = payload_schema(rules)
    reader, meant = _reader(source, schema)
    _check_options(source, options, meant)
    if reader is None:
        return _own_payload(source, rules, schema, options), {}
    dropped: dict[str, list[str]] = {}
    chosen = _chosen(reader(source, schema, options), dropped, schema, options)
    _check_dropped(source, len(chosen), dropped)
    inputs = np.stack([one.inputs for one in chosen])
    targets = None if schema.is_sequence else np.array([one.target for one in chosen], np.int64)
    return _encode(rules.payload.format, inputs, targets), dropped


def _reader(source: Path, schema: Schema) -> tuple[Reader | None, frozenset[str]]:
    if source.is_dir():
        return (text_samples, _FILES[TEXTS[0]][1]) if schema.is_sequence else (image_samples, frozenset({"classes"}))
    return _FILES.get(source.suffix.lower(), (None, frozenset()))


def _check_options(source: Path, options: Options, meant: frozenset[str]) -> None:
    given = {name for name in ("label", "columns", "classes", "documents", "tokenizer") if getattr(options, name)}
    if given - meant:
        raise ConvertError(f"--{min(given - meant)} says nothing about {source}: leave it out")


def _chosen(samples: Samples, dropped: dict[str, list[str]], schema: Schema, options: Options) -> list[Sample]:
    """The records to take. Reading ends with the last of them, or with the first too many."""
    found = islice(_fitting(samples, dropped), options.skip, None)
    if options.take is not None:
        found = islice(found, options.take)
    chosen = list(islice(found, schema.max_records + 1))
    if len(chosen) > schema.max_records:
        raise ConvertError(
            f"more than {schema.max_records} records, and no contribution may hold more: choose with --skip and --take"
        )
    return chosen


def _fitting(samples: Samples, dropped: dict[str, list[str]]) -> Iterator[Sample]:
    for one in samples:
        if isinstance(one, Dropped):
            dropped.setdefault(one.reason, []).append(one.place)
        else:
            yield one


def _check_dropped(source: Path, taken: int, dropped: dict[str, list[str]]) -> None:
    """A source of which most does not fit is rather read the wrong way."""
    count = sum(map(len, dropped.values()))
    if count <= taken and taken:
        return
    if not count:
        raise ConvertError(f"{source} holds no record, or --skip leaves none")
    reason = max(dropped, key=lambda one: len(dropped[one]))
    places = f"{len(dropped[reason])} of them, first {dropped[reason][0]}"
    raise ConvertError(f"{count} of {count + taken} records of {source} do not fit; {reason} ({places})")


def _own_payload(source: Path, rules: Manifest | PayloadRules, schema: Schema, options: Options) -> bytes:
    with source.open("rb") as file:
        data = file.read(schema.max_bytes + 1)
    check_bytes(max(len(data), source.stat().st_size), schema)
    mine = _PAYLOADS.get(source.suffix.lower(), rules.payload.format)
    if mine == rules.payload.format and not options.skip and options.take is None:
        return data
    parsed = parse(data, mine, schema)
    part = slice(options.skip, None if options.take is None else options.skip + options.take)
    inputs, targets = parsed.arrays["inputs"][part], parsed.targets
    return _encode(rules.payload.format, inputs, None if targets is None else targets[part])


def _encode(form: str, inputs: Array, targets: Array | None) -> bytes:
    return encode_jsonl(inputs, targets) if form == "jsonl" else encode_safetensors(inputs, targets)


def described(payload: bytes, parsed: Parsed, dropped: dict[str, list[str]]) -> Converted:
    """What is in a payload that was parsed."""
    inputs, targets = parsed.arrays["inputs"], parsed.targets
    real = targets if targets is not None else inputs[inputs != PADDING]
    tails = [b""] * len(inputs) if targets is None else [one.tobytes() for one in targets]
    # -0.0 is 0.0 to whoever pays
    rows = {(inputs[row] + np.zeros((), inputs.dtype)).tobytes() + tail for row, tail in enumerate(tails)}
    return Converted(
        payload=payload,
        records=parsed.records,
        classes=len(np.unique(real)),
        tokens=0 if targets is not None else int(real.size),
        repeats=parsed.records - len(rows),
        dropped=dropped,
        fingerprints=frozenset(hashlib.sha256(row).digest() for row in rows),
    )
