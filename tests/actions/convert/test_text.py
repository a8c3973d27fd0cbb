from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.actions.convert.support import TABLE, TEXT, convert, inputs, lines, rules, write
from validator.actions.convert import ConvertError, Options
from validator.actions.convert.sample import Dropped, Sample
from validator.actions.convert.text import text_samples
from validator.payload import sequences

WORDS = ["<unk>", "the", "cat", "sat", "on", "mat"]
TOKENIZER = {
    "version": "1.0",
    "truncation": {"max_length": 2, "stride": 0, "strategy": "LongestFirst", "direction": "Right"},
    "padding": None,
    "added_tokens": [],
    "normalizer": {"type": "Lowercase"},
    "pre_tokenizer": {"type": "Whitespace"},
    "post_processor": None,
    "decoder": None,
    "model": {"type": "WordLevel", "vocab": {word: n for n, word in enumerate(WORDS)}, "unk_token": "<unk>"},
}


def text(converted: object, by: object = None) -> list[bytes]:
    rows = inputs(converted, rules(TEXT))  # type: ignore[arg-type]
    return [bytes(row[row >= 0].tolist()) for row in rows]


def test_convert__lines__are_documents_cut_into_windows(tmp_path: Path) -> None:
    path = write(tmp_path, "a.txt", "hello\r\n\nthe cat sat on the\nöl\n")

    done = convert(path, rules(TEXT))

    assert text(done) == [b"hello", b"the cat ", b"sat on t", b"he", "öl".encode()]
    assert (done.records, done.tokens, done.dropped) == (5, 26, {})


def test_convert__token_left_alone_at_the_end__is_left_out(tmp_path: Path) -> None:
    assert text(convert(write(tmp_path, "a.txt", "123456789"), rules(TEXT))) == [b"12345678"]


def test_convert__document_of_one_token__is_told(tmp_path: Path) -> None:
    done = convert(write(tmp_path, "a.txt", "ab\nc\ndef"), rules(TEXT))

    assert done.dropped == {"fewer than 2 tokens": ["line 2"]}


def test_convert__whole_file__is_one_document_if_asked_for(tmp_path: Path) -> None:
    path = write(tmp_path, "a.txt", "ab\ncd\n")

    assert text(convert(path, rules(TEXT), Options(documents="files"))) == [b"ab\ncd\n"]


def test_convert__folder__is_a_document_a_file_in_the_order_of_names(tmp_path: Path) -> None:
    for name, content in {"b.txt": "two\n", "a.md": "one", "c/d.txt": "three", ".x.txt": "no", "e.pdf": "no"}.items():
        write(tmp_path / "texts", name, content)

    assert text(convert(tmp_path / "texts", rules(TEXT))) == [b"one", b"two\n", b"three"]
    by_line = convert(tmp_path / "texts", rules(TEXT), Options(documents="lines"))
    assert text(by_line) == [b"one", b"two", b"three"]


def test_convert__json_lines__hold_the_tokens_without_padding(tmp_path: Path) -> None:
    done = convert(write(tmp_path, "a.txt", "hi\n"), rules(TEXT, format="jsonl"))

    assert lines(done) == [{"inputs": [104, 105]}]


@given(st.lists(st.binary(min_size=0, max_size=40), max_size=5), st.integers(2, 9))
def test_text_samples__any_bytes__all_tokens_but_those_left_alone_come_back_in_order(
    documents: list[bytes], length: int
) -> None:
    from tempfile import TemporaryDirectory

    schema = sequences(length, 256, max_records=9, max_bytes=999)
    with TemporaryDirectory() as folder:
        for number, document in enumerate(documents):
            write(Path(folder), f"{number}.txt", document)
        if not documents:
            return
        found = list(text_samples(Path(folder), schema, Options()))

    kept = [one for one in found if isinstance(one, Sample)]
    assert all(isinstance(one, Sample | Dropped) for one in found)
    assert all(2 <= (one.inputs >= 0).sum() <= length for one in kept)
    for number, document in enumerate(documents):
        mine = b"".join(bytes(one.inputs[one.inputs >= 0].tolist()) for one in kept if one.place == f"{number}.txt")
        lonely = len(document) % length == 1
        assert mine == (document[:-1] if lonely else document)


