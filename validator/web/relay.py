"""Puts sealed envelopes into the operator's IPFS node for contributors who have none. Off unless it is asked for.

It takes ciphertext from strangers, so every bound stands before the work: the request's head is judged before its body
is read, the envelope's head as soon as it is here, and nothing is stored that is not headed as one for this DAO's key.
What the relay holds is bounded in all; what nobody submits is let go, and so is what a final round has judged. It needs
no key, and is refused in a home that has one: whoever signs takes no uploads.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from ipaddress import ip_address, ip_network

import structlog

from validator.actions.home import has_keys
from validator.content import ContentError, LayeredStore, root
from validator.envelope import (
    FIXED,
    Context,
    EnvelopeError,
    Undecryptable,
    header_length,
    key_id,
    plaintext_size,
    read_head,
)
from validator.errors import ValidatorError
from validator.settings import Settings
from validator.web.answers.terms import now, why_not
from validator.web.held import Held, HeldError, HeldFiles
from validator.web.models import Relayed, RelayTerms
from validator.web.source import Source

log = structlog.get_logger("relay")

PATH = "/api/envelopes"
KIND = "application/octet-stream"
HOLD_SECONDS = 24 * 3600
"""What nobody has submitted after this is let go."""
TERMS = RelayTerms(path=PATH, hold_seconds=HOLD_SECONDS)
MOST_AT_ONCE = 256 << 20
"""Bytes of all uploads in progress together: they are in memory."""
MOST_UPLOADS, MOST_UPLOADS_OF_ONE = 8, 2
"""Uploads in progress, in all and from one address."""
MOST_HEADER = 1024
"""Bytes of an envelope's header: one recipient takes about 500."""
WINDOW_SECONDS = 600.0
MOST_IN_WINDOW, MOST_OF_ONE = 120, 12
"""Uploads begun within a window, in all and from one address. A proxy on this machine is not counted as one."""
LOOK_SECONDS = 60.0
"""What has run out is looked for no more often."""
UPLOAD_SECONDS, UPLOAD_RATE = 30.0, 50_000
"""An upload may take UPLOAD_SECONDS plus its bytes over UPLOAD_RATE a second."""


class RelayError(ValidatorError):
    """The relay cannot be offered as configured."""


