"""Conversion in the browser against the command's: the same bytes of the same file, or a refusal by both."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

from tests.actions.convert.support import TABLE, TEXT, convert, rules
from tests.web.modules import in_browser
from validator.actions.convert import ConvertError, Options
from validator.content import root
from validator.manifest import PayloadRules
from validator.payload import Malformed, encode_jsonl, encode_safetensors
from validator.stages.open import parse_payload

LINES = {**TABLE, "format": "jsonl"}
SIGNED = {"minimum": "-1000000", "maximum": "999999999999"}
PIXELS = {**TABLE, "dtype": "uint8", "minimum": "0", "maximum": "255"}
WHOLE = {**TABLE, "dtype": "int64", "minimum": "-5", "maximum": "999999999999"}


NOTHING = Options()


@dataclass(frozen=True)
class File:
    """A contributor's file, the DAO's rules for it, and what the contributor chose."""

    name: str
    data: bytes
    by: PayloadRules
    options: Options = NOTHING

    def request(self) -> dict[str, Any]:
        chosen = {key: value for key, value in asdict(self.options).items() if key != "tokenizer"}
        return {
            "act": "convert",
            "name": self.name,
            "data": self.data,
            "rules": self.by.model_dump(),
            "options": chosen,
        }

    def by_command(self, folder: Path) -> dict[str, Any] | None:
        """What `validator contribute` would seal; None where it refuses."""
        path = folder / self.name
        path.write_bytes(self.data)
        try:
            done = convert(path, self.by, self.options)
        except (ConvertError, Malformed):
            return None
        if done.records < self.by.limits.min_records:
            return None
        told = {name: getattr(done, name) for name in ("payload", "records", "classes", "tokens", "repeats")}
        return {**told, "dropped": done.dropped_records}


def both(files: list[File], folder: Path) -> list[tuple[File, dict[str, Any] | None, dict[str, Any]]]:
    return list(
        zip(files, [one.by_command(folder) for one in files], in_browser([one.request() for one in files]), strict=True)
    )


def chosen(**options: Any) -> Options:
    return Options(**options)


CSV = b"x,y,target\n0,0.5,2\n1,0.25,0\n"
TOKENS = {**TEXT, "format": "jsonl"}

TAKEN = {
    "csv": File("a.csv", CSV, rules()),
    "csv as lines": File("a.csv", CSV, rules(LINES)),
    "csv of a suffix in capitals": File("a.CSV", CSV, rules()),
    "tsv": File("a.tsv", CSV.replace(b",", b"\t"), rules()),
    "csv of a spreadsheet": File("a.csv", b"\xef\xbb\xbfx,y,target\r\n 0 ,+5e-1,2.0\r\n\r\n1,.25,0\r\n", rules()),
    "csv of an old Mac": File("a.csv", CSV.replace(b"\n", b"\r"), rules()),
    "csv in quotes": File("a.csv", b'"x","y","target"\n"0","0.5","2"\n"1",0.25,"0"', rules()),
    "csv with breaks in cells": File(
        "a.csv", b'id,"no\nte",x,y,label\n1,"a ""b"",\r\n\r",0,1,2\n2,c"d,1,1,0\n', rules(), chosen(columns=("x", "y"))
    ),
    "csv with names": File(
        "a.csv",
        b'id,kind,y,"x ",note\n7,b,1,0,"a, b"\n8, a ,0.5,0.25,\n',
        rules(),
        chosen(label="kind", columns=("x", "y"), classes=("a", "b", "c")),
    ),
    "csv of which some do not fit": File(
        "a.csv",
        b"x,y,target\n"
        + b"0,0,1\n" * 12
        + b"0,abc,1\n0,,1\n0,nan,1\n0,-inf,1\n0,1_0,1\n2,0,1\n0,0,3\n0,0,x\n0,0\n0,0,1,1\n",
        rules(most=12),
    ),
    "csv with repeats and zeros of both signs": File(
        "a.csv", b"x,y,target\n0,0,1\n-0.0,0,1\n0,-0,1\n0,0,2\n", rules(LINES)
    ),
    "csv of signed zeros within the range": File("a.csv", b"x,y,target\n-0.0,-1,1\n", rules(LINES, **SIGNED)),
    "csv of large and small numbers": File(
        "a.csv",
        b"x,y,target\n1e-7,1e-6,1\n1e-5,123456789,1\n0.00001234,1e-45,0\n1e11,999999999999,2\n-0.1,3.4028235e-38,0\n",
        rules(LINES, **SIGNED),
    ),
    "csv of numbers that float32 rounds out of the range": File(
        "a.csv", b"x,y,target\n0.1,0.3,1\n0.2,0.1,2\n", rules(LINES, minimum="0.1", maximum="0.3")
    ),
    "csv of pixels": File("a.csv", b"x,y,target\n0,255,1\n7.0,1e2,2\n", rules(PIXELS)),
    "csv of pixels as lines": File(
        "a.csv", b"x,y,target\n0,255,1\n7.0,1e2,2\n-0,0,0\n", rules({**PIXELS, "format": "jsonl"})
    ),
    "csv of whole numbers": File("a.csv", b"x,y,target\n-5,999999999999,1\n7.0,1e2,2\n-0.0,-0,0\n", rules(WHOLE)),
    "csv of whole numbers as lines": File(
        "a.csv", b"x,y,target\n-5,999999999999,1\n-0.0,3,0\n", rules({**WHOLE, "format": "jsonl"})
    ),
    "csv of one value": File("a.csv", b"x,target\n0.5,1\n", rules(LINES, shape=[])),
    "csv of a picture": File(
        "a.csv", b"a,b,c,d,e,f,label\n0,0.1,0.2,0.3,0.4,0.5,1\n1,1,1,1,1,1,0\n", rules(LINES, shape=[2, 1, 3])
    ),
    "csv in part": File("a.csv", b"x,y,target\n" + b"0,1,2\n1,0,0\n" * 20, rules(), chosen(skip=3, take=5)),
    "csv in part, before what does not fit": File("a.csv", CSV + b"9,9,9\n" * 9, rules(), chosen(take=2)),
    "text by bytes": File("a.txt", b"hello\n\n   \nto the whole world\r\nx\nlast \xff\xfe", rules(TEXT)),
    "text as lines": File("a.md", b"hello\n\nto the whole world\nno end", rules(TOKENS)),
    "text as one document": File("a.txt", b"hello\nto the whole\r\nworld.", rules(TEXT), chosen(documents="files")),
    "text in part": File("a.txt", b"abc\ndef\nghi\n", rules(TEXT), chosen(skip=1, take=1)),
}


def payloads() -> Iterator[tuple[str, File]]:
    """Ready payloads in either format, by rules of either."""
    rng = np.random.default_rng(0)
    kinds = {
        "real": (rules(), rules(LINES), rng.random((5, 2), dtype=np.float32), np.array([0, 1, 2, 1, 0])),
        "pixels": (
            rules(PIXELS),
            rules({**PIXELS, "format": "jsonl"}),
            rng.integers(0, 256, (4, 2), np.uint8),
            np.arange(4) % 3,
        ),
        "whole": (rules(WHOLE), rules({**WHOLE, "format": "jsonl"}), rng.integers(-5, 10**11, (3, 2)), np.arange(3)),
    }
    for name, (tensors, lines, inputs, targets) in kinds.items():
        for suffix, data in (
            (".safetensors", encode_safetensors(inputs, targets)),
            (".jsonl", encode_jsonl(inputs, targets)),
        ):
            for by in (tensors, lines):
                yield f"{name} {suffix} for {by.payload.format}", File("a" + suffix, data, by)
                part = chosen(skip=1, take=2)
                yield f"part of {name} {suffix} for {by.payload.format}", File("a" + suffix, data, by, part)
    tokens = np.array([[1, 2, 3, -1, -1, -1, -1, -1], [9, 8, 7, 6, 5, 4, 3, 2]])
    for suffix, data in ((".safetensors", encode_safetensors(tokens)), (".jsonl", encode_jsonl(tokens))):
        for by in (rules(TEXT), rules(TOKENS)):
            yield f"tokens {suffix} for {by.payload.format}", File("a" + suffix, data, by)
    spaced = b' {"target" : 2 ,\t"inputs":[ 0.5 , 1e0 ]} \r\n{"inputs":[-0,0.25],"target":0}'
    yield "lines as others write them", File("a.jsonl", spaced, rules(LINES))
    yield "lines as others write them, for tensors", File("a.jsonl", spaced, rules())
    yield "another suffix", File("a.dat", CSV_AS_LINES, rules(LINES))
    yield "no suffix", File(".csv", CSV_AS_LINES, rules(LINES))
    metadata = framed(b'{"__metadata__":{"by":"me: \\"x\\""},"inputs":' + INPUTS + b',"targets":' + TARGETS + b"}", 16)
    yield "tensors in another order, with metadata", File("a.safetensors", metadata, rules())


def framed(header: bytes, body: int) -> bytes:
    return len(header).to_bytes(8, "little") + header + bytes(body)


CSV_AS_LINES = b'{"inputs":[0.0,0.5],"target":2}\n'
INPUTS = b'{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]}'
TARGETS = b'{"dtype":"I64","shape":[1],"data_offsets":[8,16]}'

REFUSED = {
    "csv without a header": File("a.csv", b"0,0.5,2\n1,1,1\n", rules()),
    "csv of nothing": File("a.csv", b"", rules()),
    "csv of a header": File("a.csv", b"x,y,target\n", rules()),
    "csv with a column twice": File("a.csv", b"x,x ,target\n0,0,1\n", rules()),
    "csv with two labels": File("a.csv", b"x,label,target\n0,0,1\n", rules()),
    "csv without the label": File("a.csv", CSV, rules(), chosen(label="kind")),
    "csv without a column": File("a.csv", CSV, rules(), chosen(columns=("x", "z"))),
    "csv with the label among the columns": File("a.csv", CSV, rules(), chosen(columns=("x", "target"))),
    "csv of another width": File("a.csv", CSV, rules(shape=[3])),
    "csv with an open quote": File("a.csv", CSV + b'"0,0,1\n', rules()),
    "csv with something after a quote": File("a.csv", CSV + b'"0"1,0,1\n', rules()),
    "csv that is no text": File("a.csv", CSV + b"\xff,0,1\n", rules()),
    "csv of which most does not fit": File("a.csv", CSV + b"9,9,9\n" * 3, rules()),
    "csv with a long cell": File("a.csv", CSV + b"1" * 131_073 + b",0,1\n", rules()),
    "csv with too many records": File("a.csv", CSV + b"0,0,0\n" * 9, rules()),
    "csv with too few": File("a.csv", CSV, rules(least=3)),
    "csv with too few class names": File("a.csv", CSV, rules(), chosen(classes=("a", "b"))),
    "csv with a class name twice": File("a.csv", CSV, rules(), chosen(classes=("a", "b", "b"))),
    "csv with documents": File("a.csv", CSV, rules(), chosen(documents="lines")),
    "csv for sequences": File("a.csv", CSV, rules(TEXT)),
    "csv of nothing after what is skipped": File("a.csv", CSV, rules(), chosen(skip=2)),
    "text with a label": File("a.txt", b"abc", rules(TEXT), chosen(label="x")),
    "text for records": File("a.txt", b"abc", rules()),
    "text of nothing": File("a.txt", b"\n \n", rules(TEXT)),
    "text of single bytes": File("a.txt", b"a\nb\n", rules(TEXT)),
    "text for another vocabulary": File("a.txt", b"abc", rules({**TEXT, "classes": 255, "maximum": "254"})),
    "payload of too many bytes": File("a.jsonl", b" " * ((1 << 20) + 1), rules(LINES)),
    "payload with a class": File("a.jsonl", CSV_AS_LINES, rules(LINES), chosen(classes=("a", "b", "c"))),
    "lines for another shape": File("a.jsonl", CSV_AS_LINES, rules(LINES, shape=[3])),
    "lines of which nothing is left": File("a.jsonl", CSV_AS_LINES, rules(LINES), chosen(skip=1)),
    **{
        f"line {line!r}": File("a.jsonl", line, rules(LINES))
        for line in (
            b"",
            b"\n",
            b"[]",
            b"null",
            b"{}",
            b'{"inputs":[0,0]}',
            b'{"target":1}',
            b'{"inputs":[0],"target":1}',
            b'{"inputs":[0,0,0],"target":1}',
            b'{"inputs":[[0,0]],"target":1}',
            b'{"inputs":[0,"0"],"target":1}',
            b'{"inputs":[0,0],"target":1,"target":1}',
            b'{"inputs":[0,0],"target":1.0}',
            b'{"inputs":[0,0],"target":1e0}',
            b'{"inputs":[0,0],"target":3}',
            b'{"inputs":[0,0],"target":-1}',
            b'{"inputs":[0,0],"target":"1"}',
            b'{"inputs":[0,2],"target":1}',
            b'{"inputs":[0,1e999],"target":1}',
            b'{"inputs":[0,NaN],"target":1}',
            b'{"inputs":[0,01],"target":1}',
            b'{"inputs":[0,.5],"target":1}',
            b'{"inputs":[0,1.],"target":1}',
            b'{"inputs":[0,+1],"target":1}',
            b'{"inputs":[0,0],"target":1,}',
            b'{"inputs":[0,0,],"target":1}',
            b'{"inputs":[0,0],"target":1}x',
            b'{"inputs":[0,0],"target":1}{}',
            b'{"inputs":[0,0],"target":1',
            b'\xef\xbb\xbf{"inputs":[0,0],"target":1}',
            b'{"inputs":[0,0],"target":1,"x":1}',
            b'\x0c{"inputs":[0,0],"target":1}',
            b'{"\\u0069nputs":[0,0],"target":1}',
            b'{"inputs":[0,\xff],"target":1}',
            b'{"inputs":[0,0],"target":1}\n\n',
            b'{"inputs":[0,true],"target":1}',
            b'{"inputs":null,"target":1}',
            b'{"inputs":{},"target":1}',
        )
    },
    **{
        f"sequence {line!r}": File("a.jsonl", line, rules(TOKENS))
        for line in (
            b'{"inputs":[1]}',
            b'{"inputs":[]}',
            b'{"inputs":[1,-1]}',
            b'{"inputs":[1,256]}',
            b'{"inputs":[1,2,3,4,5,6,7,8,9]}',
            b'{"inputs":[1,2],"target":1}',
            b'{"inputs":[1,2.0]}',
        )
    },
    "pixels above 255": File(
        "a.jsonl", b'{"inputs":[0,256],"target":1}', rules({**PIXELS, "format": "jsonl", "maximum": "300"})
    ),
    "pixels that are not whole": File(
        "a.jsonl", b'{"inputs":[0,1.0],"target":1}', rules({**PIXELS, "format": "jsonl"})
    ),
    **{
        f"tensors {name}": File("a.safetensors", data, rules())
        for name, data in {
            "cut": encode_safetensors(np.zeros((2, 2), np.float32), np.zeros(2, np.int64))[:-1],
            "of nothing": b"",
            "of no record": encode_safetensors(np.zeros((0, 2), np.float32), np.zeros(0, np.int64)),
            "of too many": encode_safetensors(np.zeros((9, 2), np.float32), np.zeros(9, np.int64)),
            "with a NaN": encode_safetensors(np.array([[0, np.nan]], np.float32), np.zeros(1, np.int64)),
            "out of range": encode_safetensors(np.array([[0, 1.5]], np.float32), np.zeros(1, np.int64)),
            "with a class too many": encode_safetensors(np.zeros((1, 2), np.float32), np.array([3])),
            "of whole numbers": encode_safetensors(np.zeros((1, 2), np.int64), np.array([1])),
            "without targets": encode_safetensors(np.zeros((1, 2), np.float32)),
            "of another shape": encode_safetensors(np.zeros((1, 3), np.float32), np.array([1])),
            "with a name twice": framed(
                b'{"inputs":' + INPUTS + b',"inputs":' + INPUTS + b',"targets":' + TARGETS + b"}", 16
            ),
            "with a real shape": framed(
                b'{"inputs":' + INPUTS.replace(b"[1,2]", b"[1.0,2]") + b',"targets":' + TARGETS + b"}", 16
            ),
            "with a gap": framed(
                b'{"inputs":' + INPUTS + b',"targets":' + TARGETS.replace(b"8,16", b"9,17") + b"}", 17
            ),
            "that overlap": framed(
                b'{"inputs":' + INPUTS + b',"targets":' + TARGETS.replace(b"8,16", b"0,8") + b"}", 8
            ),
            "with bytes after them": framed(b'{"inputs":' + INPUTS + b',"targets":' + TARGETS + b"}", 17),
            "with a field too many": framed(b'{"inputs":' + INPUTS[:-1] + b',"x":1},"targets":' + TARGETS + b"}", 16),
            "with a text for a shape": framed(
                b'{"inputs":' + INPUTS.replace(b"[1,2]", b'["1",2]') + b',"targets":' + TARGETS + b"}", 16
            ),
            "with a number for metadata": framed(
                b'{"__metadata__":{"x":1},"inputs":' + INPUTS + b',"targets":' + TARGETS + b"}", 16
            ),
            "that are a list": framed(b'[{"inputs":' + INPUTS + b"}]", 8),
            "that are no JSON": framed(b'{"inputs":' + INPUTS + b",}", 8),
            "after a mark of order": framed(
                b"\xef\xbb\xbf" + b'{"inputs":' + INPUTS + b',"targets":' + TARGETS + b"}", 16
            ),
            "of a header without end": (2**63).to_bytes(8, "little") + b"{}",
            "that are null": framed(b'{"inputs":null,"targets":' + TARGETS + b"}", 8),
        }.items()
    },
    "sequences with padding inside": File(
        "a.safetensors", encode_safetensors(np.array([[1, 2, -1, 3, -1, -1, -1, -1]])), rules(TEXT)
    ),
    "sequences of one token": File("a.safetensors", encode_safetensors(np.array([[1] + [-1] * 7])), rules(TEXT)),
}

ONLY_HERE = {
    "digits of another script": File("a.csv", "x,y,target\n0,\u0660,2\n1,0.25,0\n".encode(), rules()),
}
"""What the command takes and the browser does not, for it cannot be sure."""


def test_convert_js__every_kind_of_file__gives_the_command_s_bytes_and_count(tmp_path: Path) -> None:
    files = {**TAKEN, **dict(payloads())}
    for name, (file, wanted, found) in zip(files, both(list(files.values()), tmp_path), strict=True):
        assert wanted is not None, f"{name}: the command refuses it"
        assert found == wanted, name
        assert len(parse_lines_or_tensors(found["payload"], file.by)) == wanted["records"]


def parse_lines_or_tensors(payload: bytes, by: PayloadRules) -> np.ndarray:
    from validator.payload.worker import PARSERS
    from validator.stages.open import payload_schema

    return PARSERS[by.payload.format](payload, payload_schema(by)).arrays["inputs"]


def test_convert_js__a_hostile_file__takes_time_in_proportion_to_its_size(tmp_path: Path) -> None:
    """A cell of white space, and a table of which nothing fits: an expression or a list could take hours."""
    spaces = b"x,y,target\n" + b"0,0," + b" " * 131_000 + b"x\n"
    misfits = b"x,y,target\n" + b"z,z,z\n" * 200_000

    told = [found for _, _, found in both([File("a.csv", spaces, rules()), File("a.csv", misfits, rules())], tmp_path)]

    assert ["do not fit" in found["refused"] for found in told] == [True, True]


def test_convert_js__what_the_command_refuses__is_refused_in_words(tmp_path: Path) -> None:
    for name, (_, wanted, found) in zip(REFUSED, both(list(REFUSED.values()), tmp_path), strict=True):
        assert wanted is None, f"{name}: the command takes it"
        assert found.keys() == {"refused"}, name
        assert found["refused"].strip(), name


def test_convert_js__what_it_cannot_be_sure_of__is_sent_to_the_command(tmp_path: Path) -> None:
    for name, (_, wanted, found) in zip(ONLY_HERE, both(list(ONLY_HERE.values()), tmp_path), strict=True):
        assert wanted is not None, name
        assert "use the command line, validator contribute" in found["refused"], name
    for name in ("a.PNG", "a.jpeg"):
        [told] = in_browser([File(name, b"", rules()).request()])
        assert "command line only" in told["refused"]


CELLS = (
    "0",
    "1",
    "0.5",
    " .5",
    "5e-1 ",
    "+1",
    "-0",
    "1.",
    "1e0",
    "0x1",
    "1_0",
    "",
    " ",
    "nan",
    "inf",
    "-Infinity",
    "1e-9",
    "1e400",
    "\u00a00.25",
    "0.25\u3000",
    "\x1c0.5",
    "\x850.5",
    "\ufeff0.5",
    '"0.5"',
    '"0,5"',
    '"0.""5"',
    "'1'",
    "0.1000000001",
    "0.30000001192092896",
    "4.9e-324",
    "1e-46",
    "\x0b1\x0c",
    "1\x00",
    "1d",
    "\u0661",
    '"1\n"',
    '"\r\n0.5"',
    "true",
    "\uff12",
)


def tables(count: int, seed: int) -> Iterator[File]:
    """Tables of cells from everywhere, by any rules."""
    rng = Random(seed)
    for _ in range(count):
        width = rng.choice((1, 2, 3))
        header = ",".join([f"c{column}" for column in range(width)] + ["target"])
        lines = [header]
        for _ in range(rng.randrange(12)):
            strange = rng.random() < 0.4
            cells = [rng.choice(CELLS) if strange else repr(rng.random()) for _ in range(width)]
            label = rng.choice(CELLS) if rng.random() < 0.1 else rng.choice("012")
            lines.append(",".join([*cells, label] + [rng.choice(CELLS)] * (rng.random() < 0.05)))
        text = rng.choice(("\n", "\r\n", "\r")).join(lines) + rng.choice(("", "\n", "\n\n"))
        base = rng.choice((TABLE, LINES, PIXELS, WHOLE, {**WHOLE, "format": "jsonl"}))
        low, high = rng.choice((("0", "1"), ("0.1", "0.3"), ("-1", "1"), ("0", "0")))
        by = rules(base, shape=[width], minimum=low, maximum=high, most=12)
        part = chosen(skip=rng.choice((0, 0, 2)), take=rng.choice((None, None, 3)))
        yield File("a.csv", text.encode(), by, part)


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 20))])
def test_convert_js__any_table__gives_the_command_s_bytes_or_is_refused(tmp_path: Path, seed: int) -> None:
    taken = 0
    for file, wanted, found in both(list(tables(400, seed)), tmp_path):
        if "refused" in found and "digits other than" in found["refused"]:
            continue
        assert (found if wanted is not None else found.keys()) == (wanted or {"refused"}), file
        taken += wanted is not None
    assert taken > 30


def test_convert_js__any_real_number__is_written_as_the_command_writes_it(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    bits = rng.integers(0, 2**32, 4000, dtype=np.uint32).view(np.float32)
    powers = np.array([sign * 10.0**power for power in range(-45, 12) for sign in (1, -1)], np.float32)
    values = np.concatenate([bits[np.abs(bits) < 9e11], powers, powers * np.float32(1.5)])
    by = rules(LINES, shape=[len(values)], minimum="-999999999999", maximum="999999999999")
    text = ",".join(f"c{n}" for n in range(len(values))) + ",target\n" + ",".join(map(repr, values.tolist())) + ",0\n"

    [(_, wanted, found)] = both([File("a.csv", text.encode(), by)], tmp_path)

    assert wanted is not None
    assert json.loads(wanted["payload"])["inputs"] == values.tolist()
    assert found == wanted


def test_convert_js__whatever_it_makes__validators_take(tmp_path: Path) -> None:
    """Once through the worker that parses what arrives, which the other tests leave out."""
    file = TAKEN["csv of a picture"]
    [(_, _, found)] = both([file], tmp_path)

    assert parse_payload(found["payload"], file.by).records == 2


@pytest.mark.parametrize(
    ("size", "chunk", "width"),
    [
        (0, 1 << 20, 1024),
        (1, 1 << 20, 1024),
        (1 << 20, 1 << 20, 1024),
        ((1 << 20) + 1, 1 << 20, 1024),
        (3_000_000, 1 << 20, 1024),
    ]
    + [(size, 10, 3) for size in (10, 11, 29, 30, 31, 90, 91, 271)]
    + [(20_000, 10, 174)],
)
def test_file_cid__any_size_and_cut__is_the_store_s(size: int, chunk: int, width: int) -> None:
    data = Random(size).randbytes(size)
    wanted = root(data, chunk, width)

    [found] = in_browser([{"act": "cid", "data": data, "chunk": chunk, "width": width}])

    assert found == {"text": str(wanted), "digest": "0x" + wanted.digest.hex(), "codec": wanted.codec_byte}
