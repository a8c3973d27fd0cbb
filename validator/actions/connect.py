"""From settings to open resources: a wallet that sends, or a node that runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

import structlog
from web3 import Web3

from validator.actions.home import PROTECTION, account, attester, has_keys, hpke_secret
from validator.actions.transactions import MAIN, open_file, shared_transactions
from validator.chain.contracts.registry import ContributionRegistry
from validator.chain.contracts.token import Token
from validator.chain.deploy import load_deployment
from validator.chain.fees import GWEI, Policy
from validator.chain.follower import Finality, Follower, Watch
from validator.chain.rpc import connect
from validator.chain.sender import Sender
from validator.chain.shared_sender import ScopedSender
from validator.chain.signer import Signer
from validator.chain.types import Deployment
from validator.content import Store, open_store
from validator.errors import ValidatorError
from validator.journal import Journal, SigningProtection
from validator.settings import Settings
from validator.stages.backfill import Backfill
from validator.stages.node import Contracts, Identity, Node, Reader
from validator.stages.range_log import JournalledRanges
from validator.stages.transaction_log import JournalledTransactions

log = structlog.get_logger("connect")


class ConnectError(ValidatorError):
    """What the settings name cannot be opened."""


@dataclass(frozen=True, slots=True)
class View:
    """One DAO as anyone can see it, without a key."""

    w3: Web3
    deployment: Deployment
    contracts: Contracts
    registry: ContributionRegistry
    store: Store
    finality: Finality
    watch: Watch | None = field(default=None, kw_only=True)
    """Told how far the chain was read, when it is."""

    def token(self, address: str) -> Token:
        """The ERC-20 at `address`."""
        return Token(self.w3, address)

    def follower(self) -> Follower:
        """A fresh reader of the DAO's finalised events, from their beginning."""
        return Follower(self.w3, self.deployment, self.finality, watch=self.watch)


@dataclass(frozen=True, slots=True)
class Wallet(View):
    """The same with an account: what the steward, an operator and a contributor need to act."""

    signer: Signer
    sender: Sender


def finality_of(settings: Settings) -> Finality:
    """The chain's own tag, or a depth in blocks."""
    return "finalized" if settings.finality == "finalized" else int(settings.finality)


def policy_of(settings: Settings) -> Policy:
    """How the sender behaves: it looks for a receipt as often as the node looks at the chain, at most every second."""
    return Policy(
        fee_cap=settings.max_fee_gwei * GWEI,
        bump_seconds=settings.bump_seconds,
        poll_seconds=min(1.0, settings.poll_seconds),
        finality=finality_of(settings),
    )


def open_sender(
    settings: Settings, w3: Web3, signer: Signer, journal: Journal, readers: Sequence[Journal] | None = None
) -> Sender:
    """A journalled sender for the signer's key. `readers`: where the chain is read into, if not `journal`."""
    return Sender(w3, signer, JournalledTransactions(journal, readers), policy_of(settings))


def open_chain(settings: Settings) -> Web3:
    """The configured endpoints."""
    urls = settings.rpc_urls()
    if not urls:
        raise ConnectError("no RPC address is configured: set it with --rpc")
    for url in urls:
        try:
            _ = urlsplit(url).port
        except ValueError as error:
            raise ConnectError(f"an RPC address is not an http(s) URL ({error}): set it with --rpc") from None
    return connect(urls, settings.rpc_timeout, stale_blocks=settings.stale_blocks)


def open_journal(settings: Settings, name: str = MAIN) -> Journal:
    """This home's journal, made if there is none."""
    return open_file(settings.path(name))


def open_view(settings: Settings, watch: Watch | None = None) -> View:
    """The configured DAO, to look at."""
    w3 = open_chain(settings)
    deployment = load_deployment(w3, settings.entry())
    view = view_of(w3, deployment, open_store(settings.content_spec()), finality_of(settings))
    return replace(view, watch=watch)


def open_wallet(settings: Settings, watch: Watch | None = None) -> Wallet:
    """The home's account, ready to act on the configured DAO."""
    signer = account(settings)
    view = open_view(settings, watch)
    sender = open_sender(settings, view.w3, signer, shared_transactions(settings) or open_journal(settings))
    return wallet_of(view, signer, sender)


def view_of(w3: Web3, deployment: Deployment, store: Store, finality: Finality) -> View:
    """A view from open parts."""
    registry = ContributionRegistry(w3, deployment.registry)
    return View(w3, deployment, Contracts.of(w3, deployment), registry, store, finality)


def wallet_of(view: View, signer: Signer, sender: Sender) -> Wallet:
    """A wallet from a view and a key's sender."""
    parts = (view.w3, view.deployment, view.contracts, view.registry, view.store, view.finality)
    return Wallet(*parts, signer, sender, watch=view.watch)


def open_node(
    settings: Settings,
    *,
    dry_run: bool,
    progress: Callable[[int, int], None] | None = None,
    journal: Journal | None = None,
    quiet: bool = False,
) -> Node:
    """Everything that a running validator holds open. Without keys, or with `dry_run`, it signs and sends nothing.

    `journal` instead of the home's own; `quiet` where the caller gives the node an identity of its own.
    """
    w3 = open_chain(settings)
    deployment = load_deployment(w3, settings.entry())
    journal = journal or open_journal(settings)
    store = open_store(settings.content_spec())
    journal.bind(deployment.chain_id, deployment.rounds)
    reader, identity, transactions = None, None, None
    if has_keys(settings):
        signer, secret = account(settings), hpke_secret(settings)
        reader = Reader(signer.address, secret)
        if not dry_run:
            transactions = shared_transactions(settings)
            sender = open_sender(settings, w3, signer, transactions or journal, [journal])
            identity = Identity(
                operator=signer.address,
                hpke_secret=secret,
                signer=attester(settings, signer),
                sender=sender if transactions is None else ScopedSender(sender, deployment.rounds.lower()),
                protection=SigningProtection(settings.path(PROTECTION)),
            )
    if identity is None and not quiet:
        why = "asked for" if dry_run else "this home has no keys, so nothing can be opened or scored either"
        log.warning("dry run: this node signs and sends nothing", reason=why)
    backfill = Backfill()
    return Node(
        w3=w3,
        deployment=deployment,
        contracts=Contracts.of(w3, deployment),
        follower=Follower(
            w3, deployment, finality_of(settings), memory=JournalledRanges(journal), watch=backfill.reached
        ),
        backfill=backfill,
        journal=journal,
        store=store,
        reader=reader,
        identity=identity,
        transactions=transactions,
        stagger_seconds=settings.stagger_seconds,
        progress=progress,
    )
