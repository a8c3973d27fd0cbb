"""Sources that are payloads already, and what is said about any of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.actions.convert.support import TEXT, inputs, rules, write
from validator.actions.convert import ConvertError, Options, class_names, convert
from validator.manifest import ManifestError, read_rules
from validator.payload import Malformed, encode_jsonl, encode_safetensors

INPUTS = np.array([[0, 0.5], [1, 0.25], [1, 0.25]], np.float32)
TARGETS = np.array([2, 0, 0])
TENSORS, LINES = encode_safetensors(INPUTS, TARGETS), encode_jsonl(INPUTS, TARGETS)


@pytest.mark.parametrize("name", ["a.safetensors", "a", "a.bin"])
def test_convert__payload_in_the_format_wanted__is_taken_byte_for_byte(tmp_path: Path, name: str) -> None:
    done = convert(write(tmp_path, name, TENSORS), rules())

    assert done.payload == TENSORS
    assert (done.records, done.classes, done.repeats) == (3, 2, 1)


def test_convert__payload_in_the_other_format__is_written_anew(tmp_path: Path) -> None:
    assert convert(write(tmp_path, "a.jsonl", LINES), rules()).payload == TENSORS
    assert convert(write(tmp_path, "a.safetensors", TENSORS), rules(format="jsonl")).payload == LINES


def test_convert__sequences_in_the_other_format__are_written_anew(tmp_path: Path) -> None:
    path = write(tmp_path, "a.jsonl", b'{"inputs":[1,2,3]}\n{"inputs":[4,5]}\n{"inputs":[1,2,3]}\n')

    done = convert(path, rules(TEXT))

    assert inputs(done, rules(TEXT))[:, :4].tolist() == [[1, 2, 3, -1], [4, 5, -1, -1], [1, 2, 3, -1]]
    assert (done.tokens, done.classes, done.repeats) == (8, 5, 1)


def test_convert__part_of_a_payload__is_written_anew(tmp_path: Path) -> None:
    done = convert(write(tmp_path, "a.safetensors", TENSORS), rules(), Options(skip=1, take=1))

    assert done.payload == encode_safetensors(INPUTS[1:2], TARGETS[1:2])


@pytest.mark.parametrize(
    ("data", "code"),
    [(b"", "header"), (TENSORS[:-1], "offsets"), (encode_safetensors(INPUTS * 2, TARGETS), "range"), (LINES, "header")],
)
def test_convert__payload_that_validators_would_refuse__is_refused_with_their_reason(
    tmp_path: Path, data: bytes, code: str
) -> None:
    with pytest.raises(Malformed) as caught:
        convert(write(tmp_path, "a.safetensors", data), rules())
    assert caught.value.code == code


def test_convert__file_larger_than_any_payload__is_not_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    with path.open("wb") as file:
        file.truncate(1 << 40)  # a hole: takes no disk, and would take a terabyte of memory

    with pytest.raises(Malformed, match=f"a payload of {1 << 40} bytes"):
        convert(path, rules())


def test_convert__option_that_means_nothing_for_it__is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConvertError, match="--label says nothing"):
        convert(write(tmp_path, "a.safetensors", TENSORS), rules(), Options(label="x"))


def test_class_names__separated_or_in_a_file__are_the_same(tmp_path: Path) -> None:
    path = write(tmp_path, "names", "cat\nguinea pig\ndog\n")

    assert class_names("cat, guinea pig,dog") == class_names(f"@{path}") == ("cat", "guinea pig", "dog")


def test_class_names__file_is_no_text__is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConvertError, match="UTF-8"):
        class_names(f"@{write(tmp_path, 'names', bytes([255]))}")


TOML = """
name = "digits"
[payload]
format = "safetensors"
dtype = "float32"
shape = [2]
minimum = "0"
maximum = "1"
classes = 3
[limits]
envelope_bytes = 1048576
min_records = 1
max_records = 8
"""


def test_read_rules__of_a_steward_s_toml__are_what_the_manifest_will_say() -> None:
    assert read_rules(TOML.encode()) == rules()


def test_read_rules__of_a_manifest__are_its_payload_and_limits() -> None:
    from tests.rounds.test_score import MANIFEST

    found = read_rules(MANIFEST.to_bytes())

    assert (found.payload, found.limits) == (MANIFEST.payload, MANIFEST.limits)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "payload"),
        (b"\xff", "neither"),
        (b"payload = ", "neither"),
        (b"a = " + b"[" * 60_000, "neither"),
        (b"payload = 1\nlimits = 2", "payload"),
        (TOML.replace("classes = 3", "classes = 1").encode(), "payload.classes"),
        (TOML.replace("[limits]", "[limit]").encode(), "limits"),
        (b"{}", "manifest refused"),
        (b"{" * 999, "manifest refused"),
        (b"#" * 70_000, "more than 65536 bytes"),
    ],
)
def test_read_rules__not_a_manifest__is_refused_in_one_line(data: bytes, words: str) -> None:
    with pytest.raises(ManifestError, match=words) as caught:
        read_rules(data)
    assert "\n" not in str(caught.value)
