"""Endpoints that are slow, large, silent, elsewhere, behind, or on another chain."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from validator.chain import transport
from validator.chain.devchain import DevChain
from validator.chain.endpoint import Endpoint
from validator.chain.errors import Reverted, RpcFault, RpcRefusal, WrongChain
from validator.chain.pool import Pool
from validator.chain.rpc import connect, mask, survey
from validator.chain.verdict import Condition

Answer = Callable[[BaseHTTPRequestHandler], None]


@contextmanager
def endpoint(answer: Answer) -> Iterator[str]:
    """A server on loopback that answers each POST with ``answer``."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self.asked = json.loads(body)
            answer(self)

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v2/secret-token"
    finally:
        server.shutdown()
        server.server_close()


def with_body(body: bytes, status: int = 200) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def with_json(value: object, status: int = 200) -> Answer:
    """The answer ``value``, under the number of the question unless it has one of its own."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        numbered = {"id": handler.asked["id"], **value} if isinstance(value, dict) else value
        with_body(json.dumps(numbered).encode(), status)(handler)

    return answer


def ask(url: str, timeout: float = 5.0) -> object:
    return Endpoint(url, timeout).ask("eth_call", [])


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://mainnet.example.org/v3/0123456789abcdef", "https://mainnet.example.org/…"),
        ("https://user:pass@node.example.org:8545", "https://node.example.org:8545/…"),
        ("https://node.example.org/?key=1", "https://node.example.org/…"),
        ("http://127.0.0.1:8545", "http://127.0.0.1:8545"),
    ],
)
def test_mask__url_with_a_token__shows_only_the_host(url: str, shown: str) -> None:
    assert mask(url) == shown


def test_request__nobody_listens__is_a_fault_without_the_token() -> None:
    with pytest.raises(RpcFault, match="connection refused") as caught:
        ask("http://127.0.0.1:9/v2/secret-token")
    assert "secret-token" not in str(caught.value)


@pytest.mark.parametrize("where", ["headers", "body", "nowhere"])
def test_request__answer_drips_or_hangs_beyond_the_deadline__is_a_fault_in_time(where: str) -> None:
    release = threading.Event()

    def drip(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n" + (b"\r\n" if where == "body" else b""))
        while not release.wait(0.05):
            if where != "nowhere":
                handler.wfile.write(b"x")
                handler.wfile.flush()

    with endpoint(drip) as url:
        begin = time.monotonic()
        with pytest.raises(RpcFault, match=r"(longer than|within) 0\.4 s|connection failed") as caught:
            ask(url, timeout=0.4)
        assert time.monotonic() - begin < 3
        release.set()
    assert "secret-token" not in str(caught.value)


def test_request__answer_too_large__is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "RESPONSE_LIMIT", 1000)
    with endpoint(with_json({"result": "0" * 2000})) as url, pytest.raises(RpcRefusal, match="larger than 1000 bytes"):
        ask(url)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (with_body(b"<html>"), "not JSON"),
        (with_body(b"[" * 100_000), "not JSON"),
        (with_json([]), "neither a result nor an error"),
        (with_json({}), "neither a result nor an error"),
        (with_json({"id": 77, "result": "0x"}), "the answer to another request"),
        (with_json({"id": None, "result": "0x"}), "the answer to another request"),
        (with_json({"error": {"code": 429, "message": "slow down"}}), "refused eth_call: slow down"),
        (with_json({"error": {"code": -32005, "message": "project ID request rate exceeded"}}), "request rate"),
        (with_json({"error": {"code": -32603, "message": "internal error"}}), "internal error"),
        (with_body(b"gateway", 502), "HTTP status 502"),
        (with_json({"error": {"code": 1, "message": "slow down"}}, 429), "HTTP status 429"),
        (with_body(b"", 301), "HTTP status 301"),
    ],
)
def test_request__nonsense__is_a_fault(answer: Answer, words: str) -> None:
    with endpoint(answer) as url, pytest.raises(RpcFault, match=words):
        ask(url)


NO = "0x08c379a0" + f"{32:064x}" + f"{2:064x}" + b"no".hex().ljust(64, "0")  # Error("no")


@pytest.mark.parametrize(
    "error",
    [
        {"code": 3, "message": "execution reverted", "data": NO},
        {"code": -32015, "message": "VM execution error: reverted", "data": f"Reverted {NO}"},
        {"code": -32603, "message": "revert", "data": {"data": NO}},
    ],
)
def test_request__revert_in_any_clients_dialect__is_decoded(error: object) -> None:
    with endpoint(with_json({"error": error})) as url, pytest.raises(Reverted, match="the contract refused: no"):
        ask(url)


def test_request__json_rpc_error__keeps_code_and_words() -> None:
    answer = with_json({"error": {"code": -32005, "message": "limit exceeded"}})
    with endpoint(answer) as url, pytest.raises(RpcRefusal, match="limit exceeded") as caught:
        ask(url)
    assert (caught.value.code, caught.value.reason) == (-32005, "limit exceeded")


def test_provider__first_endpoint_fails__the_next_answers_and_is_preferred(chain: DevChain) -> None:
    asked: list[str] = []

    def busy(handler: BaseHTTPRequestHandler) -> None:
        asked.append("busy")
        with_body(b"", 503)(handler)

    with endpoint(busy) as url:
        provider = Pool([url, chain.url], 5.0)
        for _ in range(3):
            assert provider.make_request("eth_chainId", [])["result"] == "0x7a69"  # type: ignore[arg-type]
    assert asked == ["busy"]


def test_connect__endpoint_far_behind__is_asked_last(chain: DevChain) -> None:
    chain.mine(30)
    with DevChain(block_seconds=0) as stale:
        w3 = connect([stale.url, chain.url])
        assert w3.eth.block_number == 30


def test_connect__another_chain_than_configured__is_refused(chain: DevChain) -> None:
    with pytest.raises(WrongChain, match=r"127\.0\.0\.1:\d+ serves chain 31337, not 1: check the RPC addresses"):
        connect(chain.url, chain_id=1)


def test_connect__two_endpoints_on_different_chains__is_refused(chain: DevChain) -> None:
    with DevChain(block_seconds=0, chain_id=5) as other, pytest.raises(WrongChain, match="serves chain 5, not 31337"):
        connect([chain.url, other.url])


@pytest.mark.parametrize("url", ["ftp://x", "localhost:8545", "", "http://"])
def test_connect__not_an_http_url__is_refused(url: str) -> None:
    with pytest.raises(RpcFault, match="is not an http"):
        connect(url)


def test_survey__one_of_two_is_down__tells_of_both(chain: DevChain) -> None:
    up, down = survey([chain.url, "http://127.0.0.1:9"], timeout=1.0)
    assert (up.condition, up.chain_id, up.head, up.reason) == (Condition.HEALTHY, 31337, 0, "")
    assert (down.condition, down.chain_id) == (Condition.FAILING, None)
    assert "connection refused" in down.reason


def test_read__result_of_the_wrong_shape__is_a_fault() -> None:
    with endpoint(with_json({"result": "0xzz"})) as url, pytest.raises(RpcFault):
        connect(url)
