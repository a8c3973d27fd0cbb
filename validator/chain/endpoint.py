"""One JSON-RPC endpoint: a question, and an answer that is whole, small enough, in time, and to that question."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from typing import Any
from urllib.parse import urlsplit

from web3 import Web3
from web3.types import RPCResponse

from validator import strict_json
from validator.chain.errors import RpcFault, RpcRefusal
from validator.chain.reverts import decode_revert
from validator.chain.transport import TooLarge, Transport, TransportFault

# The endpoint itself, or a gate before it, is the matter: another one may well answer.
_UNWILLING = {401, 403, 408, 429, 500, 502, 503, 504}
_RATE = re.compile(r"rate limit|request rate|too many requests|throttl|quota|over capacity", re.IGNORECASE)
_RATE_CODES = {429, -32029}
# geth's code for a revert; others say it in the message only.
_REVERT_CODE = 3
_INTERNAL_ERROR = -32603
_HEX = re.compile(r"0x[0-9a-fA-F]*")


def mask(url: str) -> str:
    """``url`` without what may be a secret: scheme, host and port only (keys travel in path, query or user part)."""
    parts = urlsplit(url)
    host = parts.hostname or "?"
    port = f":{parts.port}" if parts.port else ""
    hidden = "/…" if parts.path.strip("/") or parts.query or parts.username else ""
    return f"{parts.scheme}://{host}{port}{hidden}"


class Endpoint:
    """The endpoint at ``url``; ``timeout`` in seconds is for one request as a whole. Safe to use from several threads.

    ``name`` is the masked address, for people; ``key`` tells two endpoints with one name apart and reveals no token.
    """

    def __init__(self, url: str, timeout: float) -> None:
        self.name = mask(url)
        self.key = f"{self.name}#{hashlib.sha256(url.encode()).hexdigest()[:12]}"
        self._url = url
        self._transport = Transport(timeout)
        self._ids = itertools.count(1)

    def ask(self, method: str, params: Any) -> RPCResponse:  # noqa: ANN401 - web3's parameters
        """The answer to one request. Raises RpcFault when there is no usable one, RpcRefusal for an error answer and
        Reverted for a revert, so nothing above has to know JSON-RPC's or a client's error codes.
        """
        number = next(self._ids)
        request = {"jsonrpc": "2.0", "method": method, "params": params or [], "id": number}
        raw = self._post(method, Web3.to_json(request).encode())
        answer = self._parsed(raw, method)
        told = answer.get("error")
        # Whoever could not read the request cannot name its number either; any other answer must.
        if answer.get("id") != number and not (told is not None and answer.get("id") is None):
            raise RpcFault(f"{self.name} answered {method} with the answer to another request")
        if told is not None:
            raise self._refusal(told if isinstance(told, dict) else {"message": str(told)}, method)
        response: RPCResponse = answer  # type: ignore[assignment]
        return response

    def _post(self, method: str, body: bytes) -> bytes:
        try:
            status, raw = self._transport.post(self._url, body)
        except TooLarge as fault:
            raise RpcRefusal(f"{self.name}: {method}: {fault}", 0, str(fault)) from fault
        except TransportFault as fault:
            raise RpcFault(f"{self.name} failed at {method}: {fault}") from fault
        if status in _UNWILLING or (status != 200 and not raw.lstrip().startswith(b"{")):
            raise RpcFault(f"{self.name} answered {method} with HTTP status {status}")
        return raw

    def _parsed(self, raw: bytes, method: str) -> dict[str, Any]:
        try:
            answer = strict_json.loads(raw)
        except ValueError as error:
            raise RpcFault(f"{self.name} answered {method} with something that is not JSON") from error
        if not isinstance(answer, dict) or ("result" not in answer and "error" not in answer):
            raise RpcFault(f"{self.name} answered {method} with neither a result nor an error")
        return answer

    def _refusal(self, error: dict[str, Any], method: str) -> Exception:
        code = error.get("code") if isinstance(error.get("code"), int) else 0
        reason = str(error.get("message", ""))[:500]
        # Clients put revert data in different places: a string, {"data": "0x.."}, or "Reverted 0x..".
        found = _HEX.search(json.dumps(error.get("data"))) if error.get("data") is not None else None
        if code == _REVERT_CODE or (method in {"eth_call", "eth_estimateGas"} and "revert" in reason.lower()):
            text = found.group()[2:] if found else ""
            return decode_revert(bytes.fromhex(text if len(text) % 2 == 0 else ""), reason)
        message = f"{self.name} refused {method}: {reason} (code {code})"
        # What is wrong with the endpoint and not with the question, another endpoint may answer. A log query that is
        # too large is called an internal error by some: that one is for the asker to make smaller.
        if code in _RATE_CODES or _RATE.search(reason) or (code == _INTERNAL_ERROR and method != "eth_getLogs"):
            return RpcFault(message)
        return RpcRefusal(message, code or 0, reason)