def test_convert__tokenizer__gives_the_tokens_without_its_own_limits(tmp_path: Path) -> None:
    by = rules(TEXT, classes=6, maximum="5")
    tokenizer = write(tmp_path, "tokenizer.json", json.dumps(TOKENIZER))

    done = convert(write(tmp_path, "a.txt", "The cat sat on the rug\n"), by, Options(tokenizer=tokenizer))

    assert inputs(done, by).tolist() == [[1, 2, 3, 4, 1, 0, -1, -1]]


def test_convert__line_that_is_no_text__is_left_out_by_a_tokenizer(tmp_path: Path) -> None:
    by = rules(TEXT, classes=6, maximum="5")
    tokenizer = write(tmp_path, "tokenizer.json", json.dumps(TOKENIZER))

    done = convert(write(tmp_path, "a.txt", b"the cat\n\xff\xff\xff\n"), by, Options(tokenizer=tokenizer))

    assert done.dropped == {"not text in UTF-8": ["line 2"]}


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[]", b"\xff", b"[" * 90_000], ids=["empty", "object", "list", "no-text", "deep"]
)
def test_convert__file_is_no_tokenizer__is_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    tokenizer = write(tmp_path, "tokenizer.json", content)

    with pytest.raises(ConvertError, match=r"not a tokenizer\.json") as caught:
        convert(write(tmp_path, "a.txt", "ab"), rules(TEXT), Options(tokenizer=tokenizer))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "changes", "options", "words"),
    [
        (b"", {}, Options(), "holds no record"),
        (b"\n \n", {}, Options(), "holds no record"),
        (b"a\nb\ncd", {}, Options(), "2 of 3 records .* fewer than 2 tokens"),
        (b"ab\n" * 9, {}, Options(), "more than 8 records"),
        (b"ab", {"classes": 255, "maximum": "254"}, Options(), "255 tokens, bytes are 256"),
        (b"ab", {}, Options(label="x"), "--label says nothing"),
        (b"ab", {}, Options(classes=("a",)), "--classes says nothing"),
    ],
)
def test_convert__text_that_cannot_be_taken__is_refused(
    tmp_path: Path, content: bytes, changes: dict[str, object], options: Options, words: str
) -> None:
    with pytest.raises(ConvertError, match=words):
        convert(write(tmp_path, "a.txt", content), rules(TEXT, **changes), options)


def test_convert__tokenizer_of_a_larger_vocabulary__is_refused(tmp_path: Path) -> None:
    tokenizer = write(tmp_path, "tokenizer.json", json.dumps(TOKENIZER))

    with pytest.raises(ConvertError, match="knows 6 tokens, the DAO's vocabulary has 5"):
        by = rules(TEXT, classes=5, maximum="4")
        convert(write(tmp_path, "a.txt", "ab"), by, Options(tokenizer=tokenizer))


def test_convert__folder_without_text__is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()

    with pytest.raises(ConvertError, match="no text"):
        convert(tmp_path / "empty", rules(TEXT))


def test_convert__text_where_records_have_a_class__is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConvertError, match="records with a class"):
        convert(write(tmp_path, "a.txt", "ab"), rules(TABLE))


def test_convert__library_not_installed__says_how(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("tokenizers", "PIL"):
        monkeypatch.setitem(sys.modules, name, None)  # an import of it fails as if it were not there
    path = write(tmp_path, "a.txt", "ab")

    with pytest.raises(ConvertError, match=r"poc-validator\[text\]"):
        convert(path, rules(TEXT), Options(tokenizer=path))
    with pytest.raises(ConvertError, match=r"poc-validator\[images\]"):
        convert(tmp_path, rules(TABLE, shape=[4]))
