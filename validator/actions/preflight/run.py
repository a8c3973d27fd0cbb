"""All questions, in the order in which a reader would mend things."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from validator.actions.connect import View, finality_of, open_chain, view_of
from validator.actions.home import PROTECTION, has_keys
from validator.actions.preflight import chain, machine
from validator.actions.preflight import keys as key_checks
from validator.actions.preflight.keys import Keys
from validator.actions.preflight.line import Line, answered, failed, passed, warned
from validator.actions.several import journal_name
from validator.actions.transactions import about, peek
from validator.audit.case import scan
from validator.chain.deploy import load_deployment
from validator.content import Store, open_store
from validator.content.layered import LayeredStore
from validator.errors import ValidatorError
from validator.journal.database import Row, unpack
from validator.rounds.lifecycle import Fact
from validator.settings import Settings
from validator.stages.chronicle import to_fact
from validator.stages.watch import probe

_NEEDED = ("Attested", "ValidatorJoined", "KeyEpochPublished", "KeyGranted")
_EVENTS = "SELECT block, log_index, transaction_hash, contract, name, args FROM events ORDER BY block, log_index"


def preflight(settings: Settings) -> Iterator[Line]:
    """Every line, as soon as it is known. Settings may name several DAOs."""
    keys = Keys()
    yield from answered("keys", partial(_keys, settings, keys))
    yield from answered("file modes", partial(key_checks.modes, settings))
    yield from answered("RPC", partial(chain.endpoints, settings), "set `rpc`")
    yield from answered("content store", partial(_content, settings), "start it, or correct `content`")
    yield from answered("disk", partial(machine.disks, settings))
    yield from answered("memory", partial(machine.memory, settings))
    yield from answered("clock", machine.clock)
    yield from answered("exact self-test", machine.arithmetic)
    yield from answered("GPU", machine.devices)
    yield from answered("transactions", partial(chain.transactions, settings))
    yield from answered("DAO", partial(_daos, settings, keys), "set `contract`")


def _keys(settings: Settings, keys: Keys) -> Iterator[Line]:
    if not has_keys(settings):
        words = f"{settings.home} has none: it would follow the chain, and sign and score nothing"
        yield warned("keys", words, "`validator keys create`, or set --home to where they are")
        return
    yield from key_checks.keys(settings, keys)


def _content(settings: Settings) -> Iterator[Line]:
    store: Store = open_store(settings.content_spec())
    fault = probe(store)
    if fault:
        yield failed("content store", f"{store.name}: {fault}", "one entry of `content` must be writable, and work")
    else:
        yield passed("content store", f"{store.name} keeps and returns what it is given")


def _daos(settings: Settings, keys: Keys) -> Iterator[Line]:
    contracts = settings.entries()
    for contract in contracts:
        alone = settings.model_copy(update={"contract": contract})
        label = f" ({contract})" if len(contracts) > 1 else ""
        for line in answered("contracts", partial(_dao, alone, settings, keys), "check `contract` and `rpc`"):
            yield Line(line.check + label, line.state, line.found, line.cure)


def _dao(alone: Settings, all_: Settings, keys: Keys) -> Iterator[Line]:
    try:
        w3 = open_chain(alone)
        deployment = load_deployment(w3, alone.entry())
    except ValidatorError:
        yield from answered("signing history", partial(_history, alone, keys, None, []))
        raise
    view = view_of(w3, deployment, LayeredStore([]), finality_of(alone))  # content has a line of its own
    yield passed("contracts", f"code and wiring of {alone.entry()} are this release's")
    yield from answered("clock and chain", partial(chain.head_clock, view.w3, alone))
    yield from answered("manifest", partial(chain.manifest, view, alone), "is the content store that of the DAO?")
    if not keys.hpke_secret:
        yield from answered("signing history", partial(_history, alone, keys, None, []))
        return
    yield from answered("membership", partial(chain.membership, view, keys))
    yield from answered("gas", partial(chain.coin, view, keys))
    facts = _facts(alone, all_, view)
    yield from answered("key grants", partial(chain.grants, view, keys, facts))
    yield from answered("signing history", partial(_history, alone, keys, view, facts))


def _history(settings: Settings, keys: Keys, view: View | None, facts: list[Fact]) -> Iterator[Line]:
    deployment = view.deployment if view is not None else None
    yield from key_checks.protection(settings.path(PROTECTION), keys, deployment, facts)


def _facts(alone: Settings, all_: Settings, view: View) -> list[Fact]:
    """What a node of this home has scanned, or else what a scan finds now."""
    path = all_.path(journal_name(all_, alone.entry()))
    if about(path) == alone.entry().lower():
        return [to_fact(_row(*row)) for row in peek(path, _EVENTS) if row[4] in _NEEDED]
    return [fact for fact in scan(view.follower()) if fact.name in _NEEDED]


def _row(block: int, index: int, transaction: bytes, contract: str, name: str, args: bytes) -> Row:
    return Row(block, index, transaction, contract, name, unpack(args))
