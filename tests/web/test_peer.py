"""The peer gateway, on a real socket: what it serves, what it does not, and what holds nobody up."""

from __future__ import annotations

import http.client
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from validator.content import Block, Cid, LayeredStore, LocalStore, NotFound, open_store, peer_opener, root
from validator.content.serving import Answer, PinnedBlocks, answer
from validator.demo.processes import free_port
from validator.settings import load_settings
from validator.web import peer as peer_module
from validator.web.peer import MOST_PER_ADDRESS, PeerError, serve_peer

FILE = bytes(range(256)) * 12_000


@pytest.fixture
def local(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "store")


@pytest.fixture
def url(local: LocalStore, tmp_path: Path) -> Iterator[str]:
    port = free_port()
    serve_peer(LayeredStore([local]), load_settings(tmp_path, peer_port=port))
    yield f"http://127.0.0.1:{port}"


def request(url: str, path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=10)
    connection.request(method, path, headers={key.replace("_", "-"): value for key, value in headers.items()})
    response = connection.getresponse()
    found = response.status, {key.lower(): value for key, value in response.headers.items()}, response.read()
    connection.close()
    return found


def test_peer__pinned_file__is_read_by_another_validator(url: str, local: LocalStore) -> None:
    cid = local.put(FILE)

    assert peer_opener(private=True)(url).read(cid, len(FILE)) == FILE


def test_peer__block_that_no_pin_reaches__does_not_exist(url: str, local: LocalStore) -> None:
    block = Block("raw", b"fetched, not pinned")
    local.put_block(block)

    assert request(url, f"/ipfs/{block.cid}?format=raw")[0] == 404
    with pytest.raises(NotFound):
        peer_opener(private=True)(url).get_block(block.cid)


def test_peer__headers__are_those_of_a_trustless_gateway(url: str, local: LocalStore) -> None:
    cid = local.put(b"small")

    status, headers, body = request(url, f"/ipfs/{cid}?format=raw")

    assert (status, body) == (200, b"small")
    assert headers["content-type"] == "application/vnd.ipld.raw"
    assert headers["content-length"] == "5"
    assert headers["etag"] == f'"{cid}.raw"'
    assert headers["content-disposition"] == f'attachment; filename="{cid}.bin"'
    assert headers["x-ipfs-roots"] == str(cid)
    assert headers["x-content-type-options"] == "nosniff"
    assert "immutable" in headers["cache-control"]
    assert "server" not in headers


def test_peer__head__tells_the_size_and_sends_nothing(url: str, local: LocalStore) -> None:
    cid = local.put(b"small")

    status, headers, body = request(url, f"/ipfs/{cid}", "HEAD", Accept="application/vnd.ipld.raw")

    assert (status, headers["content-length"], body) == (200, "5", b"")


def test_peer__etag_that_is_known__is_not_modified(url: str, local: LocalStore) -> None:
    cid = local.put(b"small")

    assert request(url, f"/ipfs/{cid}?format=raw", If_None_Match=f'W/"x", "{cid}.raw"')[0] == 304


def blocks_of(local: LocalStore) -> PinnedBlocks:
    return PinnedBlocks(local, clock=iter(range(0, 10_000, 2)).__next__)


def ask(local: LocalStore, path: str, query: str = "format=raw", method: str = "GET", accept: str = "") -> Answer:
    return answer(blocks_of(local), method, path, query, {"accept": accept} if accept else {})


@pytest.mark.parametrize(
    ("path", "query", "method", "status"),
    [
        ("/", "", "GET", 404),
        ("/ipfs/", "", "GET", 404),
        ("/ipfs/{cid}/", "format=raw", "GET", 404),
        ("/ipfs/{cid}/child", "format=raw", "GET", 404),
        ("/ipfs/../../etc/passwd", "format=raw", "GET", 404),
        ("/ipfs/%2e%2e", "format=raw", "GET", 404),
        ("/api/v0/pin/ls", "", "GET", 404),
        ("/ipfs/bafkqaaa", "format=raw", "GET", 404),
        ("/ipfs/" + "b" + "a" * 58, "format=raw", "GET", 400),
        ("/ipfs/{cid}", "", "GET", 406),
        ("/ipfs/{cid}", "format=car", "GET", 406),
        ("/ipfs/{cid}", "format=raw&format=car", "GET", 406),
        ("/ipfs/{cid}", "&".join(["format=raw"] * 50), "GET", 406),
        ("/ipfs/{cid}", "format=raw", "POST", 405),
        ("/ipfs/{cid}", "format=raw", "DELETE", 405),
    ],
)
def test_answer__anything_but_a_raw_block__is_refused(
    local: LocalStore, path: str, query: str, method: str, status: int
) -> None:
    cid = local.put(b"small")

    said = ask(local, path.replace("{cid}", str(cid)), query, method)

    assert said.status == status
    assert b"small" not in said.body


def test_answer__other_forms_of_the_same_cid__are_the_same_block(local: LocalStore) -> None:
    data = bytes(2 << 20)
    cid = local.put(data)
    digest_only = Cid("raw", cid.digest)

    assert ask(local, f"/ipfs/{cid}").body == local.get_block(cid).data
    assert ask(local, f"/ipfs/{digest_only}").body == local.get_block(cid).data


def test_pinned_blocks__pins_come_and_go__so_does_what_is_served(local: LocalStore) -> None:
    first, second = local.put(FILE), local.put(FILE + b"more")
    shared = Cid.of("raw", FILE[: 1 << 20])
    blocks = blocks_of(local)
    assert blocks.get(shared).cid == shared
    local.unpin(first)
    assert blocks.get(shared).cid == shared
    with pytest.raises(NotFound):
        blocks.get(first)
    local.unpin(second)
    with pytest.raises(NotFound):
        blocks.get(shared)


def test_pinned_blocks__damaged_on_disk__is_not_served_until_it_is_healed(local: LocalStore) -> None:
    cid = local.put(FILE)
    local._path(cid).write_bytes(b"rotten")
    blocks = blocks_of(local)

    with pytest.raises(NotFound):
        blocks.get(cid)
    local.put(FILE)
    assert blocks.get(cid).cid == cid == root(FILE)


def test_peer__many_slow_connections_from_one_address__are_dropped_and_end(
    url: str, local: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peer_module, "CONNECTION_SECONDS", 0.5)
    cid, place = local.put(b"small"), urlsplit(url)
    slow = [socket.create_connection((place.hostname, place.port), timeout=5) for _ in range(MOST_PER_ADDRESS + 4)]
    started = time.monotonic()
    for connection in slow:
        received = b""
        with suppress(ConnectionError):  # reset, which is as good as closed
            connection.sendall(b"GET /ipfs/")
            received = connection.recv(1)
        assert received == b""
        connection.close()
    assert time.monotonic() - started < 5
    assert request(url, f"/ipfs/{cid}?format=raw")[2] == b"small"


def test_peer__request_of_many_bytes__is_refused(url: str) -> None:
    with socket.create_connection((urlsplit(url).hostname, urlsplit(url).port), timeout=5) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nX: " + b"x" * 70_000)
        said = connection.recv(100)
    assert b" 400 " in said or said == b""


def test_serve_peer__store_without_pins_of_its_own__says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(PeerError, match="Kubo"):
        serve_peer(open_store("gateway:https://example.org"), load_settings(tmp_path, peer_port=free_port()))