class Refusal(ValidatorError):
    """One upload is not taken; `status` is HTTP's."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status


class Relay:
    """One DAO's relay. `most` in bytes held at once; `clock` in seconds, monotonic; `today` in Unix seconds."""

    def __init__(
        self,
        source: Source,
        held: HeldFiles,
        most: int,
        clock: Callable[[], float] = time.monotonic,
        today: Callable[[], float] = time.time,
    ) -> None:
        self._source, self._held, self._most = source, held, most
        self._clock, self._today = clock, today
        self._guard, self._storing = threading.Lock(), threading.Lock()
        self._begun: deque[tuple[float, str]] = deque()
        self._uploads: list[tuple[str, int]] = []
        self._looked = float("-inf")

    @property
    def coming(self) -> int:
        """Bytes of the uploads in progress."""
        with self._guard:
            return sum(size for _, size in self._uploads)

    @contextmanager
    def admitted(self, headers: Mapping[str, str], address: str) -> Iterator[int]:
        """Whether a body may be read, by the request's headers (names in lower case) and the peer's address alone;
        yields its size in bytes. Raises Refusal.
        """
        check_origin(headers)
        size, network = _size(headers), _network(address)
        self._count(network)
        limit = self._limit()
        if size > limit:
            raise Refusal(413, f"an envelope has at most {limit} bytes here, this one has {size}")
        self.let_go()
        with self._guard:
            self._check_room(network, size)
            self._uploads.append((network, size))
        try:
            yield size
        finally:
            with self._guard:
                self._uploads.remove((network, size))

    def check_head(self, data: bytes | bytearray, size: int) -> bool:
        """Whether the head of an envelope of `size` bytes is here yet; as soon as it is, it must be one for this DAO's
        key. Raises Refusal.
        """
        try:
            if len(data) < min(FIXED, size):
                return False
            length = header_length(bytes(data[:FIXED]), size)
            if length > MOST_HEADER:
                raise Refusal(
                    422, f"not an envelope that this relay takes: its header has more than {MOST_HEADER} bytes"
                )
            if len(data) < FIXED + length:
                return False
            head = read_head(bytes(data[: FIXED + length]))
            plaintext_size(size - head.size)
        except EnvelopeError as error:
            raise Refusal(422, f"not an envelope that this relay takes: {error}") from None
        self._check_context(head.header.context, [one.kid for one in head.header.recipients])
        return True

    def store(self, data: bytes | bytearray) -> Relayed:
        """Keep a whole envelope whose head was checked. Raises Refusal."""
        sealed = bytes(data)
        try:
            context = read_head(sealed).header.context
        except Undecryptable as error:
            raise AssertionError(f"internal error: an envelope was not checked: {error}") from None
        entry = Held(len(sealed), context.contributor, self._today() + HOLD_SECONDS)
        try:
            with self._storing:  # so that what is let go and what is put at the same time do not meet
                cid = self._held.put(root(sealed), sealed, entry)
        except (ContentError, HeldError) as fault:
            log.warning("an envelope could not be stored", error=str(fault))
            raise Refusal(
                507, "this relay's IPFS node does not take the file now; add it to a node of your own"
            ) from None
        log.info("relayed", cid=str(cid), size=len(sealed), contributor=context.contributor)
        return Relayed(cid=str(cid), size=len(sealed))

    def let_go(self) -> None:
        """Of what was not submitted in time, and of what a final round has judged. A chain that does not answer holds
        everything.
        """
        if self._clock() - self._looked < LOOK_SECONDS:
            return
        self._looked = self._clock()
        ledger = self._source.known().ledger
        registry = self._source.view.registry
        with self._storing:
            for cid, entry in self._held.expired(self._today()):
                number = registry.id_of(_checksummed(entry.contributor), cid.digest)
                state = ledger.round_of(number) if 0 < number <= len(ledger.submitted) else None
                if number and (state is None or state.final is None):
                    continue
                self._held.remove(cid)
                log.info("let go", cid=str(cid), contribution=number or None)

    def _limit(self) -> int:
        """Bytes of an envelope by the open round's manifest. Raises Refusal while none is open."""
        self._source.known()
        found = now(self._source)
        reason = why_not(found)
        if reason is not None:
            raise Refusal(409, f"nothing can be contributed now: {reason}")
        return min(self._source.manifest(found.manifest).limits.envelope_bytes, MOST_AT_ONCE)

    def _check_context(self, context: Context, kids: list[bytes]) -> None:
        deployment, found = self._source.view.deployment, now(self._source)
        if (context.chain_id, context.contract) != (deployment.chain_id, deployment.rounds.lower()):
            raise Refusal(422, "this envelope is sealed for another DAO")
        if context.key_epoch != found.epoch:
            raise Refusal(
                422, f"this envelope is sealed for key epoch {context.key_epoch}; the newest is {found.epoch}"
            )
        if kids != [key_id(found.key)]:
            raise Refusal(422, "this envelope is not sealed for the DAO's key alone")

    def _check_room(self, network: str, size: int) -> None:
        """Raise Refusal unless `size` more bytes may come."""
        coming = sum(taken for _, taken in self._uploads)
        of_one = sum(network == other for other, _ in self._uploads)
        if (
            len(self._uploads) >= MOST_UPLOADS
            or coming + size > MOST_AT_ONCE
            or (network and of_one >= MOST_UPLOADS_OF_ONE)
        ):
            raise Refusal(503, "too many uploads at this moment; try again soon")
        if self._held.size() + coming + size > self._most:
            raise Refusal(507, "this relay is full; add the file to a node of your own, or come back tomorrow")

    def _count(self, network: str) -> None:
        """Count an upload against its sender and against all. Raises Refusal."""
        moment = self._clock()
        with self._guard:
            while self._begun and self._begun[0][0] <= moment - WINDOW_SECONDS:
                self._begun.popleft()
            of_one = sum(network == other for _, other in self._begun)
            if (network and of_one >= MOST_OF_ONE) or len(self._begun) >= MOST_IN_WINDOW:
                raise Refusal(
                    429, "too many uploads in the last ten minutes; try again later, or use a node of your own"
                )
            self._begun.append((moment, network))


def open_relay(source: Source, settings: Settings) -> Relay | None:
    """The relay that the settings ask for; None if they ask for none. Raises RelayError."""
    if not settings.relay:
        return None
    if has_keys(settings):
        raise RelayError(
            f"{settings.home} holds keys, and who signs takes no uploads: run `validator web --relay` from a home, and "
            "with a content store, of its own"
        )
    store = source.view.store
    if not isinstance(store, LayeredStore) or not store.is_writable:
        raise RelayError("the relay stores what it takes, and `content` can only be read: add kubo:URL or local:PATH")
    return Relay(source, HeldFiles(settings.path("relay"), store), settings.relay_mib << 20)


def check_origin(headers: Mapping[str, str]) -> None:
    """Only our own page may post: browsers say where a request is from, and no script can change it. Raises Refusal."""
    origin, host = headers.get("origin", ""), headers.get("host", "")
    own = bool(host) and origin in (f"http://{host}", f"https://{host}")
    if not own or headers.get("sec-fetch-site", "same-origin") != "same-origin":
        raise Refusal(403, "only the page /contribute of this very server may hand envelopes to it")
    if headers.get("content-type", "") != KIND:
        raise Refusal(415, f"the body must be an envelope: {KIND}")


def _size(headers: Mapping[str, str]) -> int:
    text = headers.get("content-length", "")
    if "transfer-encoding" in headers or not (text.isascii() and text.isdigit() and len(text) < 16):
        raise Refusal(411, "say how many bytes will come, in Content-Length")
    return int(text)


def _network(address: str) -> str:
    """What counts as one sender: an IPv4 address, a /64 of IPv6; nothing for this machine, where a proxy may stand."""
    try:
        found = ip_address(address)
    except ValueError:
        return "unknown"
    if found.is_loopback:
        return ""
    return str(ip_network((found, 64), strict=False)) if found.version == 6 else str(found)


def _checksummed(address: str) -> str:
    from eth_utils.address import to_checksum_address

    return str(to_checksum_address(address))
