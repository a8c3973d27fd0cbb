"""Level 1: what can be checked from the chain and the bundle alone, without any key."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from validator.audit.case import Case, to_attestation
from validator.audit.verdict import Check
from validator.chain.typed_data import attestation_digest, recover
from validator.chain.types import Attestation
from validator.rounds.earnings import add_earnings, divide_pool, payable_score
from validator.rounds.evidence import Evidence, Line, outcome, sealed
from validator.rounds.included import quorum
from validator.rounds.seed import round_seed
from validator.rounds.types import Status


def verify(case: Case) -> tuple[list[Check], int]:
    """All checks of level 1 in order, and the number of good signatures on the final answer."""
    good = signers(case)
    return [*_statements(case, good), *_origin(case), *_contents(case)], len(good)


def signers(case: Case) -> dict[str, int]:
    """Operators who signed the final answer, with their weight in the round's snapshot."""
    final = _digest(case, case.attestation)
    return {
        operator: case.state.members[operator][1]
        for operator, (_, _, fields) in case.state.attestations.items()
        if _is_signed(case, operator) and _digest(case, to_attestation(fields)) == final
    }


def _digest(case: Case, attestation: Attestation) -> bytes:
    return attestation_digest(case.deployment.chain_id, case.deployment.rounds, attestation)


def _is_signed(case: Case, operator: str) -> bool:
    """Whether an operator's attestation, whatever it says, carries the signature of the key in the snapshot."""
    digest, signature, fields = case.state.attestations[operator]
    signer = recover(digest, signature)
    expected, _ = case.state.members.get(operator, ("", 0))
    return digest == _digest(case, to_attestation(fields)) and signer is not None and signer.lower() == expected


def _statements(case: Case, good: dict[str, int]) -> Iterator[Check]:
    attested = case.state.attestations
    signed = sum(_is_signed(case, operator) for operator in attested)
    dissent = f", {signed - len(good)} of them for another answer" if signed > len(good) else ""
    yield Check("signatures", signed == len(attested), f"{signed} of {len(attested)} signatures are good{dissent}")
    total, weight = case.state.total_weight, sum(good.values())
    told = f"{_percent(weight, total)} of the weight on the final answer: {weight:,} of {total:,}"
    yield Check("quorum", quorum(weight, total), told)


def _percent(part: int, whole: int) -> str:
    """A share in percent with two places, rounded towards zero. Two thirds and just short of it read alike, so the
    weights stand beside it.
    """
    hundredths = 10_000 * part // whole if whole else 0
    return f"{hundredths // 100}.{hundredths % 100:02d} %"


def _origin(case: Case) -> Iterator[Check]:
    state, evidence, attestation = case.state, case.evidence, case.attestation
    place = (evidence.chain_id, evidence.contract, evidence.round, evidence.attempt)
    chain = (case.deployment.chain_id, case.deployment.rounds.lower(), state.round, attestation.attempt)
    yield Check(
        "domain", place == chain, f"chain {place[0]}, contract {place[1]}, round {place[2]}, attempt {place[3]}"
    )
    digests = (evidence.manifest, case.manifest.digest().hex())
    yield Check("manifest", set(digests) == {state.manifest.hex()}, f"manifest {digests[0][:16]}")
    versions = (evidence.versions.exact, evidence.versions.influence, evidence.versions.rounds)
    wanted = case.manifest.versions
    same = versions == (wanted.exact, wanted.influence, wanted.rounds)
    yield Check("versions", same, f"exact {versions[0]}, influence {versions[1]}, rounds {versions[2]}")
    found = bytes(case.w3.eth.get_block(state.seed_block)["hash"])
    yield Check("beacon", found == state.beacon, f"the hash of block {state.seed_block}")
    seed = round_seed(case.deployment.chain_id, case.deployment.rounds, state.round, state.manifest, state.beacon)
    same = (
        seed == state.seed == attestation.seed and evidence.seed == seed.hex() and evidence.beacon == state.beacon.hex()
    )
    yield Check("seed", same, f"seed {seed.hex()[:16]} follows from the beacon")
    yield Check("pool", evidence.pool == state.pool, f"pool {evidence.pool:,}")
    previous = evidence.previous == case.carry.evidence.hex()
    yield Check("history", previous, f"follows on evidence {evidence.previous[:16]}")


def _contents(case: Case) -> Iterator[Check]:
    yield Check("bundle", _is_sealed(case.evidence), "its own roots and totals follow from its lines")
    evidence, lines = case.evidence, case.evidence.contributions
    named = [(s.id, s.contributor, s.digest.hex(), s.codec, s.size, s.key_epoch) for s in case.submitted]
    listed = [(line.id, line.contributor, line.digest, line.codec, line.size, line.key_epoch) for line in lines]
    yield Check("contributions", named == listed, f"{len(lines)} contributions are those submitted on chain")
    limit = case.manifest.limits.envelope_bytes
    held = case.state.included() - {s.id for s in case.submitted if s.size > limit}
    yield Check("included", held == {line.id for line in lines if line.included}, f"{len(held)} held by a quorum")
    yield Check("statuses", all(map(_status_fits, lines)), "every status fits what is known without a key")
    recomputed, attested = outcome(evidence), case.attestation
    roots = (recomputed.inputs_root, recomputed.scores_root, recomputed.earnings_root)
    same = roots == (attested.inputs_root, attested.scores_root, attested.earnings_root)
    yield Check("trees", same, "inputs, scores and earnings trees have the attested roots")
    totals = (recomputed.round_total, recomputed.earned_total, recomputed.count)
    same = totals == (attested.round_total, attested.earned_total, attested.count)
    yield Check("totals", same, f"{totals[0]:,} paid this round, {totals[1]:,} in all")
    yield _payouts(case)
    earned = add_earnings(case.carry.earnings, [(line.contributor, line.paid) for line in lines])
    yield Check("earnings", list(earned.items()) == evidence.earnings, f"{len(earned)} contributors have earned")


def _is_sealed(evidence: Evidence) -> bool:
    """Whether roots and totals follow from the lines, to the byte: Python would hold 1.0 and True for 1."""
    data = evidence.to_bytes()
    try:
        return sealed(msgspec.json.decode(data, type=Evidence)).to_bytes() == data
    except msgspec.MsgspecError:
        return False


def _status_fits(line: Line) -> bool:
    """A status that needs no key to be checked: unavailable is not included, scored has records, the rest has none."""
    if line.status == Status.UNAVAILABLE:
        return not line.included and line.records == 0
    if line.status in (Status.PAID, Status.BELOW_NOISE):
        return line.included and line.records > 0
    return line.records == 0 and (line.included or line.status == Status.OVERSIZED)


def _payouts(case: Case) -> Check:
    lines, manifest = case.evidence.contributions, case.manifest
    for line in lines:
        scored = line.status in (Status.PAID, Status.BELOW_NOISE)
        payable = payable_score(line.raw, line.stderr, manifest.scoring) if scored else 0
        if line.payable != payable or (line.status == Status.PAID) != (payable > 0):
            return Check("payouts", False, f"contribution {line.id} should have a payable score of {payable}")
    paid = divide_pool(case.evidence.pool, [(line.contributor, line.payable) for line in lines], manifest.rewards)
    wrong = next((line.id for line, amount in zip(lines, paid, strict=True) if line.paid != amount), None)
    detail = "every amount follows from the scores" if wrong is None else f"contribution {wrong} is paid another amount"
    return Check("payouts", wrong is None, detail)
