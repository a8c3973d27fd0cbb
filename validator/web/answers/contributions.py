"""One contribution, and one contributor: scores, reasons, and the proofs that the contracts take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from eth_utils.address import to_checksum_address

from validator.actions.why import deposit_words, why
from validator.chain.errors import Reverted
from validator.chain.types import Call, ScoreLeaf
from validator.errors import ValidatorError
from validator.rounds.evidence import Line, input_leaf, score_leaf
from validator.rounds.lifecycle import RoundState
from validator.rounds.merkle import EARNING_LEAF, INPUT_LEAF, SCORE_LEAF, Tree, leaf_hash, verify
from validator.rounds.types import Status
from validator.web.answers.common import Absent, bundle_of, contribution_row, hexed, line_of, part
from validator.web.models import ChainCall, ContributionDetail, ContributorDetail, OnChain, Proof
from validator.web.source import Bundle, Known, Source
from validator.web.words import units

CONTRIBUTOR_ROWS = 20
"""Each row may lie in another round, whose evidence is another document to fetch."""
INPUT_FIELDS = ("id", "contributor", "digest", "codec", "size", "key_epoch")
SCORE_FIELDS = ("id", "contributor", "status", "payable", "raw", "stderr")


def contribution_answer(source: Source, number: int) -> ContributionDetail:
    """Everything about contribution `number`. Raises Absent; RpcFault if the chain does not answer."""
    known = source.known()
    ledger = known.ledger
    if number > len(ledger.submitted):
        raise Absent(f"there is no contribution {number}: the latest final one has id {len(ledger.submitted)}")
    submission = ledger.submitted[number - 1]
    state = ledger.round_of(number)
    bundle, fault = bundle_of(source, state) if state is not None else (None, None)
    line = line_of(bundle, number) if bundle is not None else None
    return ContributionDetail(
        **contribution_row(submission, state, bundle).model_dump(),
        digest=hexed(submission.digest),
        codec=submission.codec,
        phase=state.phase(known.time).name.lower() if state is not None else None,
        deposit=source.parameters(ledger.submitted_in[number - 1]).deposit,
        deposit_words=deposit_words(Status(line.status) if line is not None else None),
        scored=len(bundle.ranks) if bundle is not None else None,
        fault=fault,
        **_judged(source, known, state, bundle, line),
    )


def contributor_answer(source: Source, address: str, page: int = 1) -> ContributorDetail:
    """One contributor by address in any case. Raises Absent for an account that never submitted anything."""
    known = source.known()
    account = address.lower()
    ids = known.ledger.by_contributor.get(account)
    if not ids:
        raise Absent(f"{account} has no final contribution to this DAO")
    where, shown = part(ids[::-1], page, CONTRIBUTOR_ROWS)
    standing = _standing(source, known, account)
    claimed = source.momentary(("claimed", account), lambda: source.view.contracts.pool.claimed(_checksummed(account)))
    due = max(0, standing.earned - claimed) if standing.earned is not None else None
    return ContributorDetail(
        address=account,
        earned=standing.earned,
        claimed=claimed,
        due=due,
        fault=standing.fault,
        proof=standing.proof,
        claim=_claim(source, account, standing) if due else None,
        page=where,
        items=[_row(source, known, id_) for id_ in shown],
    )


@dataclass(frozen=True, slots=True)
class Standing:
    """Lifetime earnings by the tree that the pool pays by, and their proof."""

    earned: int | None
    proof: Proof | None = None
    fault: str | None = None


def _claim(source: Source, account: str, standing: Standing) -> ChainCall:
    """The call that pays `account` all that it has earned, whoever sends it."""
    assert standing.earned is not None
    assert standing.proof is not None
    path = tuple(bytes.fromhex(sibling[2:]) for sibling in standing.proof.proof)
    return _chain_call(source, source.view.contracts.pool.claim(_checksummed(account), standing.earned, path))


def _chain_call(source: Source, call: Call) -> ChainCall:
    assert call.to is not None
    return ChainCall(chain_id=source.view.deployment.chain_id, to=call.to.lower(), data=hexed(call.data))


def _standing(source: Source, known: Known, account: str) -> Standing:
    last = known.ledger.last_final()
    if last is None:
        return Standing(0)
    bundle, fault = bundle_of(source, last)
    if bundle is None:
        return Standing(None, fault=fault)
    index = bundle.account_index.get(account)
    if index is None:
        return Standing(0)
    earned = bundle.evidence.earnings[index][1]
    fields = {"account": account, "cumulative": str(earned)}
    return Standing(earned, _proof(bundle.earnings, index, leaf_hash(EARNING_LEAF, [account, earned]), fields))


def _row(source: Source, known: Known, number: int) -> Any:  # noqa: ANN401 - a Contribution
    state = known.ledger.round_of(number)
    bundle, _ = bundle_of(source, state) if state is not None else (None, None)
    return contribution_row(known.ledger.submitted[number - 1], state, bundle)


def _judged(
    source: Source, known: Known, state: RoundState | None, bundle: Bundle | None, line: Line | None
) -> dict[str, Any]:
    if state is None or bundle is None or line is None:
        return {"why": [], "proof": None, "input_proof": None, "on_chain": None}
    values = (line.id, line.contributor, line.status, line.payable, line.raw, line.stderr)
    index = line.id - bundle.evidence.contributions[0].id
    fields = {name: str(value) for name, value in zip(SCORE_FIELDS, values, strict=True)}
    return {
        "why": _why(source, state, bundle, line),
        "proof": _proof(bundle.scores, index, score_leaf(line), fields),
        "input_proof": _input_proof(bundle, line),
        "on_chain": _on_chain(source, state, bundle, line, index, recorded=line.id in known.ledger.recorded),
    }


def _input_proof(bundle: Bundle, line: Line) -> Proof | None:
    """That the contribution is among those that were judged; None if it is not."""
    index = bundle.input_index.get(line.id)
    if index is None:
        return None
    values = (line.id, line.contributor, f"0x{line.digest}", line.codec, line.size, line.key_epoch)
    fields = {name: str(value) for name, value in zip(INPUT_FIELDS, values, strict=True)}
    return _proof(bundle.inputs, index, input_leaf(line), fields)


def _why(source: Source, state: RoundState, bundle: Bundle, line: Line) -> list[str]:
    try:
        manifest = source.manifest(state.manifest)
    except ValidatorError as fault:
        return [f"{line.words()}.", f"The manifest that says more could not be had: {fault}."]
    money = source.money(source.view.deployment.reward_token)
    return why(line, bundle.evidence, manifest, lambda amount: f"{units(amount, money.decimals)} {money.symbol}")


def _on_chain(source: Source, state: RoundState, bundle: Bundle, line: Line, index: int, *, recorded: bool) -> OnChain:
    """What the contract says; a yes is for good, anything else is asked again."""
    leaf = ScoreLeaf(line.id, _checksummed(line.contributor), line.status, line.payable, line.raw, line.stderr)
    proof, rounds = tuple(bundle.scores.proof(index)), source.view.contracts.rounds

    def ask() -> bool:
        try:
            return rounds.verify_score(state.round, leaf, proof)
        except Reverted:
            return False

    return OnChain(
        verified=source.answer(("verifyScore", state.round, line.id), ask, keep=bool),
        recorded=recorded,
        call=_chain_call(source, rounds.verify_score_call(state.round, leaf, proof)),
    )


def _proof(tree: Tree, index: int, leaf: bytes, fields: dict[str, str]) -> Proof:
    path = tree.proof(index)
    return Proof(
        fields=fields,
        leaf=hexed(leaf),
        proof=[hexed(sibling) for sibling in path],
        root=hexed(tree.root),
        holds=verify(tree.root, leaf, path),
    )


def _checksummed(address: str) -> str:
    return str(to_checksum_address(address))


LEAF_TYPES = {"input": INPUT_LEAF, "score": SCORE_LEAF, "earning": EARNING_LEAF}
"""ABI types of the leaves, for the pages that show them."""
