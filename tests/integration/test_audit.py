"""An audit of a real finalised round; then the same round with one thing changed, which the right check must notice."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import msgspec
import pytest
from eth_utils.address import to_checksum_address

from tests.support import World
from validator.actions.auditor import audit_round
from validator.actions.home import account, hpke_secret
from validator.actions.report import check_against_chain, sign_report
from validator.actions.steward import grant
from validator.audit.case import AuditError, Case, open_case
from validator.audit.grant import AuditGrant, EnvelopeKey, GrantedKeys, make_grant, parse_grant
from validator.audit.report import AuditReport, ReportError, make_report, read_report
from validator.audit.rescore import read_envelope, refetch, rescore
from validator.audit.verdict import Check, Verdict
from validator.audit.verify import verify
from validator.chain.typed_data import attestation_data
from validator.chain.types import ScoreLeaf
from validator.content import Cid
from validator.demo.dao import STAKE
from validator.envelope import generate_keypair
from validator.envelope.format import read_head
from validator.envelope.keys import wrap
from validator.rounds.evidence import Evidence, Line, outcome, score_leaf, sealed
from validator.rounds.lifecycle import Fact
from validator.rounds.merkle import verify as merkle_verify
from validator.stages.keyring import EpochKeys
from validator.stages.keys import granted_secrets


@pytest.fixture(scope="module")
def secrets(world: World) -> EpochKeys:
    world.add_home("auditor")
    keys = world.keys["auditor"]
    grant(world.wallet, world.steward, keys.address, keys.hpke_key, [1])
    world.chain.mine(3)
    secret = hpke_secret(world.home("auditor"))
    return EpochKeys(granted_secrets(world.facts(), world.wallet.deployment, keys.address, secret, {}))


def failed(case: Case) -> set[str]:
    return {check.name for check in verify(case)[0] if not check.ok}


def edit(case: Case, **changes: object) -> Case:
    return replace(case, evidence=msgspec.structs.replace(case.evidence, **changes))


def edit_line(case: Case, index: int, **changes: object) -> Case:
    lines: list[Line] = list(case.evidence.contributions)
    lines[index] = msgspec.structs.replace(lines[index], **changes)
    return edit(case, contributions=lines)


def edit_facts(case: Case, name: str, change: Callable[[dict], dict]) -> Case:
    facts = [Fact(f.name, change(dict(f.args))) if f.name == name else f for f in case.facts]
    return open_case(case.w3, case.deployment, case.store, facts, 1)


def forge_signature(case: Case) -> Case:
    attestations = dict(case.state.attestations)
    operator = next(iter(attestations))
    digest, signature, fields = attestations[operator]
    attestations[operator] = (digest, bytes([signature[0] ^ 1]) + signature[1:], fields)
    return replace(case, state=replace(case.state, attestations=attestations))


def drop_two_attestations(case: Case) -> Case:
    kept = dict(list(case.state.attestations.items())[:1])
    return replace(case, state=replace(case.state, attestations=kept))


def other_signer(case: Case) -> Case:
    return edit_facts(case, "ValidatorJoined", lambda args: {**args, "signer": "0x" + "11" * 20})


def swap_order(case: Case) -> Case:
    lines = list(case.evidence.contributions)
    return edit(case, contributions=[lines[1], lines[0], lines[2]])


def pay_more_and_reseal(case: Case) -> Case:
    tampered = edit_line(case, 0, paid=case.evidence.contributions[0].paid + 1)
    return replace(tampered, evidence=sealed(tampered.evidence))


def test_verify__round_as_it_was__passes_every_check(case: Case):
    checks, signatures = verify(case)
    assert [check.name for check in checks if not check.ok] == []
    assert signatures == 3


@pytest.mark.parametrize(
    ("change", "noticed"),
    [
        (forge_signature, {"signatures", "quorum"}),
        (other_signer, {"signatures", "quorum"}),
        (drop_two_attestations, {"quorum"}),
        (lambda c: edit(c, chain_id=2), {"domain"}),
        (lambda c: edit(c, round=2), {"domain"}),
        (lambda c: edit(c, attempt=2), {"domain"}),
        (lambda c: edit(c, manifest="00" * 32), {"manifest"}),
        (lambda c: edit(c, seed="00" * 32), {"seed"}),
        (lambda c: edit(c, beacon="00" * 32), {"seed"}),
        (lambda c: replace(c, state=replace(c.state, beacon=b"x" * 32)), {"seed"}),
        (lambda c: edit(c, pool=c.evidence.pool + 1), {"pool"}),
        (lambda c: edit(c, previous="11" * 32), {"history"}),
        (swap_order, {"contributions"}),
        (lambda c: edit_line(c, 1, contributor="0x" + "22" * 20), {"contributions", "trees"}),
        (lambda c: edit_line(c, 1, included=False), {"included", "trees"}),
        (lambda c: edit_line(c, 1, raw=c.evidence.contributions[1].raw + 1), {"trees"}),
        (lambda c: edit_line(c, 1, stderr=0), {"trees"}),
        (lambda c: edit_line(c, 1, payable=10**8), {"trees", "payouts"}),
        (lambda c: edit_line(c, 1, status=1), {"trees", "payouts"}),
        (lambda c: edit_line(c, 1, paid=1), {"totals", "payouts", "earnings"}),
        (pay_more_and_reseal, {"totals", "payouts", "earnings"}),
        (lambda c: edit(c, earnings=[]), {"trees", "totals", "earnings"}),
        (lambda c: edit(c, scores_root="00" * 32), {"bundle"}),
        (lambda c: edit(c, round_total=0), {"bundle"}),
    ],
)
def test_verify__one_thing_changed__is_noticed_by_the_right_check(
    case: Case, change: Callable[[Case], Case], noticed: set[str]
):
    assert noticed <= failed(change(case))


@pytest.mark.parametrize("refit", [False, True])
def test_rescore__round_as_it_was__comes_out_the_same_to_the_last_bit(case: Case, secrets: EpochKeys, refit: bool):
    checks, difference = rescore(case, secrets, refit=refit)
    assert checks[0].ok, difference


def test_rescore__score_changed_and_resealed__names_contribution_field_and_both_values(case: Case, secrets: EpochKeys):
    tampered = edit_line(case, 1, raw=case.evidence.contributions[1].raw - 7)
    tampered = replace(tampered, evidence=sealed(tampered.evidence))
    checks, difference = rescore(tampered, secrets, refit=True)
    assert not checks[0].ok
    assert difference is not None
    assert (difference.contribution, difference.field) == (tampered.evidence.contributions[1].id, "raw")
    assert int(difference.ours) - int(difference.theirs) == 7


def test_rescore__without_a_grant__says_whom_to_ask(case: Case):
    with pytest.raises(AuditError, match="steward"):
        rescore(case, EpochKeys(), refit=True)


def test_open_case__round_that_is_not_final__names_those_that_are(case: Case):
    with pytest.raises(AuditError, match="finalised rounds: 1"):
        open_case(case.w3, case.deployment, case.store, case.facts, 2)


def test_refetch__envelope_gone__names_the_contribution(world: World, case: Case):
    gone = case.submitted[1]
    cid = Cid.from_chain(gone.digest, gone.codec)
    path = world.folder / "store" / "blocks" / cid.digest.hex()[:2] / cid.digest.hex()
    data = path.read_bytes()
    path.unlink()
    try:
        checks = refetch(case)
    finally:
        path.write_bytes(data)
    assert not checks[0].ok
    assert f"contribution {gone.id}" in checks[0].detail
    assert refetch(case)[0].ok


def test_evidence__of_a_real_round__holds_no_plaintext(case: Case, world: World):
    evidence: Evidence = case.evidence
    text = evidence.to_bytes()
    assert b'inputs"' not in text
    assert len(text) < 5_000


# Grants of one round: everything that its audit needs, and no epoch secret.


@pytest.fixture(scope="module")
def granter(world: World) -> EpochKeys:
    """A validator's keys."""
    secret, address = hpke_secret(world.home("validator-1")), world.keys["validator-1"].address
    return EpochKeys(granted_secrets(world.facts(), world.wallet.deployment, address, secret, {}))


