"""A JSON-RPC endpoint that misbehaves on demand: it stands between a node and a real chain, and is seeded.

`plan` says with which probability each fault strikes a request that it can strike; `counts` how often each has. What a
fault does to a request or an answer is one small function below; each is a thing that somebody's endpoint has done.
"""

from __future__ import annotations

import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

import urllib3
from eth_utils.crypto import keccak

from validator.chain import transport

Json = dict[str, Any]
HANG_SECONDS = 10.0


class Proxy:
    """One endpoint at `url` before the chain at `upstream`. Use as a context manager."""

    def __init__(self, upstream: str, seed: int = 0) -> None:
        self.plan: dict[str, float] = {}
        self.behind = 0
        self.narrow = 3
        self.counts: Counter[str] = Counter()
        self.asked: Counter[str] = Counter()
        self._upstream = upstream
        self._rng = random.Random(seed)
        self._lock = threading.Lock()
        self._http = urllib3.PoolManager(maxsize=8, retries=False)
        self._released = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1/secret-token"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)
        self._http.clear()

    def only(self, **plan: float) -> None:
        """These faults from now on, and no others."""
        unknown = plan.keys() - FAULTS.keys()
        assert not unknown, f"no such fault: {unknown}"
        self.plan = plan

    def answer(self, request: Json) -> bytes | None:
        """The bytes of the answer; None to hang up without one."""
        self.asked[request["method"]] += 1
        struck = [name for name in self.plan if self._strikes(name, request)]
        for name in struck:
            early = FAULTS[name].early(self, request)
            if early is not NOTHING:
                return early
        answer = json.loads(self._forward(request))
        for name in struck:
            FAULTS[name].late(self, request, answer)
        raw = json.dumps(answer).encode()
        for name in struck:
            raw = FAULTS[name].bytes(self, raw)
        return raw

    def hang(self) -> None:
        """Say nothing, for longer than anyone waits."""
        self._released.wait(HANG_SECONDS)

    def number_behind(self) -> int:
        """The head as an endpoint that is `behind` sees it."""
        return max(0, int(self.ask("eth_blockNumber"), 16) - self.behind)

    def ask(self, method: str, *params: Any) -> Any:
        """The chain's own answer."""
        return json.loads(self._forward({"jsonrpc": "2.0", "id": 1, "method": method, "params": list(params)}))[
            "result"
        ]

    def _strikes(self, name: str, request: Json) -> bool:
        if not FAULTS[name].strikes(request):
            return False
        with self._lock:
            hit = self._rng.random() < self.plan[name]
            self.counts[name] += hit
        return hit

    def _forward(self, request: Json) -> bytes:
        body = json.dumps(request).encode()
        return self._http.request("POST", self._upstream, body=body, headers={"Content-Type": "application/json"}).data


NOTHING = object()


class Fault:
    """A fault of every method's answer, unless `methods` names some. Does nothing yet."""

    methods: frozenset[str] = frozenset()

    def strikes(self, request: Json) -> bool:
        return not self.methods or request["method"] in self.methods

    def early(self, proxy: Proxy, request: Json) -> Any:
        """An answer in place of the chain's, or NOTHING; may change the request."""
        return NOTHING

    def late(self, proxy: Proxy, request: Json, answer: Json) -> None:
        """Change the chain's answer."""

    def bytes(self, proxy: Proxy, raw: bytes) -> bytes:
        """Change its bytes."""
        return raw


def refusal(request: Json, code: int, message: str) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": request["id"], "error": {"code": code, "message": message}}).encode()


class Error(Fault):
    """An internal error in JSON-RPC's words."""

    def early(self, proxy: Proxy, request: Json) -> Any:
        return refusal(request, -32603, "internal error: upstream is not available")


class Busy(Fault):
    def early(self, proxy: Proxy, request: Json) -> Any:
        return refusal(request, 429, "too many requests, slow down")


class Hang(Fault):
    def early(self, proxy: Proxy, request: Json) -> Any:
        proxy.hang()


class Cut(Fault):
    def early(self, proxy: Proxy, request: Json) -> Any:
        return None


