"""KuboStore and GatewaySource against a server that serves, lies, cuts, floods, redirects and drips."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from validator.content import (
    BadBlock,
    BadStore,
    Block,
    Cid,
    ContentError,
    Deadline,
    FetchError,
    Flood,
    GatewaySource,
    KuboStore,
    LayeredStore,
    LocalStore,
    NotFound,
    TooLarge,
    open_store,
    root,
)
from validator.content.http import Patience
from validator.content.retry import with_tries
from validator.content.store import read_file

FILE = bytes(range(256)) * 12_000
Source = KuboStore | GatewaySource
Misbehave = Callable[[str], None]


SOURCES = {"kubo": lambda url, patience: KuboStore(url, patience=patience), "gateway": GatewaySource}


@pytest.fixture(params=list(SOURCES))
def source(request: pytest.FixtureRequest, standin: Any, one_try: Patience) -> Iterator[Source]:
    made: Source = SOURCES[request.param](standin.url, one_try)
    yield made
    made.close()


def test_read__honest_server__gives_the_file(source: Source, standin: Any) -> None:
    cid = Cid.parse(standin.hold(FILE))

    assert source.read(cid, len(FILE)) == FILE


def test_read__many_blocks__come_as_one_archive(source: Source, standin: Any) -> None:
    cid = Cid.parse(standin.hold(FILE))
    source.read(cid, len(FILE))

    # The Kubo RPC is asked for the root first, to see that it has it.
    assert len(standin.seen) == (2 if isinstance(source, KuboStore) else 1)
    assert any("format=car" in path or "dag/export" in path for path, _ in standin.seen)
    assert "gzip" not in str(standin.seen)
    assert "Cookie" not in str(standin.seen)


def test_get_block__unknown__is_not_found(source: Source) -> None:
    with pytest.raises(NotFound):
        source.get_block(Cid.of("raw", b"nowhere"))


@pytest.mark.parametrize(
    ("fault", "error"),
    {
        "lie": BadBlock,
        "stream_error": BadBlock,
        "bad_length": Flood,
        "announced_flood": Flood,
        "chunk_flood": Flood,
        "cut_length": FetchError,
        "cut_chunk": FetchError,
        "gzip_bomb": FetchError,
        "error_flood": FetchError,
        "error_chunk_flood": FetchError,
        "redirect": FetchError,
        "two_lengths": FetchError,
        "no_http": FetchError,
        "many_headers": FetchError,
    }.items(),
)
def test_get_block__hostile_server__is_refused_within_memory(
    source: Source, misbehave: Misbehave, fault: str, error: type[ContentError]
) -> None:
    misbehave(fault)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    with pytest.raises(error) as caught:
        source.get_block(Cid.of("raw", b"anything"))

    assert type(caught.value) is error
    # The server lives in this process too: it needs up to 32 MiB for the bombs that it builds.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 * 1024
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("fault", "error"),
    {
        "silence": FetchError,
        "drip_headers": FetchError,
        "endless_continue": FetchError,
        "drip": Deadline,
        "endless_trailers": Deadline,
    }.items(),
)
@pytest.mark.parametrize("kind", ["kubo"])  # gateways: test_hostile
def test_get_block__server_that_never_ends__is_left_in_time(
    standin: Any, misbehave: Misbehave, kind: str, fault: str, error: type[ContentError]
) -> None:
    misbehave(fault)
    source, start = SOURCES[kind](standin.url, Patience(connect=5.0, read=1.0, block=0.7, tries=1)), time.monotonic()

    with pytest.raises(error) as caught:
        source.get_block(Cid.of("raw", b"anything"))

    source.close()
    # Within the header's 1 s or the block's 0.7 s; the rest is for a busy machine.
    assert type(caught.value) is error
    assert time.monotonic() - start < 5.0


def test_get_block__redirect__is_not_followed(source: Source, misbehave: Misbehave, standin: Any) -> None:
    misbehave("redirect")

    with pytest.raises(FetchError, match="redirects"):
        source.get_block(Cid.of("raw", b"anything"))
    assert not any(path.startswith("/elsewhere") for path, _ in standin.seen)


def test_get_block__nobody_listens__says_so(standin: Any, one_try: Patience) -> None:
    standin.close()

    for source in (KuboStore(standin.url, patience=one_try), GatewaySource(standin.url, patience=one_try)):
        with pytest.raises(FetchError, match="check that it runs"):
            source.get_block(Cid.of("raw", b"anything"))


def test_get_block__proxy_and_netrc_in_the_environment__are_ignored(
    source: Source, standin: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login thief password guess\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    cid = Cid.parse(standin.hold(b"small"))

    assert source.read(cid, 5) == b"small"
    assert all("Authorization" not in headers for _, headers in standin.seen)


def test_gateway__plain_file_instead_of_a_raw_block__is_refused(standin: Any, one_try: Patience) -> None:
    cid = Cid.parse(standin.hold(b"small"))

    def plain(handler: Any) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 5\r\n\r\nsmall")

    standin.fault = plain

    with pytest.raises(FetchError, match="trustless gateway"):
        GatewaySource(standin.url, one_try).get_block(cid)


def test_kubo__put_pin_has_unpin__tell_the_same_story(standin: Any) -> None:
    store = KuboStore(standin.url)

    cid = store.put(FILE)

    assert cid == root(FILE)
    assert store.read(cid, len(FILE)) == FILE
    assert store.has(cid)
    store.unpin(cid)
    store.unpin(cid)
    assert not store.has(cid)
    store.pin(cid)
    assert store.has(cid)
    assert store.version() == "0.43.1"
    path = standin.seen[0][0]
    for option in ("cid-version=1", "raw-leaves=true", "chunker=size-1048576", "pin=true"):
        assert option in path


def test_kubo__daemon_with_other_import_options__is_refused(standin: Any) -> None:
    standin.add_chunk = 256 * 1024

    with pytest.raises(FetchError, match="import options"):
        KuboStore(standin.url).put(FILE)


@pytest.mark.parametrize("body", [b"", b"[]", b"nonsense", b"[" * 50_000, b'{"Version": NaN'])
def test_kubo__answers_that_are_no_json_object__are_refused(standin: Any, body: bytes) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body)
    standin.fault = lambda handler: handler.wfile.write(head + body)

    with pytest.raises(FetchError, match="JSON object"):
        KuboStore(standin.url).version()


@pytest.mark.parametrize(("auth", "sent"), [("token", "Bearer token"), (("user", "pass"), "Basic dXNlcjpwYXNz")])
def test_kubo__credentials__are_sent_with_every_call(standin: Any, auth: Any, sent: str) -> None:
    KuboStore(standin.url, auth).version()

    assert standin.seen[0][1]["Authorization"] == sent


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org:5001",
        "http://10.0.0.1:5001",
        "http://127.0.0.1.example.org",
        "ftp://127.0.0.1",
        "127.0.0.1:5001",
        "http://",
        "http://127.0.0.1:99999",
        "http://127.0.0.1:0",
        "http://[::1",
        "http://user:secret@127.0.0.1:5001",
        "http://127.0.0.1:5001/?a=b",
    ],
)
def test_kubo__unsafe_or_broken_address__is_refused_without_echoing_secrets(url: str) -> None:
    with pytest.raises(BadStore) as caught:
        KuboStore(url)
    assert "secret" not in str(caught.value)


def test_kubo__import__leaves_the_environment_as_it_was(standin: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("PY_IPFS")]:
        monkeypatch.delenv(name)
    before = dict(os.environ)

    KuboStore(standin.url)

    assert dict(os.environ) == before


def test_with_tries__transport_fails_twice__succeeds_at_the_third() -> None:
    outcomes: list[Exception | None] = [FetchError("cut"), Deadline("slow"), None]
    waits: list[float] = []

    def fetch() -> Block:
        if (outcome := outcomes.pop(0)) is not None:
            raise outcome
        return Block("raw", b"here")

    assert with_tries(fetch, 3, waits.append).data == b"here"
    assert len(waits) == 2
    assert all(0 <= wait <= 0.5 for wait in waits)


@pytest.mark.parametrize("error", [BadBlock("lie"), TooLarge("flood"), NotFound("absent")])
def test_with_tries__lies_floods_and_absences__are_not_retried(error: ContentError) -> None:
    calls: list[int] = []

    def fetch() -> Block:
        calls.append(1)
        raise error

    with pytest.raises(type(error)):
        with_tries(fetch, 3, lambda _: None)
    assert calls == [1]


def test_read_file__source_that_takes_too_long__meets_the_deadline() -> None:
    block, times = Block("raw", b"x"), iter([0.0, 1000.0])

    with pytest.raises(Deadline):
        read_file(block.cid, lambda _: block, 1, clock=lambda: next(times))


def test_layered__fetched_from_a_gateway__is_kept_and_can_be_pinned(standin: Any, tmp_path: Path) -> None:
    cid = Cid.parse(standin.hold(FILE))
    store = open_store(f"local:{tmp_path},gateway:{standin.url}")

    assert not store.has(cid)
    assert store.read(cid, len(FILE)) == FILE
    store.pin(cid)

    assert LocalStore(tmp_path).read(cid, len(FILE)) == FILE
    assert LocalStore(tmp_path).pins() == [cid]


def test_layered__damaged_on_our_disk__is_fetched_and_healed(standin: Any, tmp_path: Path) -> None:
    cid = Cid.parse(standin.hold(b"small"))
    local = LocalStore(tmp_path)
    local.put(b"small")
    (tmp_path / "blocks" / cid.digest.hex()[:2] / cid.digest.hex()).write_bytes(b"rotten")
    store = open_store(f"local:{tmp_path},gateway:{standin.url}")

    assert store.read(cid, 5) == b"small"
    assert local.read(cid, 5) == b"small"


def test_layered__nobody_has_it__is_not_found(standin: Any, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="none of"):
        open_store(f"local:{tmp_path},gateway:{standin.url}").read(Cid.of("raw", b"nowhere"), 10)


def test_layered__one_absent_one_broken__reports_the_broken_one(
    standin: Any, misbehave: Misbehave, one_try: Patience, tmp_path: Path
) -> None:
    misbehave("redirect")
    store = LayeredStore([GatewaySource(standin.url, one_try), LocalStore(tmp_path)])

    with pytest.raises(FetchError, match="redirects"):
        store.get_block(Cid.of("raw", b"nowhere"))


def test_open_store__only_a_gateway__cannot_be_written() -> None:
    with pytest.raises(BadStore, match="only be read"):
        open_store("gateway:https://example.org").put(b"x")


@pytest.mark.parametrize(
    "spec", ["", "local:", "ftp:x", "/tmp/x", "local", "local:/tmp/x,", ",", "kubo:", "gateway:nohost"]
)
def test_open_store__unknown_address__says_what_to_write(spec: str, tmp_path: Path) -> None:
    with pytest.raises(BadStore):
        open_store(spec.replace("/tmp/x", str(tmp_path)))