READER = generate_keypair()


@pytest.fixture(scope="module")
def granted(case: Case, granter: EpochKeys) -> AuditGrant:
    return make_grant(case, granter, READER.public)


def test_grant__of_the_round__lets_an_auditor_rescore_it_without_any_epoch_secret(
    case: Case, granted: AuditGrant, granter: EpochKeys
) -> None:
    data = granted.to_bytes()
    keys = GrantedKeys(parse_grant(data), case, READER.secret)

    checks, difference = rescore(case, keys, refit=False)

    assert checks[0].ok, difference
    assert keys.on_word == 0
    assert len(data) < 5_000
    assert not [secret for secret in granter.values() if secret.hex().encode() in data]


def test_grant__score_changed_and_resealed__is_found_through_it_from_scratch(case: Case, granted: AuditGrant) -> None:
    tampered = edit_line(case, 1, raw=case.evidence.contributions[1].raw - 7)
    tampered = replace(tampered, evidence=sealed(tampered.evidence))

    _, difference = rescore(tampered, GrantedKeys(granted, case, READER.secret), refit=True)

    assert difference is not None
    assert (difference.contribution, difference.field) == (tampered.evidence.contributions[1].id, "raw")


def test_grant__opened_by_somebody_else_or_in_another_place__is_refused(case: Case, granted: AuditGrant) -> None:
    with pytest.raises(AuditError, match="is for the HPKE key"):
        GrantedKeys(granted, case, generate_keypair().secret)
    for name, other in {"chain_id": 1, "contract": "0x" + "11" * 20, "round": 2, "evidence": "00" * 32}.items():
        with pytest.raises(AuditError, match="this audit is of"):
            GrantedKeys(msgspec.structs.replace(granted, **{name: other}), case, READER.secret)


