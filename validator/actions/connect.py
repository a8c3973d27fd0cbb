"""From settings to open resources: a wallet that sends, or a node that runs."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from urllib.parse import urlsplit

import structlog
from web3 import Web3

from validator.actions.home import PROTECTION, account, has_keys, hpke_secret
from validator.chain.contracts.registry import ContributionRegistry
from validator.chain.contracts.token import Token
from validator.chain.deploy import load_deployment
from validator.chain.fees import GWEI, Policy
from validator.chain.follower import Finality, Follower
from validator.chain.rpc import connect
from validator.chain.sender import Sender
from validator.chain.signer import Signer
from validator.chain.types import Deployment
from validator.content import Store, open_store
from validator.errors import ValidatorError
from validator.influence.engine import IN_PROCESS, Engine
from validator.journal import Journal, SigningProtection
from validator.rounds.score import Progress
from validator.settings import Settings
from validator.stages.node import Contracts, Identity, Node, Reader
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

    def token(self, address: str) -> Token:
        """The ERC-20 at `address`."""
        return Token(self.w3, address)

    def follower(self) -> Follower:
        """A fresh reader of the DAO's finalised events, from their beginning."""
        return Follower(self.w3, self.deployment, self.finality)


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
        poll_seconds=min(1.0, settings.poll_seconds),
        finality=finality_of(settings),
    )


def open_sender(settings: Settings, w3: Web3, signer: Signer, journal: Journal) -> Sender:
    """A journalled sender for the signer's key."""
    return Sender(w3, signer, JournalledTransactions(journal), policy_of(settings))


def open_chain(settings: Settings) -> Web3:
    """The configured endpoints."""
    urls = [url.strip() for url in settings.rpc.split(",")]
    for url in urls:
        try:
            _ = urlsplit(url).port
        except ValueError as error:
            raise ConnectError(f"an RPC address is not an http(s) URL ({error}): set it with --rpc") from None
    return connect(urls, settings.rpc_timeout)


def open_journal(settings: Settings) -> Journal:
    """This home's journal, made if there is none."""
    path = settings.path("journal.sqlite")
    try:
        return Journal(path)
    except sqlite3.Error as error:
        raise ConnectError(f"the journal {path} cannot be used ({error}): restore it from a backup") from None


def open_view(settings: Settings) -> View:
    """The configured DAO, to look at."""
    w3 = open_chain(settings)
    deployment = load_deployment(w3, settings.entry())
    return view_of(w3, deployment, open_store(settings.content_spec()), finality_of(settings))


def open_wallet(settings: Settings) -> Wallet:
    """The home's account, ready to act on the configured DAO."""
    signer = account(settings)
    view = open_view(settings)
    sender = open_sender(settings, view.w3, signer, open_journal(settings))
    return wallet_of(view, signer, sender)


def view_of(w3: Web3, deployment: Deployment, store: Store, finality: Finality) -> View:
    """A view from open parts."""
    registry = ContributionRegistry(w3, deployment.registry)
    return View(w3, deployment, Contracts.of(w3, deployment), registry, store, finality)


def wallet_of(view: View, signer: Signer, sender: Sender) -> Wallet:
    """A wallet from a view and a key's sender."""
    return Wallet(view.w3, view.deployment, view.contracts, view.registry, view.store, view.finality, signer, sender)


def open_node(
    settings: Settings, *, dry_run: bool, progress: Progress | None = None, engine: Engine = IN_PROCESS
) -> Node:
    """Everything that a running validator holds open. Without keys, or with `dry_run`, it signs and sends nothing. It
    scores on `engine`.
    """
    w3 = open_chain(settings)
    deployment = load_deployment(w3, settings.entry())
    journal = open_journal(settings)
    store = open_store(settings.content_spec())
    journal.bind(deployment.chain_id, deployment.rounds)
    reader, identity = None, None
    if has_keys(settings):
        signer, secret = account(settings), hpke_secret(settings)
        reader = Reader(signer.address, secret)
        if not dry_run:
            identity = Identity(
                operator=signer.address,
                hpke_secret=secret,
                signer=signer,
                sender=open_sender(settings, w3, signer, journal),
                protection=SigningProtection(settings.path(PROTECTION)),
            )
    if identity is None:
        why = "asked for" if dry_run else "this home has no keys, so nothing can be opened or scored either"
        log.warning("dry run: this node signs and sends nothing", reason=why)
    return Node(
        w3=w3,
        deployment=deployment,
        contracts=Contracts.of(w3, deployment),
        follower=Follower(w3, deployment, finality_of(settings)),
        journal=journal,
        store=store,
        reader=reader,
        identity=identity,
        stagger_seconds=settings.stagger_seconds,
        progress=progress,
        engine=engine,
    )
