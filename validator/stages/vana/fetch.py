"""Fetch: the bytes of a file into our own store, named by a CID from there on.

`ipfs://CID` is verified. A plain URL is not: what it serves may change, so the CID of what was seen goes into the
evidence, and the bytes (which are ciphertext) are kept for whoever audits it.
"""

from __future__ import annotations

from dataclasses import dataclass

from validator.content import Cid, FetchError
from validator.errors import ValidatorError
from validator.stages.vana.node import VanaNode
from validator.stages.vana.open import most_bytes

SCHEME = "ipfs://"


class BadUrl(ValidatorError):
    """The file is not where this node looks."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """A file in our store."""

    cid: Cid
    data: bytes


def fetch(node: VanaNode, url: str) -> Fetched:
    """The bytes behind `url`, pinned. Raises TooLarge, a verdict on verified content; BadUrl, ContentError."""
    limit = most_bytes(node.manifest)
    if url.startswith(SCHEME):
        cid = Cid.parse(url.removeprefix(SCHEME).strip("/"))
        data = node.store.read(cid, limit)
        node.store.pin(cid)
        return Fetched(cid, data)
    if not url.startswith(("https://", "http://")):
        raise BadUrl(f"the file's URL is neither ipfs:// nor https://: {url[:80]!r}")
    data = node.read_url(url, limit)
    if not data:
        raise FetchError("an empty answer")
    return Fetched(node.store.put(data), data)