def swapped(granted: AuditGrant) -> AuditGrant:
    first, second, *rest = granted.envelopes
    return msgspec.structs.replace(
        granted, envelopes=[EnvelopeKey(first.head, second.dek), EnvelopeKey(second.head, first.dek), *rest]
    )


def rewrapped(granted: AuditGrant) -> AuditGrant:
    """Keys that open, and are not those of the envelopes."""
    wrong = [
        EnvelopeKey(one.head, wrap(bytes(32), READER.public, granted.info("dek", one.head)).hex())
        for one in granted.envelopes
    ]
    return msgspec.structs.replace(granted, envelopes=wrong)


def test_grant__keys_moved_within_it__is_damaged(case: Case, granted: AuditGrant) -> None:
    with pytest.raises(AuditError, match="does not open"):
        GrantedKeys(swapped(granted), case, READER.secret)


def test_grant__other_keys_than_the_envelopes_commit_to__accuses_the_grant_and_not_the_round(
    case: Case, granted: AuditGrant
) -> None:
    with pytest.raises(AuditError, match="is not the one that it commits to"):
        rescore(case, GrantedKeys(rewrapped(granted), case, READER.secret), refit=True)


def test_grant__wrong_keys_of_a_file__accuses_the_grant(case: Case, granted: AuditGrant) -> None:
    files = [
        msgspec.structs.replace(one, file_key=wrap(bytes(32), READER.public, granted.info("file", one.iv)).hex())
        for one in granted.files
    ]
    with pytest.raises(AuditError, match="are wrong"):
        rescore(case, GrantedKeys(msgspec.structs.replace(granted, files=files), case, READER.secret), refit=False)


def test_grant__a_contribution_left_out__cannot_pass_for_one_that_does_not_open(
    case: Case, granted: AuditGrant
) -> None:
    heads = [read_head(read_envelope(case, one)).digest.hex() for one in case.submitted]
    short = msgspec.structs.replace(granted, envelopes=[one for one in granted.envelopes if one.head != heads[0]])
    keys = GrantedKeys(short, case, READER.secret)

    with pytest.raises(AuditError, match=f"lacks the key of contribution {case.submitted[0].id}"):
        rescore(case, keys, refit=True)


