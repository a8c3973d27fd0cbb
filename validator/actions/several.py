"""Several DAOs in one process: one home, one key, one sender and one signing history; a journal and a ticker each.

<home>/journal.sqlite              of the DAO that this home began with
<home>/journal-<contract>.sqlite   of each further one
<home>/transactions.sqlite         of the sender that they share: nonces belong to the key, not to a DAO
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import structlog

from validator.actions.connect import open_chain, open_journal, open_node, open_sender
from validator.actions.home import PROTECTION, account, attester, has_keys, hpke_secret
from validator.actions.transactions import MAIN, about, shared_transactions
from validator.chain.sender import Sender
from validator.chain.shared_sender import ScopedSender
from validator.journal import Journal, SigningProtection
from validator.settings import Settings
from validator.stages.node import Identity, Node

log = structlog.get_logger("connect")


@dataclass(frozen=True, slots=True)
class Shared:
    """What the DAOs of one process have in common."""

    base: Identity
    sender: Sender
    transactions: Journal
    readers: list[Journal]
    scoring: threading.Lock


def openers(settings: Settings, *, dry_run: bool) -> list[tuple[str, Callable[[], Node]]]:
    """For each configured DAO its contract and what opens its node.

    One that cannot be opened holds up no other. Raises ValidatorError only for what concerns them all: keys, signing
    history, journal of the sender.
    """
    contracts = settings.entries()
    if len(contracts) == 1:
        node = open_node(settings, dry_run=dry_run)
        return [(contracts[0], lambda: node)]
    shared = None if dry_run or not has_keys(settings) else _share(settings)
    scoring = shared.scoring if shared is not None else threading.Lock()
    return [(contract, partial(_open, settings, contract, shared, scoring)) for contract in contracts]


def _share(settings: Settings) -> Shared:
    signer = account(settings)
    transactions = shared_transactions(settings, create=True)
    assert transactions is not None
    readers: list[Journal] = []
    sender = open_sender(settings, open_chain(settings), signer, transactions, readers)
    base = Identity(
        operator=signer.address,
        hpke_secret=hpke_secret(settings),
        signer=attester(settings, signer),
        sender=sender,
        protection=SigningProtection(settings.path(PROTECTION)),
    )
    return Shared(base, sender, transactions, readers, threading.Lock())


def _open(settings: Settings, contract: str, shared: Shared | None, scoring: threading.Lock) -> Node:
    alone = settings.model_copy(update={"contract": contract})
    journal = open_journal(alone, journal_name(settings, contract))
    try:
        node = open_node(alone, dry_run=True, journal=journal, quiet=shared is not None)
    except BaseException:
        journal.close()
        raise
    node.scoring = scoring
    if shared is not None:
        base = shared.base
        node.identity = Identity(
            operator=base.operator,
            hpke_secret=base.hpke_secret,
            signer=base.signer,
            sender=ScopedSender(shared.sender, contract.lower()),
            protection=base.protection,
        )
        node.transactions = shared.transactions
        shared.readers.append(node.journal)
    log.info("opened", dao=contract, journal=journal_name(settings, contract))
    return node


def journal_name(settings: Settings, contract: str) -> str:
    """Which file of the home is this DAO's journal: its own, or the first one's if that is about this DAO."""
    own = f"journal-{contract.lower()}.sqlite"
    if len(settings.entries()) == 1:
        return MAIN
    first = not settings.path(own).exists() and about(settings.path(MAIN)) == contract.lower()
    return MAIN if first else own
