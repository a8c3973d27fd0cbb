"""A signer on another machine, spoken to by Web3Signer's eth1 API. The key never comes here.

    GET  /upcheck                    200 when it works
    GET  /api/v1/eth1/publicKeys     ["0x" + 128 hex digits, ...]: the keys that it holds
    POST /api/v1/eth1/sign/{key}     {"data": "0x.."} -> "0x" + r, s, v: a signature over keccak256(data)

That one call signs both things that a validator signs, because both are a keccak256 of known bytes: a transaction
(0x02 || rlp of its fields, EIP-1559) and typed data (0x1901 || domain || struct, EIP-712).

Nothing that it answers is believed: a signature is used only if it recovers to the address that was configured.
Sources: the OpenAPI document of Web3Signer's eth1 mode, EIP-1559, EIP-712, EIP-2.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

import rlp  # type: ignore[import-untyped]
from eth_account import Account
from eth_keys.datatypes import PublicKey
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak
from hexbytes import HexBytes

from validator import strict_json
from validator.chain.errors import SignerFault
from validator.chain.transport import Transport, TransportFault
from validator.chain.typed_data import TypedData, recover

# A signature is 134 bytes as JSON, a public key 133: room for some thousand keys and for the words of an error.
ANSWER_LIMIT = 1 << 20
SECRET_LIMIT = 4096
_PUBLIC_KEY = re.compile(r"(0x)?(04)?[0-9a-fA-F]{128}")
_EIP_1559 = b"\x02"
_KEYS, _SIGN, _UP = "/api/v1/eth1/publicKeys", "/api/v1/eth1/sign/", "/upcheck"
# Above half of the curve's order a signature has a twin; chain and contracts refuse it (EIP-2).
_HALF_ORDER = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0
_CURES = {
    400: "is it Web3Signer's eth1 mode?",
    401: "check signer_token_file",
    403: "check signer_token_file, and what the signer allows this node to sign",
    404: "it does not hold the key",
}


@dataclass(frozen=True, slots=True)
class RemoteAccess:
    """Where a remote signer is and how it knows us. ``timeout`` in seconds for one request as a whole.

    ``token_file`` holds one line that is sent as a bearer token, ``ca_file`` the authorities to trust instead of the
    system's, ``certificate_file`` our client certificate and its key (PEM).
    """

    url: str
    timeout: float = 10.0
    token_file: Path | None = None
    ca_file: Path | None = None
    certificate_file: Path | None = None


class RemoteSigner:
    """Signs with the key of ``address`` that a remote signer holds. Nothing is asked before the first signature."""

    def __init__(self, access: RemoteAccess, address: str) -> None:
        """Raises SignerFault for an address that is no safe URL, or for files that cannot be read."""
        self._root = _checked_url(access.url)
        self._address = str(to_checksum_address(address))
        self._headers = _authorisation(access.token_file)
        for file in (access.ca_file, access.certificate_file):
            if file is not None:
                _read(file.expanduser(), 1 << 20)
        self._transport = Transport(
            access.timeout,
            limit=ANSWER_LIMIT,
            ca_file=_text(access.ca_file),
            certificate=_text(access.certificate_file),
        )
        self._key: str | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._address} at {self.name})"

    @property
    def name(self) -> str:
        """How messages call it: host and port."""
        return urlsplit(self._root).netloc

    @property
    def address(self) -> str:
        """The checksummed address of the key."""
        return self._address

    def sign_transaction(self, transaction: Mapping[str, Any]) -> bytes:
        """The raw signed transaction (EIP-2718). Raises SignerFault."""
        fields = _fields(transaction)
        signature = self._sign(_EIP_1559 + rlp.encode(fields))
        r, s = (int.from_bytes(part, "big") for part in (signature[:32], signature[32:64]))
        raw = _EIP_1559 + bytes(rlp.encode([*fields, signature[64] - 27, r, s]))
        if Account.recover_transaction(raw) != self._address:  # the library's reading of it, not only ours
            raise SignerFault("internal error: the signed transaction does not recover to its sender")
        return raw

    def sign_typed_data(self, data: TypedData) -> bytes:
        """65 bytes: r, s, v. Not always the same for the same message: that is up to the signer. Raises SignerFault."""
        signable = data.signable
        return self._sign(b"\x19" + signable.version + signable.header + signable.body)

    def check(self) -> None:
        """Raise SignerFault unless the signer works and holds our key."""
        self._ask("GET", _UP)
        self._key = None
        self._identifier()

    def _sign(self, data: bytes) -> bytes:
        body = json.dumps({"data": "0x" + data.hex()}).encode()
        try:
            raw = self._ask("POST", _SIGN + self._identifier(), body)
        except SignerFault:
            self._key = None  # looked up anew the next time: it may have been loaded under another name
            raise
        signature = _signature_of(raw)
        if signature is None:
            raise SignerFault(f"the signer {self.name} answered with something that is no signature: {_shown(raw)}")
        if recover(keccak(data), signature) != self._address:
            raise SignerFault(f"the signer {self.name} signed with another key than that of {self._address}: not used")
        return signature

    def _identifier(self) -> str:
        if self._key is None:
            self._key = self._find()
        return self._key

    def _find(self) -> str:
        raw = self._ask("GET", _KEYS)
        try:
            listed = strict_json.loads(raw)
        except ValueError:
            listed = None
        if not isinstance(listed, list):
            raise SignerFault(f"the signer {self.name} has no list of keys at {_KEYS}: is it Web3Signer's eth1 mode?")
        for key in listed:
            if _address_of(key) == self._address:
                return str(key)
        raise SignerFault(
            f"the signer {self.name} holds {len(listed)} keys, none of them of {self._address}: load the key there, or "
            "correct signer_address"
        )

    def _ask(self, method: str, path: str, body: bytes | None = None) -> bytes:
        try:
            status, raw = self._transport.request(method, self._root + path, body, self._headers)
        except TransportFault as fault:
            raise SignerFault(f"the signer {self.name} failed: {fault}") from fault
        if status != 200:
            cure = _CURES.get(status, "see its own log")
            raise SignerFault(f"the signer {self.name} answered {method} {path[:22]} with HTTP status {status}: {cure}")
        return raw


def _fields(transaction: Mapping[str, Any]) -> list[Any]:
    """What an EIP-1559 transaction without access list signs, in its order."""
    if transaction.get("type") != 2 or transaction.get("accessList"):
        raise SignerFault("internal error: only EIP-1559 transactions without access list are signed remotely")
    names = ("chainId", "nonce", "maxPriorityFeePerGas", "maxFeePerGas", "gas")
    recipient = bytes(HexBytes(transaction.get("to") or b""))
    return [*(int(transaction[n]) for n in names), recipient, int(transaction["value"]), transaction["data"], []]


def _signature_of(raw: bytes) -> bytes | None:
    """r, s, v (27 or 28) of an answer, bare or as a JSON string; None if it is no canonical signature."""
    text = raw.strip().strip(b'"')
    try:
        signature = bytes.fromhex(text.decode("ascii").removeprefix("0x"))
    except ValueError:
        return None
    if len(signature) != 65 or signature[64] not in (0, 1, 27, 28):
        return None
    if int.from_bytes(signature[32:64], "big") > _HALF_ORDER:
        return None
    return signature[:64] + bytes([signature[64] % 27 + 27])


def _address_of(key: object) -> str | None:
    """The address of a public key as the signer lists it; None for what is none, or has no safe name."""
    if not isinstance(key, str) or not _PUBLIC_KEY.fullmatch(key):
        return None
    return str(PublicKey(bytes.fromhex(key[-128:])).to_checksum_address())


def _checked_url(url: str) -> str:
    try:
        parts = urlsplit(url.strip())
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        raise SignerFault("signer_url is not a URL: expected https://HOST:PORT") from None
    if not sound:
        raise SignerFault("signer_url is not a URL: expected https://HOST:PORT")
    if parts.username is not None or parts.password is not None:
        raise SignerFault("signer_url holds a password: give a token by signer_token_file instead")
    if parts.query or parts.fragment:
        raise SignerFault("signer_url must end with its path: no ? and no #")
    if parts.scheme == "http" and not _is_loopback(parts):
        raise SignerFault(f"plain http to {parts.hostname}: anyone on the way could have things signed; use https")
    return url.strip().rstrip("/")


def _is_loopback(parts: SplitResult) -> bool:
    try:
        return ipaddress.ip_address(parts.hostname or "").is_loopback
    except ValueError:
        return parts.hostname == "localhost"


def _authorisation(file: Path | None) -> dict[str, str]:
    if file is None:
        return {}
    token = _read(file.expanduser(), SECRET_LIMIT).strip()
    if not token or not token.isascii() or any(byte <= 32 for byte in token):
        raise SignerFault(f"{file} holds no token: one line of visible ASCII")
    return {"Authorization": f"Bearer {token.decode()}"}


def _read(file: Path, limit: int) -> bytes:
    try:
        with file.open("rb") as stream:
            raw = stream.read(limit + 1)
    except OSError as error:
        raise SignerFault(f"{file} cannot be read: {error.strerror}") from None
    if len(raw) > limit:
        raise SignerFault(f"{file} is larger than {limit} bytes: it cannot be what is meant")
    return raw


def _text(file: Path | None) -> str | None:
    return None if file is None else str(file.expanduser())


def _shown(raw: bytes) -> str:
    return repr("".join(c for c in raw[:60].decode("ascii", "replace") if c.isprintable()))
