"""The corpus that the campaigns left (docs/content.md), and mutations of it that are the same in every run."""

from __future__ import annotations

import base64
import json
import random

import pytest

from tests.fuzz.keep import CORPUS
from tests.fuzz.targets import TARGETS

FOUND: dict[str, list[str]] = json.loads(CORPUS.read_text())
MUTATIONS = 600
PIECES = [
    b"NaN",
    b"1e999",
    b'"',
    b"\\u0061",
    b"[" * 40,
    b"{" * 40,
    b"\0",
    b"\xff",
    b"-1",
    b"9" * 40,
    b"true",
    b"null",
    b"\n",
]


@pytest.mark.parametrize("name", TARGETS)
def test_corpus__everything_found_and_mutated__is_sound_or_refused_by_our_own_error(name: str) -> None:
    target, corpus = TARGETS[name], [base64.b64decode(one) for one in FOUND[name]]
    draw = random.Random(name)
    assert len(corpus) >= 20

    for data in corpus:
        target(data)
    for _ in range(MUTATIONS):
        target(mutated(draw.choice(corpus), draw.choice(corpus), draw))


def mutated(data: bytes, other: bytes, draw: random.Random) -> bytes:
    """One to three changes: a bit, a byte, a stretch taken away or doubled, a hostile piece, a stretch of another."""
    changed = bytearray(data)
    for _ in range(draw.randint(1, 3)):
        at = draw.randint(0, len(changed))
        to = min(len(changed), at + draw.randint(0, 30))
        match draw.randrange(6):
            case 0 if at < len(changed):
                changed[at] ^= 1 << draw.randrange(8)
            case 1 if at < len(changed):
                changed[at] = draw.randrange(256)
            case 2:
                del changed[at:to]
            case 3:
                changed[at:at] = changed[at:to]
            case 4:
                changed[at:at] = draw.choice(PIECES)
            case _:
                changed[at:to] = other[at : at + draw.randint(0, 30)]
    return bytes(changed)
