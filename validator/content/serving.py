"""What a validator hands to others: blocks of its own pins, one an answer, as a read-only trustless gateway.

Source: https://specs.ipfs.tech/http-gateways/trustless-gateway/, of which this serves raw blocks alone. Nothing is
fetched for anybody, nothing lists what is here, and a block that no pin reaches does not exist. This file decides;
sockets are the business of `validator.web.peer`.
"""

from __future__ import annotations

import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl

from validator.content.block import Block
from validator.content.cid import Cid
from validator.content.errors import BadBlock, BadCid, BadDag, ContentError, NotFound, TooLarge
from validator.content.gateway import RAW_BLOCK
from validator.content.local import LocalStore
from validator.content.unixfs import references

REFRESH_SECONDS = 1.0
"""Pins are looked at again no more often than this."""
_PATH = re.compile(r"/ipfs/([A-Za-z0-9]{46,64})", re.ASCII)
_IMMUTABLE = "public, max-age=29030400, immutable"


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer; `body` is empty for HEAD, whose Content-Length still tells."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(default=b"", repr=False)


class PinnedBlocks:
    """The blocks that pins of a local store reach. Safe to share between threads."""

    def __init__(self, store: LocalStore, clock: Callable[[], float] = time.monotonic) -> None:
        self._store, self._clock = store, clock
        self._guard = threading.Lock()
        self._reached: dict[Cid, frozenset[bytes]] = {}
        self._counts: Counter[bytes] = Counter()
        self._looked = float("-inf")

    def get(self, cid: Cid) -> Block:
        """The block, whatever codec it is asked under. Raises NotFound when no pin reaches it, BadBlock when rotten."""
        with self._guard:
            if self._clock() - self._looked >= REFRESH_SECONDS:
                self._refresh()
                self._looked = self._clock()
            if cid.digest not in self._counts:
                raise NotFound(f"{cid} is not pinned here")
        return self._store.get_block(cid)

    def _refresh(self) -> None:
        pins = set(self._store.pins())
        for gone in self._reached.keys() - pins:
            self._counts -= Counter(self._reached.pop(gone))
        for new in pins - self._reached.keys():
            try:
                reached = frozenset(part.digest for part in references(new, self._store.get_block))
            except (NotFound, BadBlock, BadDag, TooLarge):
                continue  # damaged: its blocks are nobody's until it is healed, and it is looked at again
            self._reached[new] = reached
            self._counts.update(reached)


def answer(blocks: PinnedBlocks, method: str, path: str, query: str, headers: Mapping[str, str]) -> Answer:
    """What to say to one request. `path` as it was sent, not decoded; `headers` in lower case."""
    if method not in ("GET", "HEAD"):
        return _words(405, "only GET and HEAD", {"Allow": "GET, HEAD"})
    found = _PATH.fullmatch(path)
    if found is None:
        return _words(404, "there is nothing here but /ipfs/CID?format=raw")
    formats = _formats(query)
    accepted = [part.split(";")[0].strip().lower() for part in headers.get("accept", "").split(",")]
    if formats not in ([], ["raw"]) or (not formats and RAW_BLOCK not in accepted):
        return _words(406, f"only single blocks are served: ?format=raw, or Accept: {RAW_BLOCK}")
    try:
        cid = Cid.parse(found.group(1))
    except BadCid as error:
        return _words(400, str(error))
    try:
        block = blocks.get(cid)
    except ContentError:
        return _words(404, "block not found")
    return _block(block, cid, headers, head=method == "HEAD")


def _formats(query: str) -> list[str]:
    try:
        return [value for key, value in parse_qsl(query, max_num_fields=8) if key == "format"]
    except ValueError:
        return ["too many fields"]


def _block(block: Block, cid: Cid, headers: Mapping[str, str], *, head: bool) -> Answer:
    tag = f'"{cid}.raw"'
    facts = {
        "Etag": tag,
        "Cache-Control": _IMMUTABLE,
        "X-Ipfs-Path": f"/ipfs/{cid}",
        "X-Ipfs-Roots": str(cid),
        "X-Content-Type-Options": "nosniff",
        "Vary": "Accept",
    }
    if tag in (part.strip().removeprefix("W/") for part in headers.get("if-none-match", "").split(",")):
        return Answer(304, facts)
    facts |= {
        "Content-Type": RAW_BLOCK,
        "Content-Length": str(len(block.data)),
        "Content-Disposition": f'attachment; filename="{cid}.bin"',
    }
    return Answer(200, facts, b"" if head else block.data)


def _words(status: int, message: str, more: Mapping[str, str] | None = None) -> Answer:
    body = f"{message}\n".encode("ascii", "replace")
    kind = {"Content-Type": "text/plain; charset=utf-8", "Content-Length": str(len(body))}
    return Answer(status, {**kind, "X-Content-Type-Options": "nosniff", **(more or {})}, body)
