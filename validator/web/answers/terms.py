"""What it takes to contribute now: round, rules, deposit, and the key to seal to."""

from __future__ import annotations

from dataclasses import dataclass

from eth_abi.abi import encode
from eth_utils.crypto import keccak

from validator.chain.artifacts import load
from validator.chain.types import Call
from validator.errors import ValidatorError
from validator.manifest import Manifest
from validator.web.answers.common import hexed
from validator.web.models import ChainCall, Holder, Question, RelayTerms, Terms
from validator.web.source import Known, Source


@dataclass(frozen=True, slots=True)
class Now:
    """The newest block's word, not the last final one's: a contribution is for what holds when it is sent. `full_at`:
    the first id that does not fit into the round; `round` and `epoch` are 0 where there is none.
    """

    round: int
    full_at: int
    deposit: int
    count: int
    epoch: int
    key: bytes
    paused: bool
    manifest: bytes


def now(source: Source) -> Now:
    """What a contribution would meet. Raises RpcFault."""

    def ask() -> Now:
        contracts = source.view.contracts
        number, full_at, deposit = contracts.rounds.submission_terms()
        epoch = contracts.dao.key_epoch()
        return Now(
            round=number,
            full_at=full_at,
            deposit=deposit,
            count=source.view.registry.count(),
            epoch=epoch,
            key=contracts.dao.key_of(epoch) if epoch else b"",
            paused=contracts.dao.paused(),
            manifest=contracts.rounds.round_info(number).manifest if number else b"",
        )

    return source.momentary("terms", ask)


def why_not(found: Now) -> str | None:
    """Why a contribution would be refused now; None if it would not."""
    if found.paused:
        return "the DAO has paused submissions"
    if not found.epoch:
        return "the DAO has published no key to seal to yet"
    if not found.round:
        return "no round is open"
    if found.count + 1 >= found.full_at:
        return f"round {found.round} is full; the next one opens soon"
    return None


def terms_answer(source: Source, relay: RelayTerms | None = None) -> Terms:
    """Everything that a page, or another program, needs to make a contribution. Raises RpcFault."""
    known, found = source.known(), now(source)
    manifest, fault = _manifest(source, found)
    deployment = source.view.deployment
    rules = None if manifest is None else {part: getattr(manifest, part).model_dump() for part in ("payload", "limits")}
    submission = source.view.registry.submit(bytes(32), 0, 0, 0, 0)
    return Terms(
        chain_id=deployment.chain_id,
        contract=deployment.rounds.lower(),
        registry=deployment.registry.lower(),
        round=found.round or None,
        places=max(0, found.full_at - found.count - 1) if found.round else None,
        deposit=found.deposit,
        key_epoch=found.epoch or None,
        key=hexed(found.key) if found.epoch else None,
        holders=_holders(known, found.epoch),
        rules=rules,
        fault=fault,
        not_now=why_not(found),
        questions=list(_questions(source, found)),
        submit=hexed(submission.data[:4]),
        submitted=hexed(_topic("ContributionRegistry", "ContributionSubmitted")),
        latest=len(known.ledger.submitted),
        relay=relay,
    )


def _manifest(source: Source, found: Now) -> tuple[Manifest | None, str | None]:
    if not found.round:
        return None, None
    try:
        return source.manifest(found.manifest), None
    except ValidatorError as refused:
        return None, str(refused)


def _holders(known: Known, epoch: int) -> list[Holder]:
    members = known.ledger.members
    return [
        Holder(account=account, validates=account in members and members[account].weight > 0)
        for account in known.ledger.granted.get(epoch, [])
    ]


def _questions(source: Source, found: Now) -> list[Question]:
    contracts = source.view.contracts
    asked = [("the newest key epoch", contracts.dao.key_epoch_call(), encode(["uint32"], [found.epoch]))]
    if found.epoch:
        asked.append(("the key to seal to", contracts.dao.key_of_call(found.epoch), found.key))
    terms = encode(["uint64", "uint64", "uint128"], [found.round, found.full_at, found.deposit])
    asked.append(("the round and its deposit", contracts.rounds.submission_terms_call(), terms))
    return [Question(about=about, call=_call(source, call), answer=hexed(answer)) for about, call, answer in asked]


def _call(source: Source, call: Call) -> ChainCall:
    assert call.to is not None
    return ChainCall(chain_id=source.view.deployment.chain_id, to=call.to.lower(), data=hexed(call.data))


def _topic(contract: str, event: str) -> bytes:
    entry = next(one for one in load(contract).abi if one["type"] == "event" and one["name"] == event)
    return keccak(text=f"{event}({','.join(one['type'] for one in entry['inputs'])})")
