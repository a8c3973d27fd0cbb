"""A signing history that was lost, rebuilt from what the chain shows."""

from __future__ import annotations

import time
from dataclasses import dataclass

import structlog

from validator.actions.connect import open_journal, open_node
from validator.actions.home import HomeError, has_keys, whole_history
from validator.actions.several import journal_name
from validator.chain.rpc import understood
from validator.journal import SigningProtection
from validator.settings import Settings
from validator.stages import discover, history

log = structlog.get_logger("history")

STALE_SECONDS = 600


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What a rebuilt history holds: attestations that the chain proves, attempts for which nothing will be signed."""

    proven: int
    blocked: int


def rebuild_history(settings: Settings, earlier: bytes | None = None) -> Rebuilt:
    """Make or complete this home's signing history from the chain, for every DAO that is configured. No other machine
    may sign with the key meanwhile. `earlier`: an exported history that is taken up first, however old it is.

    Raises HomeError when the chain's head is old: what this endpoint has not seen yet, it cannot show.
    """
    if not has_keys(settings):
        raise HomeError(f"{settings.home} has no keys whose history could be rebuilt: `validator keys create`")
    contracts = settings.entries()
    with whole_history(settings) as kept:
        if earlier is not None:
            kept.merge(earlier)
        made = [_rebuild(settings, contract, kept) for contract in contracts]
    return Rebuilt(sum(each.proven for each in made), sum(each.blocked for each in made))


def _rebuild(settings: Settings, contract: str, kept: SigningProtection) -> Rebuilt:
    alone = settings.model_copy(update={"contract": contract})
    journal = open_journal(settings, journal_name(settings, contract))
    try:
        node = open_node(alone, dry_run=True, journal=journal, quiet=True)
        assert node.reader is not None
        with understood("its newest block"):
            age = time.time() - int(node.w3.eth.get_block("latest")["timestamp"])
        if age > STALE_SECONDS:
            raise HomeError(f"the chain's newest block is {age:.0f} s old: use an endpoint that is up to date")
        while not discover.run(node):
            log.info("reading the chain", block_time=node.finalised_time())
        return Rebuilt(*history.rebuild(node, node.reader, kept))
    finally:
        journal.close()
