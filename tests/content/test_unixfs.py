from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from aleph_cid import CidHasher
from hypothesis import given, settings
from hypothesis import strategies as st

from validator.content import BadDag, Block, Cid, ContentError, TooLarge, root
from validator.content.dagpb import decode_file, encode_file
from validator.content.unixfs import MAX_DEPTH, build, references, walk

KIB = 1024
# CIDs of files of zeros, chunks of 256 KiB, 174 links: by js-ipfs 0.18 and aleph-cid (version 1), Kubo 0.22 (v0).
KNOWN_V1 = {
    0: "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku",
    1: "bafkreidogqfzz75tpkmjzjke425xqcrmpcib2p5tg44hnbirumdbpl5adu",
    262_144: "bafkreiekhhjkxu4ztk3tyng3er3ijhg56mb44oe3gwbgquhzu4afrg2ksa",
    262_145: "bafybeigllfqgfpqydppr6cmv56g7ax4wyhruzswvcefv6j5kj77nzttfki",
    1_048_576: "bafybeiggzq4ryi7hscq5hzvzcnk4urnxt3asp37dhgvnjilf7exskximla",
    52_428_800: "bafybeihaqwdzbwwcswc7zm3ohduemxxuqebbvzr7gs6hphxxkbc2mp666y",
}
KNOWN_V0 = {
    0: "QmbFMke1KXqnYyBBWxB74N4c5SBnJMVAiMNRcGu6x1AwQH",
    1: "QmS9JArPwa55ePgDnyg6TzX24mYTS1b1vLqWNebyVotKxQ",
    262_144: "QmRk1rduJvo5DfEYAaLobS2za9tDszk35hzaNSDCJ74DA7",
    262_145: "QmbVuw4C4vcmVKqxoWtgDVobvcHrSn51qsmQmyxjk4sB2Q",
    1_048_576: "QmVkbauSDEaMP4Tkq6Epm9uW75mWm136n81YH8fGtfwdHU",
    52_428_800: "Qme9ZiuG2zpL1qtFNvWKYkj7MYzeHH9b4qrgeYJMUDRjpu",
}


class Blocks:
    """Blocks by CID, counting what is asked for."""

    def __init__(self) -> None:
        self.held: dict[Cid, Block] = {}
        self.asked = 0

    def add(self, codec: str, data: bytes) -> Cid:
        block = Block(codec, data)  # type: ignore[arg-type]
        self.held[block.cid] = block
        return block.cid

    def __call__(self, cid: Cid) -> Block:
        self.asked += 1
        return self.held[cid]

    def file(self, data: bytes, chunk: int, width: int) -> Cid:
        cid = None
        for block in build(data, chunk, width):
            self.held[block.cid] = block
            cid = block.cid
        assert cid is not None
        return cid


@pytest.mark.parametrize(("size", "cid"), KNOWN_V1.items())
def test_build__zeros_in_256_kib_chunks__has_the_cid_of_ipfs_add(size: int, cid: str) -> None:
    assert str(root(bytes(size), 256 * KIB, 174)) == cid


