from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from validator.content import BadBlock, BadStore, Block, Cid, LocalStore, NotFound, QuotaExceeded, TooLarge, root

FILE = bytes(range(256)) * 12_000  # three blocks and a root


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "store")


def _block_path(store: LocalStore, cid: Cid) -> Path:
    return Path(store.name.removeprefix("local:")) / "blocks" / cid.digest.hex()[:2] / cid.digest.hex()


def test_put__a_file__is_read_back_under_the_cid_of_ipfs_add(store: LocalStore) -> None:
    cid = store.put(FILE)

    assert (cid, cid.codec) == (root(FILE), "dag-pb")
    assert store.read(cid, len(FILE)) == FILE
    assert store.read(Cid.from_chain(cid.digest, cid.codec_byte), len(FILE)) == FILE
    assert store.has(cid)
    assert store.pins() == [cid]


def test_put__twice__keeps_one_copy(store: LocalStore) -> None:
    store.put(FILE)
    used = store.usage()

    store.put(FILE)

    assert store.usage() == used


def test_read__file_above_the_limit__is_refused(store: LocalStore) -> None:
    with pytest.raises(TooLarge):
        store.read(store.put(FILE), len(FILE) - 1)


@pytest.mark.parametrize("damage", [b"x", b"", FILE[: 1 << 20] + b"y", bytes(3 << 20)])
def test_read__a_block_changed_on_disk__is_refused_and_healed_by_another_put(store: LocalStore, damage: bytes) -> None:
    cid = store.put(FILE)
    _block_path(store, Cid.of("raw", FILE[: 1 << 20])).write_bytes(damage)

    with pytest.raises(BadBlock):
        store.read(cid, len(FILE))
    store.put(FILE)
    assert store.read(cid, len(FILE)) == FILE


def test_has__a_missing_leaf__is_false_and_pin_refuses(store: LocalStore) -> None:
    cid = store.put(FILE)
    store.unpin(cid)
    _block_path(store, Cid.of("raw", FILE[: 1 << 20])).unlink()

    assert not store.has(cid)
    with pytest.raises(NotFound):
        store.pin(cid)
    with pytest.raises(NotFound):
        store.read(cid, len(FILE))


def test_has__a_damaged_inner_block__is_false(store: LocalStore) -> None:
    cid = store.put(FILE)
    _block_path(store, cid).write_bytes(b"rotten")

    assert not store.has(cid)


def test_put__beyond_the_quota__writes_nothing(tmp_path: Path) -> None:
    store = LocalStore(tmp_path, quota=len(FILE) - 1)

    with pytest.raises(QuotaExceeded):
        store.put(FILE)
    assert (store.usage(), store.pins()) == (0, [])


def test_put__second_file_beyond_the_quota__leaves_the_first(tmp_path: Path) -> None:
    store = LocalStore(tmp_path, quota=1500)
    first = store.put(bytes(1000))

    with pytest.raises(QuotaExceeded, match="1000 of 1500"):
        store.put(b"y" * 1000)
    assert store.read(first, 1000) == bytes(1000)


def test_put__ledger_lost_or_torn__is_counted_anew(tmp_path: Path) -> None:
    store = LocalStore(tmp_path, quota=1500)
    store.put(bytes(1000))
    (tmp_path / ".lock").write_bytes(b"10\0garbage")

    with pytest.raises(QuotaExceeded):
        store.put(b"y" * 1000)


def test_sweep__unpinned_and_half_written__go_while_pinned_stays(store: LocalStore, tmp_path: Path) -> None:
    kept, gone = store.put(FILE), store.put(b"short lived")
    (tmp_path / "store" / "tmp" / "left-by-a-crash").write_bytes(b"z" * 7)
    store.unpin(gone)

    freed = store.sweep(grace=-1.0)

    assert freed == len(b"short lived") + 7
    assert store.read(kept, len(FILE)) == FILE
    assert not store.has(gone)
    assert list((tmp_path / "store" / "tmp").iterdir()) == []


def test_sweep__young_blocks__stay_until_the_grace_is_over(store: LocalStore) -> None:
    block = Block("raw", b"just fetched")
    store.put_block(block)

    assert store.sweep(grace=3600.0) == 0
    assert store.get_block(block.cid) == block


def test_sweep__pin_with_a_damaged_root__still_sweeps_the_rest(store: LocalStore) -> None:
    cid, other = store.put(FILE), store.put(b"fine")
    _block_path(store, cid).write_bytes(b"rotten")

    store.sweep(grace=-1.0)

    assert store.pins() == sorted([cid, other])
    assert store.read(other, 4) == b"fine"


def test_unpin__never_pinned__is_no_error(store: LocalStore) -> None:
    store.unpin(Cid.of("raw", b"unknown"))


def test_open__path_that_is_a_file__is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")

    with pytest.raises(BadStore):
        LocalStore(tmp_path / "file")


WRITER = """
import sys
from validator.content import LocalStore
store = LocalStore(sys.argv[1])
for number in range(25):
    cid = store.put(bytes([number]) * 5000)
    assert store.read(cid, 5000) == bytes([number]) * 5000
    store.unpin(cid)
    store.sweep(grace=3600.0)
    store.pin(cid)
"""


def test_put__four_processes_at_once__agree_on_every_byte(tmp_path: Path) -> None:
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)]) for _ in range(4)]

    assert [writer.wait(60) for writer in writers] == [0, 0, 0, 0]
    store = LocalStore(tmp_path)
    assert (store.usage(), len(store.pins())) == (25 * 5000, 25)
    assert (tmp_path / ".lock").read_bytes() == b"125000"
    assert list((tmp_path / "tmp").iterdir()) == []
