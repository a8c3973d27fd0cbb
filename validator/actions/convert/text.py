"""Text for language models: documents as tokens, cut into windows of as many as a record holds.

Without a tokenizer a token is a byte. Windows do not overlap; the last one of a document may be shorter, and a token
that is left alone is left out, since there is nothing to predict from it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from validator.actions.convert.sample import ConvertError, Dropped, Options, Sample, Samples, Unfit
from validator.payload.schema import LEAST_TOKENS, PADDING, Array, Schema

BYTES = 256
SUFFIXES = (".txt", ".md")
Encode = Callable[[bytes], Array]


def text_samples(path: Path, schema: Schema, options: Options) -> Samples:
    """A record of each window of each document: a line of a file, or a file of a folder, unless chosen otherwise."""
    if not schema.is_sequence:
        raise ConvertError(f"{path} is text, but this DAO takes records with a class, not sequences of tokens")
    encode = _tokenizer(options.tokenizer, schema.classes) if options.tokenizer else _bytes(schema.classes)
    length = schema.fields[0].values
    for place, document in _documents(path, options.documents):
        try:
            tokens = encode(document)
        except Unfit as reason:
            yield Dropped(place, str(reason))
            continue
        if len(tokens) < LEAST_TOKENS:
            yield Dropped(place, f"fewer than {LEAST_TOKENS} tokens")
        for start in range(0, len(tokens) - LEAST_TOKENS + 1, length):
            window = np.full(length, PADDING, np.int64)
            part = tokens[start : start + length]
            window[: len(part)] = part
            yield Sample(place, window, None)


def _documents(path: Path, choice: str | None) -> Iterator[tuple[str, bytes]]:
    """Where each document stands, and its bytes; blank lines are none."""
    paths = sorted(_texts(path)) if path.is_dir() else [path]
    if not paths:
        raise ConvertError(f"{path} holds no text: files ending in {' or '.join(SUFFIXES)} are taken")
    by_line = (choice or ("files" if path.is_dir() else "lines")) == "lines"
    for file in paths:
        name = f"{file.relative_to(path)} " if path.is_dir() else ""
        if not by_line:
            yield name.strip() or file.name, file.read_bytes()
            continue
        with file.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield f"{name}line {number}", line.rstrip(b"\r\n")


def _texts(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.suffix.lower() in SUFFIXES and path.is_file() and not hidden:
            yield path


def _bytes(classes: int) -> Encode:
    if classes < BYTES:
        raise ConvertError(f"the DAO's vocabulary has {classes} tokens, bytes are {BYTES}: give its --tokenizer")
    return lambda document: np.frombuffer(document, np.uint8)


def _tokenizer(path: Path, classes: int) -> Encode:
    try:
        from tokenizers import Tokenizer
    except ImportError:
        raise ConvertError("tokenizers are read by an optional library: pip install 'poc-validator[text]'") from None
    try:
        tokenizer = Tokenizer.from_str(path.read_text(encoding="utf-8"))
    except OSError:
        raise
    except Exception as error:  # noqa: BLE001 - the library raises nothing more particular
        raise ConvertError(f"{path} is not a tokenizer.json: {' '.join(str(error).split())[:120]}") from None
    if tokenizer.get_vocab_size() > classes:
        size = tokenizer.get_vocab_size()
        raise ConvertError(f"{path} knows {size} tokens, the DAO's vocabulary has {classes}: it is not the DAO's")
    tokenizer.no_truncation()
    tokenizer.no_padding()

    def encode(document: bytes) -> Array:
        try:
            text = document.decode()
        except UnicodeDecodeError:
            raise Unfit("not text in UTF-8") from None
        # Windows are cut from the middle of a document too: marks of its beginning would be in some of them only.
        return np.array(tokenizer.encode(text, add_special_tokens=False).ids, np.int64)

    return encode