@pytest.mark.parametrize(
    ("name", "change"),
    {
        "not json": lambda data: b"junk",
        "white space": lambda data: data.replace(b",", b", ", 1),
        "another format": lambda data: data.replace(b"grant/1", b"grant/2"),
        "a field more": lambda data: data[:-1] + b',"more":1}',
        "a key of other length": lambda data: data.replace(b'"dek":"', b'"dek":"00', 1),
        "cut": lambda data: data[:-1],
        "too large": lambda data: bytes(2**26 + 1),
    }.items(),
)
def test_parse_grant__anything_but_what_was_written__is_refused_in_one_line(
    granted: AuditGrant, name: str, change: Callable[[bytes], bytes]
) -> None:
    with pytest.raises(AuditError) as caught:
        parse_grant(change(granted.to_bytes()))
    assert "\n" not in str(caught.value)


def test_make_grant__without_the_epochs__says_so(case: Case) -> None:
    with pytest.raises(AuditError, match="key epoch 1 is not in this home"):
        make_grant(case, EpochKeys(), READER.public)


# Twenty things that a liar could change, each noticed at the level where it can be, and in words that name it.


def edit_and_reseal(case: Case, index: int, **changes: object) -> Case:
    tampered = edit_line(case, index, **changes)
    return replace(tampered, evidence=sealed(tampered.evidence))


Lie = Callable[[Case], Case]


@pytest.fixture(scope="module")
def lie(world: World) -> Lie:
    """The same case with a statement over its bundle that all validators have signed: a quorum that lies together."""
    signers = {world.keys[name].address.lower(): account(world.home(name)) for name in world.names}

    def signed(case: Case) -> Case:
        found = outcome(case.evidence)
        attestation = replace(case.attestation, **{name: getattr(found, name) for name in found.__slots__})
        data = attestation_data(case.deployment.chain_id, case.deployment.rounds, attestation)
        fields = {name: getattr(attestation, name) for name in attestation.__slots__}
        attestations = {
            operator: (data.digest, signers[operator].sign_typed_data(data), fields)
            for operator in case.state.attestations
        }
        return replace(case, attestation=attestation, state=replace(case.state, attestations=attestations))

    return signed


def other_size(case: Case) -> Case:
    """Every statement agrees on a size that the envelope does not have."""
    submitted = [replace(case.submitted[0], size=case.submitted[0].size + 9), *case.submitted[1:]]
    tampered = edit_and_reseal(case, 0, size=submitted[0].size)
    return replace(tampered, submitted=submitted)


def audited(case: Case, keys: EpochKeys) -> tuple[int, str, str]:
    """The level at which an audit first fails, the check, and what it says."""
    levels = (lambda: verify(case)[0], lambda: refetch(case), lambda: rescore(case, keys, refit=False)[0])
    for level, look in enumerate(levels, start=1):
        checks = look()
        wrong = next((check for check in checks if not check.ok), None)
        if wrong is not None:
            return level, wrong.name, wrong.detail
    return 0, "", "nothing"


def first(case: Case) -> Line:
    return case.evidence.contributions[0]


