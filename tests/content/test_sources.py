"""Several sources: whose turn it is, who is set aside and why, archives with their fallback, and peers."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.content.standin import StandIn, send
from validator.content import (
    BadBlock,
    BadStore,
    Block,
    Cid,
    FetchError,
    GatewaySource,
    KuboStore,
    LayeredStore,
    LocalStore,
    NotFound,
    QuotaExceeded,
    TooLarge,
    open_store,
    peer_opener,
    read_credentials,
)
from validator.content.health import FAULT_SECONDS, LIE_SECONDS, MOST_LIE_SECONDS, Standing
from validator.content.http import Patience
from validator.content.unixfs import build

FILE = Random(1).randbytes(3_000_000)


@pytest.fixture
def second() -> Iterator[StandIn]:
    server = StandIn()
    yield server
    server.close()


def lie(handler: Any) -> None:
    send(handler, 200, b"something else", "application/vnd.ipld.raw")


# --- Standing ---


def test_standing__a_lie__is_set_aside_for_an_hour_then_two_and_at_most_a_day() -> None:
    now = [1000.0]
    standing = Standing("liar", lambda: now[0])
    for hours in (1, 2, 4):
        standing.failed(BadBlock("it lied"))
        assert standing.rank() is None
        assert standing.status().aside_until == now[0] + hours * LIE_SECONDS
        assert standing.status().reason == "it lied"
        now[0] += hours * LIE_SECONDS + 1
        assert standing.rank() == 0
        assert standing.status().reason == ""
    for _ in range(20):
        standing.failed(BadBlock("it lied"))
    assert standing.status().aside_until == now[0] + MOST_LIE_SECONDS


def test_standing__failures_in_a_row__come_last_for_seconds_and_an_answer_ends_it() -> None:
    now = [1000.0]
    standing = Standing("shaky", lambda: now[0])
    standing.failed(FetchError("cut"))
    assert standing.rank() == 1
    standing.failed(FetchError("cut"))
    assert (standing.rank(), standing.status().aside_until) == (2, now[0] + FAULT_SECONDS)
    standing.failed(FetchError("cut"))
    assert standing.status().aside_until == now[0] + 2 * FAULT_SECONDS
    standing.served()
    assert standing.rank() == 0


def test_standing__absence__is_no_fault() -> None:
    standing = Standing("empty")
    for _ in range(50):
        standing.failed(NotFound("not here"))
    assert (standing.rank(), standing.status().absent, standing.status().failures) == (0, 50, 0)


def test_standing__good_answer_after_a_lie__does_not_shorten_the_time_aside() -> None:
    standing = Standing("liar", lambda: 1000.0)
    standing.failed(BadBlock("it lied"))
    standing.served()
    assert standing.rank() is None


# --- LayeredStore ---


def test_layered__liar_first__is_asked_once_and_not_again(standin: Any, second: StandIn, one_try: Patience) -> None:
    standin.fault = lie
    cids = [Cid.parse(second.hold(data)) for data in (b"one", b"two", b"three")]
    liar = GatewaySource(standin.url, one_try)
    store = LayeredStore([liar, GatewaySource(second.url, one_try)])

    assert [store.read(cid, 10) for cid in cids] == [b"one", b"two", b"three"]
    assert len(standin.seen) == 1
    status = store.status()[0]
    assert (status.name, status.lies, "something else" in status.reason) == (liar.name, 1, True)


def test_layered__liar_is_the_only_one__is_not_asked_again(standin: Any, one_try: Patience) -> None:
    standin.fault = lie
    store = LayeredStore([GatewaySource(standin.url, one_try)])
    cid = Cid.of("raw", b"one")

    with pytest.raises(BadBlock):
        store.get_block(cid)
    with pytest.raises(NotFound):
        store.get_block(cid)
    assert len(standin.seen) == 1


def test_layered__dead_source_first__is_passed_over_after_two_failures(second: StandIn, one_try: Patience) -> None:
    dead = GatewaySource("http://127.0.0.1:9", one_try)
    store = LayeredStore([dead, GatewaySource(second.url, one_try)])
    for number in range(5):
        store.read(Cid.parse(second.hold(bytes([number]))), 1)

    assert store.status()[0].failures == 1  # one failure is enough to come after a source that works
    assert store.status()[1].served == 5


def test_layered__file_over_two_sources__is_put_together(
    standin: Any, second: StandIn, one_try: Patience, tmp_path: Path
) -> None:
    cid = Cid.parse(standin.hold(FILE))
    second.hold(FILE)
    leaves = [str(block.cid) for block in build(FILE) if block.codec == "raw"]
    del standin.blocks[leaves[1]], second.blocks[leaves[0]]
    sources = [GatewaySource(server.url, one_try, archives=False) for server in (standin, second)]

    assert LayeredStore([LocalStore(tmp_path), *sources]).read(cid, len(FILE)) == FILE


def test_layered__flood_by_one_source__is_no_verdict_on_the_content(
    standin: Any, misbehave: Any, second: StandIn, one_try: Patience
) -> None:
    """TooLarge becomes a status that is signed: only the content's own blocks may cause it."""
    cid = Cid.parse(second.hold(FILE))
    misbehave("chunk_flood")

    assert (
        LayeredStore([GatewaySource(standin.url, one_try), GatewaySource(second.url, one_try)]).read(cid, len(FILE))
        == FILE
    )