class Truncated(Fault):
    def bytes(self, proxy: Proxy, raw: bytes) -> bytes:
        return raw[: len(raw) // 2]


class Garbage(Fault):
    def bytes(self, proxy: Proxy, raw: bytes) -> bytes:
        return b"\x00\xff[[[" + raw


class Oversize(Fault):
    def bytes(self, proxy: Proxy, raw: bytes) -> bytes:
        return raw[:-1] + b" " * transport.RESPONSE_LIMIT + b"}"


class WrongId(Fault):
    def late(self, proxy: Proxy, request: Json, answer: Json) -> None:
        answer["id"] = request["id"] + 1


class Drop(Fault):
    """Accepts a transaction and forgets it."""

    methods = frozenset({"eth_sendRawTransaction"})

    def early(self, proxy: Proxy, request: Json) -> Any:
        hash_ = "0x" + keccak(bytes.fromhex(request["params"][0][2:])).hex()
        return json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": hash_}).encode()


class Narrow(Fault):
    """Refuses log queries of more than `proxy.narrow` blocks."""

    methods = frozenset({"eth_getLogs"})

    def early(self, proxy: Proxy, request: Json) -> Any:
        wanted = request["params"][0]
        if int(wanted["toBlock"], 16) - int(wanted["fromBlock"], 16) + 1 > proxy.narrow:
            return refusal(request, -32005, f"query exceeds max block range {proxy.narrow}")
        return NOTHING


class Ahead(Fault):
    """Claims a head that nobody has reached."""

    methods = frozenset({"eth_blockNumber"})

    def late(self, proxy: Proxy, request: Json, answer: Json) -> None:
        answer["result"] = hex(int(answer["result"], 16) + 1_000)


class Behind(Fault):
    """Serves, validly, the chain as it was `proxy.behind` blocks ago."""

    def early(self, proxy: Proxy, request: Json) -> Any:
        request["params"] = [self._older(proxy, p) if p in ("latest", "pending") else p for p in request["params"]]
        if request["method"] in ("eth_call", "eth_estimateGas") and len(request["params"]) == 1:
            request["params"].append(hex(proxy.number_behind()))
        return NOTHING

    def late(self, proxy: Proxy, request: Json, answer: Json) -> None:
        found, head = answer.get("result"), proxy.number_behind()
        if request["method"] == "eth_blockNumber":
            answer["result"] = hex(head)
        elif request["method"] == "eth_getBlockByNumber" and found and int(found["number"], 16) > head:
            answer["result"] = proxy.ask("eth_getBlockByNumber", hex(head), False) if _is_tag(request) else None
        elif request["method"] == "eth_getTransactionReceipt" and found and int(found["blockNumber"], 16) > head:
            answer["result"] = None

    def _older(self, proxy: Proxy, _tag: str) -> str:
        return hex(proxy.number_behind())


class NonceAhead(Fault):
    methods = frozenset({"eth_getTransactionCount"})

    def late(self, proxy: Proxy, request: Json, answer: Json) -> None:
        answer["result"] = hex(int(answer["result"], 16) + 3)


class NonceBehind(Fault):
    methods = frozenset({"eth_getTransactionCount"})

    def late(self, proxy: Proxy, request: Json, answer: Json) -> None:
        answer["result"] = hex(max(0, int(answer["result"], 16) - 2))


class OtherChain(Fault):
    methods = frozenset({"eth_chainId"})

    def late(self, proxy: Proxy, request: Json, answer: Json) -> None:
        answer["result"] = "0x5"


class OtherHash(Fault):
    """Shows other blocks than everyone else, consistently."""

    methods = frozenset({"eth_getBlockByNumber", "eth_getLogs"})

    def late(self, proxy: Proxy, request: Json, answer: Json) -> None:
        if request["method"] == "eth_getBlockByNumber" and answer.get("result"):
            answer["result"]["hash"] = _other(answer["result"]["hash"])
        for log in answer["result"] if request["method"] == "eth_getLogs" and "result" in answer else ():
            log["blockHash"] = _other(log["blockHash"])


class LogsAdded(Fault):
    """Adds a log of a contract that nobody asked about."""

    methods = frozenset({"eth_getLogs"})

    def late(self, proxy: Proxy, request: Json, answer: Json) -> None:
        if answer.get("result"):
            answer["result"].append({**answer["result"][-1], "address": "0x" + "66" * 20, "logIndex": "0xfff"})


class LogsMoved(Fault):
    """Sends a log from outside of the range."""

    methods = frozenset({"eth_getLogs"})

    def late(self, proxy: Proxy, request: Json, answer: Json) -> None:
        if answer.get("result"):
            answer["result"].append({**answer["result"][-1], "blockNumber": "0xffffff"})


class Fees(Fault):
    """Tells of fees a thousand times what they are."""

    methods = frozenset({"eth_getBlockByNumber"})

    def late(self, proxy: Proxy, request: Json, answer: Json) -> None:
        if answer.get("result") and _is_tag(request):
            answer["result"]["baseFeePerGas"] = hex(int(answer["result"]["baseFeePerGas"], 16) * 1_000 + 10**13)


def _is_tag(request: Json) -> bool:
    return not str(request["params"][0]).startswith("0x")


def _other(hash_: str) -> str:
    return hash_[:-2] + f"{int(hash_[-2:], 16) ^ 1:02x}"


FAULTS: dict[str, Fault] = {
    "error": Error(),
    "busy": Busy(),
    "hang": Hang(),
    "cut": Cut(),
    "truncated": Truncated(),
    "garbage": Garbage(),
    "oversize": Oversize(),
    "wrong_id": WrongId(),
    "drop": Drop(),
    "narrow": Narrow(),
    "ahead": Ahead(),
    "behind": Behind(),
    "nonce_ahead": NonceAhead(),
    "nonce_behind": NonceBehind(),
    "other_chain": OtherChain(),
    "other_hash": OtherHash(),
    "logs_added": LogsAdded(),
    "logs_moved": LogsMoved(),
    "fees": Fees(),
}


def _handler(proxy: Proxy) -> Callable[..., BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            raw = proxy.answer(request)
            if raw is None:
                self.close_connection = True
                return
            self.wfile.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(raw) + raw
            )

        def log_message(self, *args: object) -> None:
            pass

        def handle_one_request(self) -> None:
            try:
                super().handle_one_request()
            except OSError:  # the node has hung up, as it may
                self.close_connection = True

    return Handler


def wait(condition: Callable[[], bool], seconds: float) -> None:
    """Until `condition` holds; fails after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come about in time"
        time.sleep(0.2)
