"""A real IPFS daemon (js-ipfs: Kubo-compatible RPC, another implementation) as our peer: add, pin, fetch, export.

It comes from npm by a lock file, 245 MB in 726 packages: so it is run with --full.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from validator.content import (
    BadBlock,
    Cid,
    FetchError,
    GatewaySource,
    KuboStore,
    LayeredStore,
    LocalStore,
    NotFound,
    root,
)
from validator.content.http import Patience
from validator.content.unixfs import build
from validator.demo.processes import free_port
from validator.web.held import Held, HeldFiles

FOLDER = Path(__file__).parent / "js_ipfs"
SIZES = [0, 1, 262_144, 262_145, 1 << 20, (1 << 20) + 1, 3_000_000, 5 << 20]
PATIENCE = Patience(connect=5.0, read=20.0, block=20.0, tries=1)


def data_of(size: int) -> bytes:
    return Random(size).randbytes(size)


def install() -> None:
    """What the lock file says, unless it is there."""
    lock, mark = FOLDER / "package-lock.json", FOLDER / "node_modules" / ".installed"
    if not (mark.is_file() and mark.read_text() == lock.read_text()):
        assert shutil.which("npm"), "npm is not on the PATH: install Node.js 20 or later"
        subprocess.run(["npm", "ci", "--omit=optional", "--loglevel=error"], cwd=FOLDER, check=True)
        mark.write_text(lock.read_text())


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The RPC's URL."""
    install()
    repo, port = tmp_path_factory.mktemp("js-ipfs"), free_port()
    command = ["node", "--require", "./js_shim.cjs", "js_daemon.mjs", str(repo / "repo"), str(port)]
    with (repo / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=FOLDER, stdout=log, stderr=log)
        try:
            deadline = time.monotonic() + 60
            while b"ready" not in (repo / "log").read_bytes():
                assert process.poll() is None, (repo / "log").read_text()
                assert time.monotonic() < deadline, "js-ipfs did not start in time"
                time.sleep(0.1)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@pytest.fixture
def kubo(daemon: str) -> Iterator[KuboStore]:
    store = KuboStore(daemon, patience=PATIENCE)
    yield store
    store.close()


pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


@pytest.mark.parametrize("size", SIZES)
def test_put__each_size__has_our_cid_and_comes_back_by_block_and_as_archive(kubo: KuboStore, size: int) -> None:
    data = data_of(size)

    cid = kubo.put(data)

    assert cid == root(data)
    assert kubo.read(cid, size) == data
    for block in build(data):
        assert kubo.get_block(block.cid) == block


def test_pin__put_by_us__is_held_until_it_is_unpinned(kubo: KuboStore) -> None:
    cid = kubo.put(data_of(2_000_000))

    assert kubo.has(cid)
    kubo.unpin(cid)
    kubo.unpin(cid)
    assert not kubo.has(cid)
    kubo.pin(cid)
    assert kubo.has(cid)


def test_get_block__that_nobody_has__is_not_found_in_time(daemon: str) -> None:
    store = KuboStore(daemon, patience=Patience(connect=5.0, read=3.0, block=5.0, tries=1))
    started = time.monotonic()

    with pytest.raises(NotFound):
        store.get_block(Cid.of("raw", b"nobody has this"))
    assert time.monotonic() - started < 5


def test_dag__a_real_export__is_read_as_one_archive(kubo: KuboStore, monkeypatch: pytest.MonkeyPatch) -> None:
    data = bytes(4 << 20) + data_of(1 << 20)  # four equal leaves: the export holds one
    cid = kubo.put(data)
    asked: list[str] = []
    request = KuboStore._request

    def noting(self: KuboStore, path: str, *rest: object, **how: object) -> object:
        asked.append(path)
        return request(self, path, *rest, **how)  # type: ignore[arg-type]

    monkeypatch.setattr(KuboStore, "_request", noting)

    assert kubo.read(cid, len(data)) == data
    assert asked == ["block/get", "dag/export"]


def test_layered__fetched_from_the_daemon__is_pinned_and_served_by_us(daemon: str, tmp_path: Path) -> None:
    data = data_of(3_500_000)
    cid = KuboStore(daemon, patience=PATIENCE).put(data)
    local = LocalStore(tmp_path)
    store = LayeredStore([local, KuboStore(daemon, patience=PATIENCE)])

    assert store.read(cid, len(data)) == data
    store.pin(cid)

    assert local.read(cid, len(data)) == data
    assert local.pins() == [cid]


def test_put__files_of_either_side__have_equal_cids_under_other_cuts(kubo: KuboStore) -> None:
    """What an operator's daemon makes with its own defaults, 256 KiB chunks and 174 links, is read as well."""
    data = data_of(600_000)
    cid = root(data, 256 * 1024, 174)
    for block in build(data, 256 * 1024, 174):
        local_put(kubo, block.data, block.codec)

    assert kubo.read(cid, len(data)) == data


def local_put(kubo: KuboStore, data: bytes, codec: str) -> None:
    """`block/put` by the library itself: not one of the calls that our store makes."""
    import io

    options = {"cid-codec": codec, "mhtype": "sha2-256", "version": "1", "format": codec}
    kubo._client.block.put(io.BytesIO(data), opts=options)


def test_gateway__of_the_daemon__which_ignores_formats__is_refused(daemon: str, kubo: KuboStore) -> None:
    """Its RPC port is no gateway either: whatever it says is no raw block."""
    cid = kubo.put(b"small")

    with pytest.raises((FetchError, NotFound)) as caught:
        GatewaySource(daemon, PATIENCE).get_block(cid)
    assert not isinstance(caught.value, BadBlock)


def test_relay__over_the_daemon__holds_knows_its_own_and_lets_go(kubo: KuboStore, tmp_path: Path) -> None:
    store = LayeredStore([kubo])
    held = HeldFiles(tmp_path / "relay", store)
    mine, theirs = data_of(1_500_000), data_of(2_000)
    kubo.put(theirs)

    for data in (mine, theirs):
        assert held.put(root(data), data, Held(len(data), "0x" + "c0" * 20, 10.0)) == root(data)

    assert kubo.has(root(mine))
    assert held.size() == len(mine)
    assert [cid for cid, _ in held.expired(11.0)] == [root(mine)]
    held.remove(root(mine))
    assert not kubo.has(root(mine))
    assert kubo.has(root(theirs))
    held.close()