def test_layered__archive_that_is_cut__is_finished_block_by_block(
    standin: Any, one_try: Patience, tmp_path: Path
) -> None:
    cid = Cid.parse(standin.hold(FILE))
    standin.car_fault = lambda archive: archive[: len(archive) // 2]
    store = LayeredStore([LocalStore(tmp_path), GatewaySource(standin.url, one_try)])

    assert store.read(cid, len(FILE)) == FILE
    asked = [path for path, _ in standin.seen]
    assert sum("format=car" in path for path in asked) == 1
    # What came before the cut is kept: the root and the first leaf are not asked for again.
    assert sum("format=raw" in path for path in asked) == 2


def test_layered__gateway_without_archives__is_asked_for_one_only_once(standin: Any, one_try: Patience) -> None:
    standin.car_fault = lambda archive: b"\xff" * 100
    store = LayeredStore([GatewaySource(standin.url, one_try)])
    for number in range(3):
        data = bytes([number]) * 1_100_000
        assert store.read(Cid.parse(standin.hold(data)), len(data)) == data

    assert sum("format=car" in path for path, _ in standin.seen) == 1


def test_layered__archive_with_a_lie__sets_the_source_aside(
    standin: Any, second: StandIn, one_try: Patience, tmp_path: Path
) -> None:
    cid = Cid.parse(standin.hold(FILE))
    second.hold(FILE)
    standin.car_fault = lambda archive: archive[:-10] + b"x" * 10
    store = LayeredStore(
        [LocalStore(tmp_path), GatewaySource(standin.url, one_try), GatewaySource(second.url, one_try)]
    )

    assert store.read(cid, len(FILE)) == FILE
    assert store.status()[1].lies == 1


def test_layered__daemon_that_lacks_the_file__is_not_waited_for_twice(
    standin: Any, second: StandIn, one_try: Patience, tmp_path: Path
) -> None:
    cid = Cid.parse(second.hold(FILE))
    store = LayeredStore(
        [LocalStore(tmp_path), KuboStore(standin.url, patience=one_try), GatewaySource(second.url, one_try)]
    )

    assert store.read(cid, len(FILE)) == FILE
    assert len(standin.seen) == 1


def test_layered__file_that_does_not_fit__is_refused_before_anything_is_fetched(
    standin: Any, one_try: Patience, tmp_path: Path
) -> None:
    cid = Cid.parse(standin.hold(FILE))
    store = LayeredStore([LocalStore(tmp_path, quota=1_000_000), GatewaySource(standin.url, one_try)])

    with pytest.raises(QuotaExceeded, match="content gc"):
        store.read(cid, len(FILE))
    assert standin.seen == []


def test_layered__author_declares_more_than_allowed__is_too_large_from_every_kind(
    standin: Any, one_try: Patience, tmp_path: Path
) -> None:
    cid = Cid.parse(standin.hold(FILE))
    for source in (GatewaySource(standin.url, one_try), KuboStore(standin.url, patience=one_try)):
        with pytest.raises(TooLarge):
            LayeredStore([LocalStore(tmp_path), source]).read(cid, len(FILE) - 1)


def test_layered__read_by_several_threads__each_gets_its_file(standin: Any, tmp_path: Path) -> None:
    files = {Cid.parse(standin.hold(bytes([n]) * 300_000)): bytes([n]) * 300_000 for n in range(8)}
    store = open_store(f"local:{tmp_path},gateway:{standin.url}")
    found: dict[Cid, bytes] = {}
    threads = [threading.Thread(target=lambda cid=cid: found.update({cid: store.read(cid, 300_000)})) for cid in files]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert found == files


# --- Peers ---


def test_set_peers__announced_urls__are_read_behind_the_others_and_dropped_when_gone(
    standin: Any, tmp_path: Path
) -> None:
    cid = Cid.parse(standin.hold(FILE))
    store = LayeredStore([LocalStore(tmp_path)])
    opener = peer_opener(private=True)

    refused = store.set_peers({"0xa": standin.url, "0xb": "ftp://example.org"}, opener)

    assert list(refused) == ["0xb"]
    assert store.read(cid, len(FILE)) == FILE
    assert not any("format=car" in path for path, _ in standin.seen)
    assert [status.name.split(":")[0] for status in store.status()] == ["local", "peer"]
    store.set_peers({}, opener)
    assert len(store.status()) == 1


def test_set_peers__same_url_again__keeps_what_is_known_of_it(standin: Any, tmp_path: Path) -> None:
    store = LayeredStore([LocalStore(tmp_path)])
    opener = peer_opener(private=True)
    store.set_peers({"0xa": standin.url}, opener)
    standin.fault = lie
    with pytest.raises(BadBlock):
        store.get_block(Cid.of("raw", b"x"))

    store.set_peers({"0xa": standin.url, "0xb": "http://127.0.0.1:9"}, opener)

    assert store.status()[1].lies == 1


def test_peer__name_that_leads_to_this_machine__is_never_connected_to(
    standin: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name is public when it is announced and ours when it is used: the connection itself must refuse."""
    import socket

    cid = Cid.parse(standin.hold(b"small"))
    port = int(standin.url.rsplit(":", 1)[1])
    real = socket.getaddrinfo

    def poisoned(host: str, *rest: Any, **more: Any) -> Any:
        return real("127.0.0.1" if host == "peer.example.org" else host, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", poisoned)
    peer = peer_opener(private=False)(f"https://peer.example.org:{port}")

    with pytest.raises(FetchError, match="public address"):
        peer.get_block(cid)
    assert standin.seen == []


def test_peer__private_network_of_ones_own__is_allowed_by_setting(standin: Any) -> None:
    cid = Cid.parse(standin.hold(b"small"))

    assert peer_opener(private=True)(standin.url).read(cid, 5) == b"small"


@pytest.mark.parametrize(
    "url",
    [
        "https://peer.example.org",
        "https://peer.example.org:8790/ipfs-of-ours",
        "https://1.1.1.1",
        "https://[2606:4700::1111]",
    ],
)
def test_peer__public_url__is_accepted(url: str) -> None:
    assert peer_opener(private=False)(url).name.startswith("peer:")


# --- Credentials ---


@pytest.mark.parametrize(
    ("text", "auth"),
    [("bearer:abc.def\n", "abc.def"), ("basic:user:pass:word", ("user", "pass:word")), ("basic:user:", ("user", ""))],
)
def test_read_credentials__as_kubo_writes_them__are_taken(tmp_path: Path, text: str, auth: Any) -> None:
    (tmp_path / "auth").write_text(text)

    assert read_credentials(tmp_path / "auth") == auth


@pytest.mark.parametrize(
    "text", ["", "secret", "bearer:", "bearer:two words", "basic:secret", "basic::p", "b\xfcarer:x"]
)
def test_read_credentials__anything_else__is_refused_without_echoing_it(tmp_path: Path, text: str) -> None:
    (tmp_path / "auth").write_text(text)

    with pytest.raises(BadStore) as caught:
        read_credentials(tmp_path / "auth")
    assert "secret" not in str(caught.value)
    assert "one line is expected" in str(caught.value)


def test_read_credentials__no_such_file__says_so(tmp_path: Path) -> None:
    with pytest.raises(BadStore, match="VALIDATOR_KUBO_AUTH_FILE"):
        read_credentials(tmp_path / "auth")


def test_put_block__beyond_the_share_for_fetched_content__leaves_room_for_our_own(tmp_path: Path) -> None:
    store = LocalStore(tmp_path, quota=1600)
    store.put_block(Block("raw", b"a" * 1500))

    with pytest.raises(QuotaExceeded):
        store.put_block(Block("raw", b"b"))
    store.put(b"c" * 100)