@settings(max_examples=20, deadline=None)
@given(pieces=st.integers(0, 180), more=st.integers(-1, 1), seed=st.integers(0, 2**32 - 1))
def test_build__any_file__has_the_cid_that_another_implementation_finds(pieces: int, more: int, seed: int) -> None:
    pattern = random.Random(seed).randbytes(977)
    data = (pattern * (262_144 * pieces // 977 + 2))[: max(0, 262_144 * pieces + more)]
    other = CidHasher.for_ipfs_v1_raw_leaves()
    other.update(data)

    assert str(root(data, 256 * KIB, 174)) == other.finalize()


def _build_v0(blocks: Blocks, data: bytes) -> Cid:
    """As `ipfs add` of old: every leaf a UnixFS node, links of version 0."""

    class LinkV0(Cid):
        def __bytes__(self) -> bytes:
            return b"\x12\x20" + self.digest

    row = []
    for start in range(0, max(len(data), 1), 256 * KIB):
        piece = data[start : start + 256 * KIB]
        node = encode_file(piece, [])
        row.append((LinkV0("dag-pb", blocks.add("dag-pb", node).digest), len(piece), len(node)))
    while len(row) > 1:
        groups = [row[at : at + 174] for at in range(0, len(row), 174)]
        row = []
        for group in groups:
            node = encode_file(b"", group)
            total = len(node) + sum(one[2] for one in group)
            row.append((LinkV0("dag-pb", blocks.add("dag-pb", node).digest), sum(one[1] for one in group), total))
    return Cid("dag-pb", row[0][0].digest)


@pytest.mark.parametrize(("size", "text"), KNOWN_V0.items())
def test_walk__a_version_0_file_of_kubo__is_read(size: int, text: str) -> None:
    blocks = Blocks()

    made = _build_v0(blocks, bytes(size))

    assert made == Cid.parse(text)
    assert b"".join(walk(made, blocks, size)) == bytes(size)


@settings(max_examples=60, deadline=None)
@given(data=st.binary(max_size=400), chunk=st.integers(1, 50), width=st.integers(2, 8))
def test_walk__whatever_build_made_within_bounds__gives_the_file_back(data: bytes, chunk: int, width: int) -> None:
    blocks = Blocks()
    cid = blocks.file(data, chunk, width)

    try:
        found = b"".join(walk(cid, blocks, len(data)))
    except TooLarge as error:
        assert "levels deep" in str(error) or "more blocks" in str(error)
    else:
        assert found == data


@pytest.mark.parametrize("size", [0, 1, 99, 100, 101, 200, 400, 401, 1599, 1600, 1601])
def test_walk__sizes_around_chunks_and_rows__reads_each(size: int) -> None:
    blocks, data = Blocks(), random.Random(size).randbytes(size)

    cid = blocks.file(data, 100, 4)

    assert b"".join(walk(cid, blocks, size)) == data
    assert set(references(cid, blocks)) == set(blocks.held)


def test_walk__file_larger_than_the_limit__is_refused_at_the_root() -> None:
    blocks = Blocks()
    cid = blocks.file(bytes(1000), 100, 174)
    blocks.asked = 0

    with pytest.raises(TooLarge, match="1000 bytes"):
        next(walk(cid, blocks, 999))
    assert blocks.asked == 1


def test_walk__dag_bomb_of_terabytes__is_refused_at_the_root() -> None:
    blocks = Blocks()
    cid, size = blocks.add("raw", bytes(1 << 20)), 1 << 20
    for _ in range(3):
        cid = blocks.add("dag-pb", encode_file(b"", [(cid, size, size)] * 174))
        size *= 174

    with pytest.raises(TooLarge, match=str(size)):
        next(walk(cid, blocks, 256 << 20))
    assert blocks.asked == 1


def test_walk__root_that_declares_less_than_its_child_holds__dies_at_the_child() -> None:
    blocks = Blocks()
    leaf = blocks.add("raw", bytes(1000))
    cid = blocks.add("dag-pb", encode_file(b"", [(leaf, 10, 10)] * 5))

    with pytest.raises(BadDag, match="holds 1000 bytes where its parent says 10"):
        list(walk(cid, blocks, 1 << 20))
    assert blocks.asked == 2


def test_walk__thousands_of_empty_leaves__end_at_the_block_count() -> None:
    blocks = Blocks()
    leaf = blocks.add("raw", b"")
    inner = blocks.add("dag-pb", encode_file(b"", [(leaf, 0, 0)] * 8000))
    cid = blocks.add("dag-pb", encode_file(b"", [(inner, 0, 0)] * 600))

    with pytest.raises(TooLarge, match="more blocks"):
        list(walk(cid, blocks, 1 << 20))
    assert blocks.asked <= 65


def test_walk__a_tower_of_single_links__ends_at_the_depth() -> None:
    blocks = Blocks()
    cid = blocks.add("raw", b"x")
    for _ in range(MAX_DEPTH + 1):
        cid = blocks.add("dag-pb", encode_file(b"", [(cid, 1, 1)]))

    with pytest.raises(TooLarge, match="levels deep"):
        list(walk(cid, blocks, 10))


def test_walk__inline_bytes_before_children__are_read_first() -> None:
    blocks = Blocks()
    leaf = blocks.add("raw", b"tail")
    cid = blocks.add("dag-pb", encode_file(b"head ", [(leaf, 4, 4)]))

    assert b"".join(walk(cid, blocks, 9)) == b"head tail"


def test_block__above_2_mib__is_refused() -> None:
    with pytest.raises(TooLarge):
        Block("raw", bytes((2 << 20) + 1))


def _mutate(data: bytes, find: bytes, put: bytes) -> bytes:
    assert data.count(find) == 1, "the test must change exactly one place"
    return data.replace(find, put)


LEAF = Cid.of("raw", b"leaf")
GOOD = encode_file(b"", [(LEAF, 4, 4)])
META = b"\x0a\x06\x08\x02\x18\x04\x20\x04"
LINK = GOOD[: -len(META)]


@pytest.mark.parametrize(
    ("name", "case"),
    {
        "data before links": (META + LINK, "out of order"),
        "data twice": (GOOD + META, "out of order"),
        "link after data": (GOOD + LINK, "out of order"),
        "no data": (LINK, "without UnixFS data"),
        "empty": (b"", "without UnixFS data"),
        "unknown field": (GOOD + b"\x1a\x00", "out of order"),
        "group wire type": (GOOD + b"\x0b\x00", "wire type"),
        "fixed64 wire type": (b"\x09" + bytes(8), "wire type"),
        "cut number": (GOOD + b"\x80", "cut off"),
        "endless number": (b"\x80" * 30, "63 bits"),
        "long form of a number": (GOOD.replace(META, b"\x0a\x07\x08\x82\x00\x18\x04\x20\x04"), "shortest form"),
        "field past the end": (GOOD[:-1], "past the end"),
        "length beyond memory": (b"\x12\xff\xff\xff\xff\xff\xff\xff\x7f", "past the end"),
        "directory": (GOOD.replace(b"\x08\x02", b"\x08\x01"), "not a file"),
        "symlink": (GOOD.replace(b"\x08\x02", b"\x08\x04"), "not a file"),
        "HAMT shard": (GOOD.replace(b"\x08\x02", b"\x08\x05"), "not a file"),
        "file size is not the sum": (GOOD.replace(b"\x18\x04", b"\x18\x05"), "not the sum"),
        "block size without link": (META, "0 links but 1"),
        "no file size": (LINK + b"\x0a\x04\x08\x02\x20\x04", "without a size"),
        "type missing": (LINK + b"\x0a\x04\x18\x04\x20\x04", "not a file"),
        "fields out of order": (LINK + b"\x0a\x06\x18\x04\x08\x02\x20\x04", "UnixFS fields"),
        "mode field": (LINK + b"\x0a\x08\x08\x02\x18\x04\x20\x04\x38\x01", "field 7"),
        "packed block sizes": (LINK + b"\x0a\x07\x08\x02\x18\x04\x22\x01\x04", "field 4"),
        "named link": (b"\x12\x2b" + _mutate(LINK[2:], b"\x12\x00", b"\x12\x01a") + META, "no names"),
        "link without cid": (b"\x12\x04\x12\x00\x18\x04" + META, "without a CID"),
        "identity link": (GOOD.replace(b"\x01\x55\x12\x20", b"\x01\x55\x00\x20"), "sha2-256"),
        "dag-cbor link": (GOOD.replace(b"\x01\x55\x12\x20", b"\x01\x71\x12\x20"), "sha2-256"),
        "link fields twice": (b"\x12\x2c" + LINK[2:] + b"\x18\x04" + META, "link fields"),
        "unknown link field": (b"\x12\x2c" + LINK[2:] + b"\x20\x04" + META, "unknown field"),
    }.items(),
)
def test_decode_file__hostile_node__is_refused_for_its_reason(name: str, case: tuple[bytes, str]) -> None:
    data, reason = case
    assert decode_file(GOOD).size == 4
    with pytest.raises(BadDag, match=reason):
        decode_file(data)


def test_decode_file__more_links_than_allowed__is_refused() -> None:
    with pytest.raises(BadDag, match="links"):
        decode_file(encode_file(b"", [(LEAF, 0, 0)] * 8193))


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_decode_file__mutated_nodes__only_our_error_comes_out(data: st.DataObject) -> None:
    node = bytearray(encode_file(b"in", [(LEAF, 4, 4), (LEAF, 300, 310)]))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(node) - 1))
        node[at] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(node)))
    mutated = bytes(node[:cut]) if data.draw(st.booleans()) else bytes(node)

    try:
        found = decode_file(mutated)
    except BadDag:
        return
    assert found.size == len(found.inline) + sum(child.size for child in found.children)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_walk__any_bytes_as_a_root__only_our_errors_come_out(data: bytes) -> None:
    blocks = Blocks()
    cid = blocks.add("dag-pb", data)

    def get(wanted: Cid) -> Block:
        if wanted not in blocks.held:
            raise ContentError("not here")
        return blocks(wanted)

    _swallow_ours(lambda: list(walk(cid, get, 1000)))


def _swallow_ours(call: Callable[[], object]) -> None:
    try:
        call()
    except ContentError as error:
        assert str(error)
