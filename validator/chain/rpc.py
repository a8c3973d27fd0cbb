"""The way to a chain: JSON-RPC over HTTP with a deadline and a size limit on every answer, and plain words for every
failure.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from web3 import Web3
from web3.exceptions import Web3Exception
from web3.middleware import ExtraDataToPOAMiddleware
from web3.providers.base import JSONBaseProvider
from web3.types import RPCEndpoint, RPCResponse

from validator import strict_json
from validator.chain.errors import Reverted, RpcFault, RpcRefusal, WrongChain
from validator.chain.reverts import decode_revert
from validator.chain.transport import TooLarge, Transport, TransportFault

# How far behind the best an endpoint may be and still be asked first.
STALE_BLOCKS = 8
# The endpoint itself, or a gate before it, is the matter: another one may well answer.
_UNWILLING = {401, 403, 408, 429, 500, 502, 503, 504}
# geth's code for a revert; others say it in the message only.
_REVERT_CODE = 3
_HEX = re.compile(r"0x[0-9a-fA-F]*")


def mask(url: str) -> str:
    """``url`` without what may be a secret: scheme, host and port only (keys travel in path, query or user part)."""
    parts = urlsplit(url)
    host = parts.hostname or "?"
    port = f":{parts.port}" if parts.port else ""
    hidden = "/…" if parts.path.strip("/") or parts.query or parts.username else ""
    return f"{parts.scheme}://{host}{port}{hidden}"


class Provider(JSONBaseProvider):
    """Speaks to ``urls`` in order: the first that answers is asked first from then on.

    ``timeout`` (seconds) covers one request to one endpoint as a whole. Raises RpcFault when none answers, RpcRefusal
    for an error answer and Reverted for a revert, so nothing above has to know JSON-RPC's or a client's error codes.
    Redirects are not followed: an answer from elsewhere is not this endpoint's.
    """

    def __init__(self, urls: Sequence[str], timeout: float) -> None:
        super().__init__()
        self._urls = list(urls)
        self._transport = Transport(timeout)

    def __str__(self) -> str:
        return " | ".join(mask(url) for url in self._urls)

    def make_request(self, method: RPCEndpoint, params: Any) -> RPCResponse:  # noqa: ANN401 - web3's signature
        """One request; see the class for what it raises."""
        body = self.encode_rpc_request(method, params)
        faults: list[str] = []
        for url in tuple(self._urls):
            try:
                answer = self._parse(self._post(url, method, body), url, method)
            except RpcRefusal:
                raise
            except RpcFault as fault:
                faults.append(str(fault))
                continue
            self._prefer(url)
            return answer
        raise RpcFault("; ".join(faults))

    def is_connected(self, show_traceback: bool = False) -> bool:
        """Whether any endpoint answers."""
        try:
            self.make_request(RPCEndpoint("web3_clientVersion"), [])
        except RpcFault:
            return False
        return True

    def freshen(self, chain_id: int | None = None) -> tuple[EndpointState, ...]:
        """Survey the endpoints and ask those that lag last from now on: one that answers may still be days behind.

        Call it now and then. Raises RpcFault if none answers, WrongChain if one is not on ``chain_id`` or two disagree.
        """
        urls = tuple(self._urls)
        states = survey(urls, self._transport.timeout)
        if all(state.fault is not None for state in states):
            raise RpcFault("; ".join(str(state.fault) for state in states))
        for state in states:
            wanted = chain_id if chain_id is not None else next(s.chain_id for s in states if s.fault is None)
            if state.fault is None and state.chain_id != wanted:
                raise WrongChain(f"{state.name} serves chain {state.chain_id}, not {wanted}: check the RPC addresses")
        best = max(state.head or 0 for state in states)
        lagging = {url for url, s in zip(urls, states, strict=True) if s.head is None or best - s.head > STALE_BLOCKS}
        self._urls = sorted(urls, key=lambda url: url in lagging)
        return states

    def _prefer(self, url: str) -> None:
        if self._urls[0] != url:
            self._urls = [url, *(other for other in self._urls if other != url)]

    def _post(self, url: str, method: str, body: bytes) -> bytes:
        try:
            status, raw = self._transport.post(url, body)
        except TooLarge as fault:
            raise RpcRefusal(f"{mask(url)}: {method}: {fault}", 0, str(fault)) from fault
        except TransportFault as fault:
            raise RpcFault(f"{mask(url)} failed at {method}: {fault}") from fault
        if status in _UNWILLING or (status != 200 and not raw.lstrip().startswith(b"{")):
            raise RpcFault(f"{mask(url)} answered {method} with HTTP status {status}")
        return raw

    def _parse(self, raw: bytes, url: str, method: str) -> RPCResponse:
        try:
            answer = strict_json.loads(raw)
        except ValueError as error:
            raise RpcFault(f"{mask(url)} answered {method} with something that is not JSON") from error
        if not isinstance(answer, dict) or ("result" not in answer and "error" not in answer):
            raise RpcFault(f"{mask(url)} answered {method} with neither a result nor an error")
        told = answer.get("error")
        if told is not None:
            raise _refusal(told if isinstance(told, dict) else {"message": str(told)}, url, method)
        response: RPCResponse = answer  # type: ignore[assignment]
        return response


def _refusal(error: dict[str, Any], url: str, method: str) -> Exception:
    code = error.get("code") if isinstance(error.get("code"), int) else 0
    reason = str(error.get("message", ""))[:500]
    # Clients put revert data in different places: a string, {"data": "0x.."}, or "Reverted 0x..".
    found = _HEX.search(json.dumps(error.get("data"))) if error.get("data") is not None else None
    if code == _REVERT_CODE or (method in {"eth_call", "eth_estimateGas"} and "revert" in reason.lower()):
        text = found.group()[2:] if found else ""
        return decode_revert(bytes.fromhex(text if len(text) % 2 == 0 else ""), reason)
    return RpcRefusal(f"{mask(url)} refused {method}: {reason} (code {code})", code or 0, reason)


@contextmanager
def understood(what: str) -> Iterator[None]:
    """Turn whatever web3 raises over an answer it cannot use, while reading ``what``, into RpcFault."""
    try:
        yield
    except (Web3Exception, ValueError, TypeError, KeyError, OverflowError) as error:
        raise RpcFault(f"the endpoint's answer about {what} makes no sense: {type(error).__name__}: {error}") from error


@dataclass(frozen=True, slots=True)
class EndpointState:
    """What one endpoint says of itself. ``name`` is its masked address; the rest is None where ``fault`` is not."""

    name: str
    chain_id: int | None
    head: int | None
    fault: str | None


def survey(urls: Sequence[str], timeout: float = 10.0) -> tuple[EndpointState, ...]:
    """Ask every endpoint for its chain id and its head, in the order given. Never raises."""
    return tuple(_ask(url, timeout) for url in urls)


def _ask(url: str, timeout: float) -> EndpointState:
    w3 = Web3(Provider([url], timeout))
    try:
        with understood("its chain id and head"):
            return EndpointState(mask(url), int(w3.eth.chain_id), int(w3.eth.block_number), None)
    except (RpcFault, Reverted) as fault:
        return EndpointState(mask(url), None, None, str(fault))


def connect(urls: str | Sequence[str], timeout: float = 10.0, chain_id: int | None = None) -> Web3:
    """A Web3 over one endpoint or several, the freshest first; ``timeout`` in seconds holds for each request as a
    whole.

    Raises RpcFault if no endpoint answers, WrongChain if one that answers is not on ``chain_id``, or if two disagree.
    """
    listed = [urls] if isinstance(urls, str) else list(urls)
    for url in listed:
        if urlsplit(url).scheme not in {"http", "https"} or not urlsplit(url).hostname:
            raise RpcFault(f"the RPC address {mask(url)} is not an http(s) URL")
    provider = Provider(listed, timeout)
    provider.freshen(chain_id)
    w3 = Web3(provider)
    # Chains sealed by an authority put more into extraData than web3 lets through otherwise.
    w3.middleware_onion.inject(ExtraDataToPOAMiddleware, layer=0)
    return w3
