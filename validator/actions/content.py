"""`validator content` and `validator announce`: what is held and pinned, where it is had from, and what can go."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any

from validator.actions.connect import Wallet, open_journal, open_node
from validator.actions.transactions import MAIN
from validator.content import Cid, ContentError, LayeredStore, LocalStore, NotFound, peer_opener
from validator.content.addresses import peer_url
from validator.content.gateway import GatewaySource
from validator.content.kubo import KuboStore
from validator.errors import ValidatorError
from validator.settings import Settings
from validator.stages import peers, release
from validator.stages.node import Node

_NOBODY = Cid.of("raw", b"validator content status: a block that nobody has")


class ContentCommandError(ValidatorError):
    """The command cannot do this here."""


@dataclass(frozen=True, slots=True)
class SourceCheck:
    """One source, asked now. `answer`: what it said, in words; `seconds` it took."""

    name: str
    ok: bool
    answer: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Holdings:
    """The embedded store. Bytes; `pins` is the number of pinned files."""

    used: int
    quota: int
    pins: int


@dataclass(frozen=True, slots=True)
class ContentStatus:
    """What `validator content status` tells. `announced`: this operator's URL on chain; `refused`: peers not used, with
    the reason, by operator.
    """

    local: Holdings | None
    sources: tuple[SourceCheck, ...]
    announced: str
    refused: dict[str, str]
    rounds_to_release: tuple[int, ...]

    @property
    def ok(self) -> bool:
        """Whether every configured source answered; peers may come and go."""
        return all(source.ok for source in self.sources if not source.name.startswith("peer:"))

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {**asdict(self), "ok": self.ok}


@dataclass(frozen=True, slots=True)
class Collected:
    """What `validator content gc` did, or would do. `pins`: CIDs let go of, by round; `freed` bytes."""

    pins: dict[int, tuple[str, ...]]
    freed: int
    used: int


def status(settings: Settings) -> ContentStatus:
    """Ask every source, and count what is held. Rounds and peers are the journal's. Changes nothing."""
    node = _open(settings)
    store = _layered(node)
    own = node.reader.operator.lower() if node.reader is not None else ""
    urls = peers.announced({name: node.chronicle.facts(name) for name in peers.FACTS})
    used = peers.in_turn(urls, own) if settings.peers else {}
    refused = store.set_peers(used, peer_opener(private=settings.private_peers))
    local = store.local
    return ContentStatus(
        local=Holdings(local.usage(), local.quota, len(local.pins())) if local is not None else None,
        sources=tuple(_check(source) for source in store.sources()),
        announced=urls.get(own, ""),
        refused=refused,
        rounds_to_release=tuple(due.round for due in release.plan(node)),
    )


def collect(settings: Settings, *, dry_run: bool, grace: float = 3600.0) -> Collected:
    """Unpin what settled rounds no longer need and sweep what nothing pins, except for what is younger than `grace`
    seconds. Safe beside a running node, and after a kill at any instant.
    """
    node = _open(settings)
    if node.journal.mark() is None:
        raise ContentCommandError("this home has not followed the chain yet: start `validator run` first")
    store = _layered(node)
    due = list(release.plan(node))
    pins = {one.round: tuple(str(cid) for cid in one.cids if _is_pinned(store, cid)) for one in due}
    freed = 0
    if not dry_run:
        for one in due:
            for cid in one.cids:
                store.unpin(cid)
        freed = release.sweep(node, grace)
    return Collected(pins, freed, store.local.usage() if store.local is not None else 0)


def announce(wallet: Wallet, url: str, *, private: bool) -> None:
    """Say on chain where this operator serves its pins; an empty `url` takes it back.

    Raises BadStore for a URL that the other validators would not use.
    """
    if url:
        peer_url(url, private=private)
    address = wallet.signer.address
    if not any(wallet.contracts.validators.validator(address).hpke_key):
        raise ContentCommandError(f"{address} is not a validator: join first")
    wallet.sender.send(wallet.contracts.validators.announce(url), intent=f"announce/{time.time_ns()}")


def _open(settings: Settings) -> Node:
    """The node of one DAO, with the journal that it has in a home of several."""
    own = f"journal-{settings.entry().lower()}.sqlite"
    name = own if settings.path(own).exists() else MAIN
    return open_node(settings, dry_run=True, quiet=True, journal=open_journal(settings, name))


def _layered(node: Node) -> LayeredStore:
    assert isinstance(node.store, LayeredStore), "internal error: a node is opened with a layered store"
    return node.store


def _is_pinned(store: LayeredStore, cid: Cid) -> bool:
    return store.local is None or store.local.is_pinned(cid)


def _check(source: object) -> SourceCheck:
    """Ask a source for something that nobody has: whoever says so politely works."""
    assert isinstance(source, LocalStore | KuboStore | GatewaySource)
    started = time.monotonic()
    ok, answer = True, "answers"
    try:
        if isinstance(source, KuboStore):
            answer = f"version {source.version()}"
        elif isinstance(source, LocalStore):
            source.pins()
        else:
            source.get_block(_NOBODY)
    except ContentError as error:
        ok = isinstance(error, NotFound)
        answer = answer if ok else str(error)
    return SourceCheck(source.name, ok, answer, round(time.monotonic() - started, 3))
