"""Fuzzing of what is parsed before it can be trusted: CIDs, dag-pb, walks, archives, announced URLs.

Hypothesis draws where a run of mutations starts; each example then tries INPUTS_EACH inputs. In every run of the tests
that is a small corpus; `--full` is the campaign whose counts docs/content.md records. Whatever comes in, nothing but
our own errors may come out, and what is accepted must mean one thing: it re-encodes to the same bytes.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from validator.content import BadBlock, BadCid, BadDag, BadStore, Block, Cid, ContentError, NotFound
from validator.content.addresses import peer_url
from validator.content.car import CarBlocks, encode
from validator.content.dagpb import decode_file, encode_file
from validator.content.unixfs import build, walk

INPUTS_EACH = 50
CORPUS, CAMPAIGN = 20, 3000
"""Examples of each target: 50 inputs each, so 1,000 in every run and 150,000 in the campaign."""
SLOWEST = 2.0
"""Seconds of processor time that one input may take."""

counted: dict[str, int] = {}
seeds = st.integers(0, 2**64 - 1)
Target = Callable[[random.Random], None]

LEAVES = [Cid.of("raw", bytes([n]) * n) for n in range(1, 9)]
NODE = encode_file(b"inline", [(cid, n + 1, n + 1) for n, cid in enumerate(LEAVES)])
ALPHABET = "bzQm123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz234567\n\u0430 =0OIl"


def mutate(rng: random.Random, data: bytes, most: int = 4) -> bytes:
    """A few changes of the kinds that parsers get wrong: bits, bytes, cuts, doubles, insertions, swaps."""
    out = bytearray(data)
    for _ in range(rng.randint(1, most)):
        at = rng.randrange(len(out) + 1)
        kind = rng.randrange(7)
        if kind == 0 and out:
            out[at % len(out)] ^= 1 << rng.randrange(8)
        elif kind == 1 and out:
            out[at % len(out)] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
        elif kind == 2:
            del out[at:]
        elif kind == 3:
            del out[at : at + rng.randint(1, 8)]
        elif kind == 4:
            out[at:at] = rng.randbytes(rng.randint(1, 8))
        elif kind == 5:
            end = at + rng.randint(1, 48)
            out[at:at] = out[at:end]
        else:
            out[at:at] = rng.choice((b"\xff" * 10, b"\x80" * 9 + b"\x01", b"\x12\x20", b"\x0a\x00", b"\x12\x00"))
    return bytes(out)


def cid_text(rng: random.Random) -> None:
    base = rng.choice([str(rng.choice(LEAVES)), "QmbFMke1KXqnYyBBWxB74N4c5SBnJMVAiMNRcGu6x1AwQH", ""])
    letters = list(base)
    for _ in range(rng.randint(0, 4)):
        letters.insert(rng.randrange(len(letters) + 1), rng.choice(ALPHABET))
    if letters and rng.random() < 0.7:
        letters[rng.randrange(len(letters))] = rng.choice(ALPHABET)
        del letters[rng.randrange(len(letters)) : rng.choice((10_000, 0))]
    text = "".join(letters)
    try:
        cid = Cid.parse(text)
    except BadCid:
        return
    assert Cid.parse(str(cid)) == cid
    assert text == str(cid) or text[0] in "Qz"


def cid_bytes(rng: random.Random) -> None:
    data = mutate(rng, bytes(rng.choice(LEAVES)) if rng.random() < 0.7 else b"\x12\x20" + rng.randbytes(32))
    try:
        cid = Cid.from_bytes(data)
    except BadCid:
        return
    assert data in (bytes(cid), b"\x12\x20" + cid.digest)


def dag_pb(rng: random.Random) -> None:
    data = mutate(rng, NODE) if rng.random() < 0.9 else rng.randbytes(rng.randrange(200))
    try:
        found = decode_file(data)
    except BadDag:
        return
    assert found.size == len(found.inline) + sum(child.size for child in found.children)
    assert len(found.children) <= 8192


def any_dag(rng: random.Random) -> None:
    """A random tree with random lies in it, walked: ends within its bounds, whatever it claims."""
    held: dict[Cid, Block] = {}

    def keep(codec: str, data: bytes) -> Cid:
        block = Block(codec, data)  # type: ignore[arg-type]
        held[block.cid] = block
        return block.cid

    row = [(keep("raw", rng.randbytes(rng.randrange(6))), rng.randrange(6)) for _ in range(rng.randint(1, 6))]
    for _ in range(rng.randint(1, 10)):
        children = [(*rng.choice(row), 1) for _ in range(rng.randint(0, 5))]
        inline = rng.randbytes(rng.choice((0, 0, 3)))
        data = encode_file(inline, children)
        if rng.random() < 0.1:
            data = mutate(rng, data, 1)
        size = len(inline) + sum(size for _, size, _ in children) + rng.choice((0, 0, 0, 1))
        row.append((keep("dag-pb", data), size))
    asked = 0

    def get(cid: Cid) -> Block:
        nonlocal asked
        asked += 1
        if cid not in held:
            raise NotFound("not here")
        return held[cid]

    total = 0
    try:
        for piece in walk(row[-1][0], get, 1000):
            total += len(piece)
    except ContentError as error:
        assert str(error)
    assert total <= 1000
    assert asked <= 66


FILES = [random.Random(n).randbytes(n) for n in (0, 1, 99, 100, 101, 950)] + [bytes(700)]
ARCHIVES = []
for _file in FILES:
    _blocks = {block.cid: block for block in build(_file, 100, 4)}
    _root = list(_blocks)[-1]

    def _in_order(cid: Cid, blocks: dict[Cid, Block]) -> Iterator[Block]:
        yield blocks[cid]
        if cid.codec == "dag-pb":
            for child in decode_file(blocks[cid].data).children:
                yield from _in_order(child.cid, blocks)

    ARCHIVES.append((_root, _file, b"".join(encode(_root, _in_order(_root, _blocks))), _blocks))


def archive(rng: random.Random) -> None:
    root, file, whole, blocks = rng.choice(ARCHIVES)
    data = mutate(rng, whole) if rng.random() < 0.95 else whole
    size = rng.randint(1, 300)
    stream = (data[start : start + size] for start in range(0, len(data), size))

    def again(cid: Cid) -> Block:
        return blocks[cid]

    reader = CarBlocks(root, stream, "fuzz", again)
    try:
        found = b"".join(walk(root, reader.get_block, 1000))
        reader.finish()
    except (ContentError, BadBlock) as error:
        assert str(error)
        assert data != whole
        return
    assert found == file  # whatever was accepted is the file, to the last byte


def url(rng: random.Random) -> None:
    base = rng.choice(
        ["https://peer.example.org", "https://[2606:4700::1111]:8443/x", "http://10.0.0.1", "https://1.1.1.1"]
    )
    text = mutate(rng, base.encode(), 5).decode("latin-1" if rng.random() < 0.5 else "utf-8", "replace")
    for private in (False, True):
        try:
            found = peer_url(text, private=private)
        except BadStore as error:
            assert "\n" not in str(error)
            continue
        assert found.scheme in ("http", "https")
        assert private or (
            found.scheme == "https" and found.hostname and "." in found.hostname + (":" in found.hostname) * "."
        )


TARGETS: dict[str, Target] = {
    "CID text": cid_text,
    "CID bytes": cid_bytes,
    "dag-pb": dag_pb,
    "DAG": any_dag,
    "CAR": archive,
    "URL of a peer": url,
}


def play(name: str, examples: int) -> None:
    target = TARGETS[name]
    counted[name] = 0

    @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(seeds)
    def run(seed: int) -> None:
        rng = random.Random(seed)
        for _ in range(INPUTS_EACH):
            started = time.thread_time()
            target(rng)
            counted[name] += 1
            assert time.thread_time() - started < SLOWEST, "an input that hangs"

    run()


@pytest.mark.parametrize("name", TARGETS)
def test_parsers__a_small_corpus__only_our_errors_come_out(name: str) -> None:
    play(name, CORPUS)

    assert counted[name] >= CORPUS * INPUTS_EACH / 2


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", TARGETS)
def test_parsers__campaign__only_our_errors_come_out(name: str) -> None:
    play(name, CAMPAIGN)

    print(f"{name}: {counted[name]} inputs")
    assert counted[name] >= CAMPAIGN * INPUTS_EACH / 2
