"""The relay against those who mean it ill: what it takes, how much, from whom, and for how long."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from fastapi import Request
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient

from tests.web.chromium import served
from tests.web.conftest import Played
from tests.web.support import Line, over
from validator.actions.connect import View, view_of
from validator.chain.errors import RpcFault
from validator.content import Cid, LayeredStore, open_store, root
from validator.envelope import Context, generate_keypair, seal
from validator.settings import load_settings
from validator.web import relay as relays
from validator.web import uploads
from validator.web.app import make_app
from validator.web.held import HeldError, HeldFiles
from validator.web.relay import (
    HOLD_SECONDS,
    KIND,
    LOOK_SECONDS,
    MOST_AT_ONCE,
    MOST_IN_WINDOW,
    MOST_OF_ONE,
    MOST_UPLOADS,
    MOST_UPLOADS_OF_ONE,
    PATH,
    WINDOW_SECONDS,
    Refusal,
    Relay,
    RelayError,
    open_relay,
)
from validator.web.source import Source

OWN = {"origin": "http://testserver", "host": "testserver", "content-type": KIND}
STRANGER = "0x" + "c0" * 20


@dataclass
class Bench:
    """A relay over the played DAO with a store and clocks of its own."""

    view: View
    folder: Path
    most: int = 1 << 20
    moment: float = 1000.0
    today: float = 1_700_000_000.0
    held: HeldFiles | None = None
    relay: Relay = field(init=False)
    client: TestClient = field(init=False)

    def __post_init__(self) -> None:
        self.store = open_store(f"local:{self.folder / 'store'}")
        self.restart()

    def restart(self) -> None:
        """As after a restart of the server: all that stays is on disk."""
        source = Source(self.view)
        if self.held is not None:
            self.held.close()
        self.held = HeldFiles(self.folder / "relay", self.store)
        self.relay = Relay(source, self.held, self.most, lambda: self.moment, lambda: self.today)
        self.client = TestClient(make_app(source, relay=self.relay), base_url="http://testserver")

    def envelope(self, payload: bytes = b"x" * 100, contributor: str = STRANGER, **changes: object) -> bytes:
        deployment = self.view.deployment
        of = {"chain_id": deployment.chain_id, "contract": deployment.rounds, "key_epoch": 1, **changes}
        return seal(payload, self.keys, Context(contributor=contributor, **of))  # type: ignore[arg-type]

    @property
    def keys(self) -> list[bytes]:
        return [self.view.contracts.dao.key_of(1)]

    def post(self, data: bytes, **headers: str) -> tuple[int, str]:
        """Status, and the CID or why not."""
        answer = self.client.post(PATH, content=data, headers={**OWN, **headers})
        body = answer.json()
        return answer.status_code, body.get("cid") or body["error"]

    def pins(self) -> list[Cid]:
        assert self.store.local is not None
        return self.store.local.pins()

    def later(self, seconds: float) -> None:
        self.moment += seconds
        self.today += seconds


@pytest.fixture
def bench(played: Played, tmp_path: Path) -> Bench:
    return Bench(played.view, tmp_path)


def test_relay__an_envelope_for_the_dao_s_key__is_pinned_under_its_cid_and_answered(bench: Bench) -> None:
    sealed = bench.envelope()

    assert bench.post(sealed) == (201, str(root(sealed)))
    assert bench.post(sealed) == (201, str(root(sealed)))

    assert bench.pins() == [root(sealed)]
    assert bench.store.read(root(sealed), len(sealed)) == sealed
    assert bench.client.get("/api/terms").json()["relay"] == {"path": PATH, "hold_seconds": HOLD_SECONDS}
    assert "Hand it to this server" in bench.client.get("/contribute").text
    assert PATH in bench.client.get("/api/openapi.json").json()["paths"]


def test_relay__not_asked_for__nothing_is_taken_and_nothing_offered(client: TestClient, bench: Bench) -> None:
    answer = client.post(PATH, content=bench.envelope(), headers=OWN)

    assert (answer.status_code, answer.json()) == (405, {"error": "this server only answers GET and HEAD"})
    assert client.get("/api/terms").json()["relay"] is None
    assert "Hand it to this server" not in client.get("/contribute").text
    assert PATH not in client.get("/api/openapi.json").json()["paths"]


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS"])
def test_relay__any_other_method_or_path__is_refused_as_before(bench: Bench, method: str) -> None:
    answer = bench.client.request(method, PATH, headers={**OWN, "access-control-request-method": "POST"})

    assert answer.status_code == 405
    assert not [name for name in answer.headers if name.startswith("access-control")]
    assert bench.client.post("/api/terms", headers=OWN).status_code == 405
    assert bench.client.get(PATH).status_code == 405


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"origin": ""}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://elsewhere.example"}, 403),
        ({"origin": "http://testserver.elsewhere.example"}, 403),
        ({"origin": "http://testserver:81"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"content-type": "text/plain"}, 415),
        ({"content-type": "multipart/form-data; boundary=x"}, 415),
    ],
)
def test_relay__another_page_or_a_form__is_refused_and_no_page_may_read_why(
    bench: Bench, headers: dict[str, str], status: int
) -> None:
    answer = bench.client.post(PATH, content=bench.envelope(), headers={**OWN, **headers})

    assert answer.status_code == status
    assert "access-control-allow-origin" not in answer.headers
    assert bench.pins() == []


def test_relay__behind_a_proxy_with_tls__its_own_page_is_known_by_the_host(bench: Bench) -> None:
    sealed = bench.envelope()

    assert bench.post(sealed, host="dao.example", origin="https://dao.example") == (201, str(root(sealed)))


def test_relay__no_length__is_refused(bench: Bench) -> None:
    def pieces() -> Iterator[bytes]:
        yield bench.envelope()

    answer = bench.client.post(PATH, content=pieces(), headers=OWN)

    assert (answer.status_code, bench.pins()) == (411, [])


def spoken(url: str, data: bytes, said: bytes, seconds: float = 20.0) -> bytes:
    """What the server answers to a request whose head is `said`, and of whose body only `data` comes."""
    place = urlsplit(url)
    assert place.hostname is not None
    with socket.create_connection((place.hostname, place.port), timeout=seconds) as line:
        line.sendall(said.replace(b"HOST", place.netloc.encode()) + b"\r\n\r\n" + data)
        answer = b""
        while b"\r\n\r\n" not in answer or not answer.endswith(b"}"):
            piece = line.recv(65_536)
            if not piece:
                break
            answer += piece
        return answer


HEAD = (
    b"POST /api/envelopes HTTP/1.1\r\nHost: HOST\r\nOrigin: http://HOST\r\nContent-Type: application/octet-stream\r\n"
)


def test_relay__handler_cancelled_in_the_instant_of_admission__its_place_is_given_back(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken, told = threading.Event(), threading.Event()
    admitted = bench.relay.admitted

    @contextmanager
    def slowly(headers: Mapping[str, str], address: str) -> Iterator[int]:
        with admitted(headers, address) as size:
            taken.set()
            assert told.wait(10)
            yield size

    admissions = []  # kept, so that the place is given back by the handler and not by the collector of garbage

    def kept(headers: Mapping[str, str], address: str) -> AbstractContextManager[int]:
        admissions.append(slowly(headers, address))
        return admissions[-1]

    monkeypatch.setattr(bench.relay, "admitted", kept)
    headers = [(name.encode(), value.encode()) for name, value in {**OWN, "content-length": "100"}.items()]
    request = Request({"type": "http", "headers": headers, "client": ("203.0.113.7", 1)})
    post = next(route.endpoint for route in uploads.make_uploads(bench.relay).routes if isinstance(route, APIRoute))

    async def play() -> None:
        handling = asyncio.create_task(post(request))
        assert await asyncio.to_thread(taken.wait, 10)
        assert len(bench.relay._uploads) == 1
        handling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await handling
        told.set()
        async with asyncio.timeout(10):
            while bench.relay._uploads:
                await asyncio.sleep(0.01)

    asyncio.run(play())
    assert bench.relay._uploads == []


def test_relay__on_a_socket__too_many_bytes_and_no_envelope_are_refused_before_they_come(bench: Bench) -> None:
    other = seal(b"y" * 5000, [generate_keypair().public], Context(1, "0x" + "d0" * 20, 1, STRANGER))
    with served(make_app(Source(bench.view), relay=bench.relay)) as url:
        large = spoken(url, b"", HEAD + b"Content-Length: 99999999999999")
        absurd = spoken(url, b"", HEAD + b"Content-Length: 99999999999999999999999")
        noise = spoken(url, b"x" * 19, HEAD + b"Content-Length: 60000")
        endless = spoken(url, b"poc-envelope/1\n\xff\xff\xff\xff", HEAD + b"Content-Length: 60000")
        foreign = spoken(url, other[:700], HEAD + b"Content-Length: %d" % len(other))

    assert b" 413 " in large.splitlines()[0]
    assert absurd.splitlines()[0].split()[1] in (b"400", b"411")
    assert b" 422 " in noise.splitlines()[0]
    assert b"does not begin with the magic line" in noise
    assert b" 422 " in endless.splitlines()[0]
    assert b" 422 " in foreign.splitlines()[0]
    assert b"sealed for another DAO" in foreign
    assert bench.pins() == []


def test_relay__a_body_that_does_not_come__is_given_up(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "UPLOAD_SECONDS", 0.2)
    sealed = bench.envelope()
    with served(make_app(Source(bench.view), relay=bench.relay)) as url:
        answer = spoken(url, sealed[:50], HEAD + b"Content-Length: %d" % len(sealed))

    assert b" 408 " in answer.splitlines()[0]
    assert (bench.relay.coming, bench.pins()) == (0, [])


def test_relay__the_sender_hangs_up_on_the_way__its_place_is_free_again(bench: Bench) -> None:
    sealed = bench.envelope(b"z" * 30_000)
    with served(make_app(Source(bench.view), relay=bench.relay)) as url:
        place = urlsplit(url)
        assert place.hostname is not None
        with socket.create_connection((place.hostname, place.port)) as line:
            head = HEAD.replace(b"HOST", place.netloc.encode()) + b"Content-Length: %d\r\n\r\n" % len(sealed)
            line.sendall(head + sealed[:5000])
            until(lambda: bench.relay.coming == len(sealed))
        until(lambda: bench.relay.coming == 0)
    assert bench.pins() == []


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline, "it did not come to it in time"
        time.sleep(0.01)


def hostile(bench: Bench) -> Iterator[tuple[str, bytes, str]]:
    sealed = bench.envelope()
    yield "nothing", b"", "magic line"
    yield "a text", b"hello, this is my diary", "magic line"
    yield "the magic line alone", sealed[:15], "cut or its header too long"
    yield "a head alone", sealed[: 19 + int.from_bytes(sealed[15:19], "big")], "no body"
    yield "a cut one", sealed[:-110], "cut: its length fits no plaintext"
    yield (
        "a header that is no JSON",
        sealed[:19] + b"[" * int.from_bytes(sealed[15:19], "big") + sealed[-116:],
        "not JSON",
    )
    yield "a header in another form", sealed.replace(b'{"commitment":', b'{"Commitment":'), "exactly the fields"
    yield "a long header", b"poc-envelope/1\n" + (2000).to_bytes(4, "big") + b"x" * 3000, "more than 1024 bytes"
    yield "another version", sealed.replace(b"poc-envelope/1", b"poc-envelope/2"), "magic line"
    yield "another suite", sealed.replace(b'"suite":1', b'"suite":2'), "cipher suite"


def test_relay__what_is_no_envelope__is_refused_in_words_and_not_stored(bench: Bench) -> None:
    for name, data, words in hostile(bench):
        bench.later(WINDOW_SECONDS)
        status, said = bench.post(data)
        assert (status, words in said) == (422, True), (name, status, said)
    assert bench.pins() == []
    assert list((bench.folder / "relay").iterdir()) == []


def test_relay__an_envelope_that_is_not_for_this_dao_s_key_alone__is_refused(bench: Bench) -> None:
    deployment, stranger = bench.view.deployment, generate_keypair().public
    mine = Context(deployment.chain_id, deployment.rounds, 1, STRANGER)

    refused = {
        "another DAO": bench.envelope(contract="0x" + "d0" * 20),
        "another DAO ": bench.envelope(chain_id=deployment.chain_id + 1),
        "key epoch 2": bench.envelope(key_epoch=2),
        "DAO's key alone": seal(b"x", [stranger], mine),
        "the DAO's key alone": seal(b"x", [*bench.keys, stranger], mine),
    }

    for words, sealed in refused.items():
        status, said = bench.post(sealed)
        assert (status, words.strip() in said) == (422, True), (words, status, said)
    assert bench.pins() == []


def test_relay__more_than_the_manifest_allows__is_refused(bench: Bench) -> None:
    limit = bench.client.get("/api/terms").json()["rules"]["limits"]["envelope_bytes"]
    largest = bytes(limit - len(bench.envelope(b"")))
    fits, over_it = bench.envelope(largest), bench.envelope(largest + b"x")
    assert (len(fits), len(over_it)) == (limit, limit + 1)

    assert bench.post(over_it)[0] == 413
    assert bench.post(fits)[0] == 201


def admit(bench: Bench, address: str, size: int = 500) -> None:
    with bench.relay.admitted({**OWN, "content-length": str(size)}, address):
        pass


def test_relay__a_flood_from_one_address__others_are_still_heard_and_it_may_come_back(bench: Bench) -> None:
    for _ in range(MOST_OF_ONE):
        admit(bench, "192.0.2.1")

    with pytest.raises(Refusal, match="too many uploads in the last ten minutes") as refused:
        admit(bench, "192.0.2.1")
    assert refused.value.status == 429
    admit(bench, "192.0.2.2")
    bench.later(WINDOW_SECONDS)
    admit(bench, "192.0.2.1")


def test_relay__a_flood_from_a_network_of_ipv6__counts_as_one(bench: Bench) -> None:
    for number in range(MOST_OF_ONE):
        admit(bench, f"2001:db8::{number:x}")

    with pytest.raises(Refusal, match="too many uploads"):
        admit(bench, "2001:db8::ffff:1")
    admit(bench, "2001:db8:0:1::1")


def test_relay__a_flood_from_everywhere__is_bounded_in_all(bench: Bench) -> None:
    for number in range(MOST_IN_WINDOW):
        admit(bench, f"198.51.{number}.1")

    with pytest.raises(Refusal, match="too many uploads"):
        admit(bench, "127.0.0.1")
    answer = bench.client.post(PATH, content=bench.envelope(), headers=OWN)
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "2")


def test_relay__uploads_at_once__are_bounded_by_number_and_by_bytes(bench: Bench) -> None:
    bench.most = 1 << 40
    bench.restart()
    with ExitStack() as open_ones:

        def begin(address: str, size: int = 500) -> None:
            open_ones.enter_context(bench.relay.admitted({**OWN, "content-length": str(size)}, address))

        for _ in range(MOST_UPLOADS_OF_ONE):
            begin("192.0.2.1")
        with pytest.raises(Refusal, match="at this moment"):
            begin("192.0.2.1")
        for number in range(MOST_UPLOADS - MOST_UPLOADS_OF_ONE):
            begin(f"198.51.{number}.1")
        with pytest.raises(Refusal, match="at this moment") as refused:
            begin("203.0.113.1")
        assert refused.value.status == 503
    admit(bench, "203.0.113.1")
    assert MOST_AT_ONCE >= 256 << 20


def test_relay__bytes_at_once__are_bounded(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relays, "MOST_AT_ONCE", 1000)
    with bench.relay.admitted({**OWN, "content-length": "600"}, "192.0.2.1"):
        with pytest.raises(Refusal, match="at this moment"):
            admit(bench, "192.0.2.2", 600)
        admit(bench, "192.0.2.2", 400)


def test_relay__full__says_so_also_after_a_restart_and_makes_room_in_time(bench: Bench) -> None:
    first, second = bench.envelope(), bench.envelope()
    bench.most = len(first) + 100
    bench.restart()
    assert bench.post(first)[0] == 201

    assert bench.post(second)[0] == 507
    bench.restart()
    status, said = bench.post(second)
    assert (status, "this relay is full" in said) == (507, True)

    bench.later(HOLD_SECONDS + 1)
    assert bench.post(second) == (201, str(root(second)))
    assert bench.pins() == [root(second)]


def submitted(bench: Bench, played: Played, number: int) -> bytes:
    """The envelope of a contribution of the played DAO, handed to the relay too."""
    submission = played.view.registry.contribution(number)
    cid = Cid.from_chain(submission.digest, submission.codec)
    sealed = played.view.store.read(cid, submission.size)
    assert bench.post(sealed) == (201, str(cid))
    return sealed


def test_relay__submitted__is_held_until_its_round_is_final(bench: Bench, played: Played) -> None:
    judged, waiting, forgotten = submitted(bench, played, 1), submitted(bench, played, 6), bench.envelope()
    assert bench.post(forgotten)[0] == 201
    assert len(bench.pins()) == 3

    bench.later(HOLD_SECONDS - 1)
    bench.relay.let_go()
    assert len(bench.pins()) == 3
    bench.later(LOOK_SECONDS)
    bench.restart()
    bench.relay.let_go()

    assert bench.pins() == [root(waiting)]
    assert root(judged) != root(waiting)


def test_relay__handed_in_again__is_held_longer(bench: Bench) -> None:
    sealed = bench.envelope()
    bench.post(sealed)
    bench.later(HOLD_SECONDS - 10)
    bench.post(sealed)
    bench.later(HOLD_SECONDS - 10)
    bench.relay.let_go()

    assert bench.pins() == [root(sealed)]


def test_relay__pinned_by_somebody_else_before__stays_theirs(bench: Bench) -> None:
    sealed = bench.envelope()
    bench.store.put(sealed)

    assert bench.post(sealed) == (201, str(root(sealed)))
    bench.later(HOLD_SECONDS + 1)
    bench.relay.let_go()

    assert bench.pins() == [root(sealed)]
    assert list((bench.folder / "relay").iterdir()) == []


def test_relay__killed_between_note_and_pin__the_next_try_stores_it(bench: Bench) -> None:
    sealed = bench.envelope()
    bench.post(sealed)
    bench.store.unpin(root(sealed))
    bench.restart()

    assert bench.post(sealed)[0] == 201
    assert bench.pins() == [root(sealed)]


def test_relay__a_store_that_is_full__is_told_and_nothing_is_remembered(bench: Bench, tmp_path: Path) -> None:
    bench.store = open_store(f"local:{tmp_path / 'small'}", quota=100)
    bench.restart()

    status, said = bench.post(bench.envelope())

    assert (status, "does not take the file now" in said) == (507, True)
    assert list((bench.folder / "relay").iterdir()) == []


def test_relay__a_chain_that_does_not_answer__holds_everything_and_takes_nothing(
    played: Played, tmp_path: Path
) -> None:
    line = Line([played.world.chain.url], 10.0)
    bench = Bench(over(played.view, line), tmp_path)
    sealed, another = bench.envelope(), bench.envelope()
    assert bench.post(sealed)[0] == 201
    bench.later(HOLD_SECONDS + 1)
    bench.restart()
    line.cut = True

    with pytest.raises(RpcFault):
        bench.relay.let_go()
    assert bench.post(another)[0] == 503
    assert bench.pins() == [root(sealed)]


def test_open_relay__a_home_with_keys__is_refused(played: Played) -> None:
    settings = played.world.home("validator-1").model_copy(update={"relay": True})

    with pytest.raises(RelayError, match="holds keys, and who signs takes no uploads"):
        open_relay(Source(played.view), settings)


def test_open_relay__content_that_can_only_be_read__is_refused(played: Played, tmp_path: Path) -> None:
    store = open_store("gateway:https://gateway.example")
    view = view_of(played.view.w3, played.view.deployment, store, played.view.finality)

    with pytest.raises(RelayError, match="can only be read: add kubo:URL or local:PATH"):
        open_relay(Source(view), load_settings(tmp_path, relay=True))
    assert open_relay(Source(view), load_settings(tmp_path)) is None


def test_held_files__another_process_has_them__is_refused_in_one_line(bench: Bench) -> None:
    with pytest.raises(HeldError, match=r"another process relays from .*: give each a home of its own"):
        HeldFiles(bench.folder / "relay", bench.store)


def test_relay__a_folder_that_cannot_be_written__is_told_without_its_name(bench: Bench) -> None:
    (bench.folder / "relay").rmdir()

    status, said = bench.post(bench.envelope())

    assert (status, str(bench.folder) in said) == (507, False)
    assert bench.pins() == []


def test_held_files__something_else_in_the_folder__is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "relay").mkdir()
    (tmp_path / "relay" / "notes.txt").write_text("mine")
    store = open_store(f"local:{tmp_path / 'store'}")
    assert isinstance(store, LayeredStore)

    with pytest.raises(HeldError, match=r"notes\.txt is not what this program wrote: move it away"):
        HeldFiles(tmp_path / "relay", store)


def test_pages__only_the_one_that_contributes__may_connect_and_only_here(client: TestClient) -> None:
    policies = {path: client.get(path).headers["content-security-policy"] for path in ("/", "/contribute", "/manifest")}

    assert "connect-src 'self'" in policies["/contribute"]
    assert "connect-src" not in policies["/"] + policies["/manifest"]
    assert all("default-src 'none'" in policy for policy in policies.values())
    assert not [policy for policy in policies.values() if "unsafe" in policy or "*" in policy]