# Those under LIES are signed by all validators; the others are changes that somebody made to what they had signed.
MUTATIONS: dict[str, tuple[Callable[[Case], Case], int, str, str]] = {
    "signature": (forge_signature, 1, "signatures", "2 of 3 signatures are good"),
    "signer": (other_signer, 1, "signatures", "0 of 3 signatures are good"),
    "quorum": (
        drop_two_attestations,
        1,
        "quorum",
        f"33.33 % of the weight on the final answer: {STAKE:,} of {3 * STAKE:,}",
    ),
    "chain": (lambda c: edit(c, chain_id=2), 1, "domain", "chain 2, contract"),
    "contract": (lambda c: edit(c, contract="0x" + "33" * 20), 1, "domain", "contract 0x3333"),
    "round": (lambda c: edit(c, round=9), 1, "domain", "round 9"),
    "attempt": (lambda c: edit(c, attempt=7), 1, "domain", "attempt 7"),
    "manifest": (lambda c: edit(c, manifest="ab" * 32), 1, "manifest", "manifest abab"),
    "versions": (
        lambda c: edit(c, versions=msgspec.structs.replace(c.evidence.versions, exact=99)),
        1,
        "versions",
        "exact 99",
    ),
    "beacon": (lambda c: replace(c, state=replace(c.state, beacon=b"x" * 32)), 1, "beacon", "the hash of block"),
    "seed": (lambda c: edit(c, seed="cd" * 32), 1, "seed", "follows from the beacon"),
    "pool": (lambda c: edit(c, pool=c.evidence.pool * 2), 1, "pool", "pool 2,000"),
    "history": (lambda c: edit(c, previous="11" * 32), 1, "history", "follows on evidence 1111"),
    "a count as a real number": (
        lambda c: edit(c, round_total=float(c.evidence.round_total)),
        1,
        "bundle",
        "roots and",
    ),
    "a truth as a number": (lambda c: edit_line(c, 0, included=1), 1, "bundle", "roots and totals"),
    "a payment as a real number": (lambda c: edit_line(c, 0, paid=float(first(c).paid)), 1, "bundle", "roots and"),
    "root": (lambda c: edit(c, scores_root="00" * 32), 1, "bundle", "roots and totals"),
    "total": (lambda c: edit(c, round_total=c.evidence.round_total + 1), 1, "bundle", "roots and totals"),
    "order": (swap_order, 1, "contributions", "those submitted on chain"),
    "contributor": (
        lambda c: edit_and_reseal(c, 0, contributor="0x" + "22" * 20),
        1,
        "contributions",
        "those submitted on chain",
    ),
    "included": (lambda c: edit_and_reseal(c, 1, included=False), 1, "included", "held by a quorum"),
    "status": (lambda c: edit_and_reseal(c, 0, status=3), 1, "statuses", "every status fits"),
    "leaf": (lambda c: edit_and_reseal(c, 1, stderr=first(c).stderr + 1), 1, "trees", "attested roots"),
    "payable": (
        lambda c: edit_and_reseal(c, 0, payable=first(c).payable + 1),
        1,
        "payouts",
        "contribution 1 should have a payable score of",
    ),
    "paid": (
        lambda c: edit_and_reseal(c, 0, paid=first(c).paid + 1),
        1,
        "payouts",
        "contribution 1 is paid another amount",
    ),
    "earnings": (
        lambda c: replace(c, evidence=sealed(edit(c, earnings=[*c.evidence.earnings, ("0x" + "ff" * 20, 5)]).evidence)),
        1,
        "earnings",
        "contributors have earned",
    ),
    "size": (other_size, 2, "inputs", "contribution 1 does not have the"),
    "records": (
        lambda c: edit_and_reseal(c, 1, records=c.evidence.contributions[1].records + 1),
        3,
        "rescore",
        "contribution 2, records: recomputed",
    ),
    "accepted": (lambda c: edit(c, accepted="ee" * 32), 3, "rescore", "accepted: recomputed"),
}
LIES = {"contributor", "included", "status", "payable", "paid", "earnings", "size", "records", "accepted"}


def test_audit__round_as_it_was__nothing_is_noticed(case: Case, secrets: EpochKeys) -> None:
    assert audited(case, secrets) == (0, "", "nothing")


@pytest.mark.parametrize("name", MUTATIONS)
def test_audit__one_mutation__is_caught_at_its_level_in_its_words(
    case: Case, secrets: EpochKeys, lie: Lie, name: str
) -> None:
    change, level, check, words = MUTATIONS[name]
    changed = change(case)
    found = audited(lie(changed) if name in LIES else changed, secrets)

    assert found[:2] == (level, check), found
    assert words in found[2]


