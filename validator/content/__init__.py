"""Verified content: whatever the source, what comes out hashes to the CID that was asked for.

Blocks are fetched one by one, hashed before they are looked at, and the UnixFS DAG above them is walked with every
count bounded; so any untrusted source will do, and several are tried.
"""

from __future__ import annotations

from validator.content.block import MAX_BLOCK, Block
from validator.content.cid import Cid
from validator.content.errors import (
    BadBlock,
    BadCid,
    BadDag,
    BadStore,
    ContentError,
    Deadline,
    FetchError,
    Flood,
    NotFound,
    QuotaExceeded,
    TooLarge,
)
from validator.content.gateway import GatewaySource
from validator.content.health import SourceStatus
from validator.content.kubo import KuboStore
from validator.content.layered import LayeredStore
from validator.content.local import LocalStore
from validator.content.open import open_store, read_credentials
from validator.content.peers import peer_opener
from validator.content.store import ContentSource, Store
from validator.content.unixfs import root

__all__ = [
    "MAX_BLOCK",
    "BadBlock",
    "BadCid",
    "BadDag",
    "BadStore",
    "Block",
    "Cid",
    "ContentError",
    "ContentSource",
    "Deadline",
    "FetchError",
    "Flood",
    "GatewaySource",
    "KuboStore",
    "LayeredStore",
    "LocalStore",
    "NotFound",
    "QuotaExceeded",
    "SourceStatus",
    "Store",
    "TooLarge",
    "open_store",
    "peer_opener",
    "read_credentials",
    "root",
]