def test_proof__leaf_sibling_or_order_changed__refused_by_us_and_by_the_contract(world: World, case: Case) -> None:
    tree, lines = case.evidence.scores_tree(), case.evidence.contributions
    path = tree.proof(0)
    flipped = [bytes([path[0][0] ^ 1]) + path[0][1:], *path[1:]]
    dearer = msgspec.structs.replace(lines[0], payable=lines[0].payable + 1)
    tries = {
        "as it is": (lines[0], path),
        "leaf": (dearer, path),
        "sibling": (lines[0], flipped),
        "too short": (lines[0], path[:-1]),
        "too long": (lines[0], [*path, bytes(32)]),
        "of another": (lines[0], tree.proof(1)),
    }
    rounds = world.wallet.contracts.rounds

    def contract_says(line: Line, proof: list[bytes]) -> bool:
        who = to_checksum_address(line.contributor)
        leaf = ScoreLeaf(line.id, who, line.status, line.payable, line.raw, line.stderr)
        return rounds.verify_score(1, leaf, tuple(proof))

    ours = {name: merkle_verify(tree.root, score_leaf(line), proof) for name, (line, proof) in tries.items()}
    assert ours == {name: name == "as it is" for name in tries}
    assert {name: contract_says(line, list(proof)) for name, (line, proof) in tries.items()} == ours


# Signed reports.


@pytest.fixture(scope="module")
def report(world: World, secrets: EpochKeys) -> AuditReport:
    home = world.home("auditor")
    return sign_report(world.wallet, home, audit_round(world.wallet, home, 1, 2))


def test_report__signed__says_who_and_stands_against_the_chain(world: World, report: AuditReport) -> None:
    found = read_report(report.to_bytes())

    assert found.auditor == world.keys["auditor"].address.lower()
    assert (found.round, found.level, found.matches) == (1, 2, True)
    assert found.attestation == world.round(1).final_digest.hex()
    check_against_chain(world.wallet, found)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda r: {**r, "level": 4}, "did not sign what it says"),
        (lambda r: {**r, "round": 2}, "did not sign what it says"),
        (lambda r: {**r, "attestation": "00" * 32}, "did not sign what it says"),
        (lambda r: {**r, "matches": False}, "did not sign what it says"),
        (lambda r: {**r, "auditor": "0x" + "11" * 20}, "did not sign what it says"),
        (lambda r: {**r, "checks": {**r["checks"], "signatures": 99}}, "did not sign what it says"),
        (lambda r: {**r, "signature": "00" * 65}, "did not sign what it says"),
        (lambda r: {**r, "signature": "zz"}, "refused: Expected"),
        (lambda r: {**r, "level": 5}, "refused: Expected"),
        (lambda r: {**r, "more": 1}, "unknown field"),
        (lambda r: {**r, "format": "poc-audit-report/9"}, "not poc-audit-report/1"),
    ],
)
def test_report__one_thing_changed__is_refused(
    report: AuditReport, change: Callable[[dict[str, object]], dict[str, object]], words: str
) -> None:
    tampered = change(json.loads(report.to_bytes()))
    with pytest.raises(ReportError, match=words):
        read_report(msgspec.json.encode(tampered, order="sorted"))


def test_report__of_another_answer_or_dao__does_not_stand(world: World, report: AuditReport) -> None:
    other = msgspec.structs.replace(report, attestation="00" * 32)
    with pytest.raises(ReportError, match="another answer than the final one of round 1"):
        check_against_chain(world.wallet, other)
    with pytest.raises(ReportError, match="is about chain 5"):
        check_against_chain(world.wallet, msgspec.structs.replace(report, chain_id=5))
    with pytest.raises(ReportError, match="round 2, which is not finalised here"):
        check_against_chain(world.wallet, msgspec.structs.replace(report, round=2))


def test_report__verdict_that_its_own_checks_deny__is_refused(world: World, case: Case) -> None:
    lying = Verdict(1, 1, [Check("quorum", False, "weight 0")], 0, None, 1, case.state.final_digest)
    signer = account(world.home("auditor"))
    honest = make_report(lying, case.deployment, signer)
    dishonest = msgspec.structs.replace(honest, matches=True)
    signed = msgspec.structs.replace(dishonest, signature=signer.sign_typed_data(dishonest.typed_data()).hex())

    assert not read_report(honest.to_bytes()).matches
    with pytest.raises(ReportError, match="not what its own checks say"):
        read_report(signed.to_bytes())
