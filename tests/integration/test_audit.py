"""An audit of a real finalised round; then the same round with one thing changed, which the right check must notice."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import msgspec
import pytest

from tests.support import CLEAN, NOISE, World
from validator.actions.home import hpke_secret
from validator.actions.steward import grant
from validator.audit.case import AuditError, Case, open_case
from validator.audit.grant import AuditGrant, EnvelopeKey, GrantedKeys, make_grant, parse_grant
from validator.audit.rescore import read_envelope, refetch, rescore
from validator.audit.verify import verify
from validator.content import Cid
from validator.envelope import generate_keypair
from validator.envelope.format import read_head
from validator.envelope.keys import wrap
from validator.rounds.evidence import Evidence, Line, sealed
from validator.rounds.lifecycle import Fact
from validator.stages.keyring import EpochKeys
from validator.stages.keys import granted_secrets


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = World(tmp_path_factory.mktemp("audit"), validators=3, capacity=3)
    made.contribute(CLEAN, NOISE, CLEAN)
    made.nodes = [made.node(name) for name in made.names]
    made.play(made.nodes, lambda: made.is_final(1) and len(made.round(1).attestations) == 3)
    yield made
    made.close()


@pytest.fixture(scope="module")
def case(world: World) -> Case:
    return open_case(world.w3, world.wallet.deployment, world.wallet.store, world.facts(), 1)


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


# The second verifier, which shares no code with ours: it must agree, and notice what ours notices.

SECOND = Path("scripts/verify.py")


def second_verifier() -> ModuleType:
    spec = importlib.util.spec_from_file_location("second_verifier", SECOND)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def ask_second(world: World, source: str) -> subprocess.CompletedProcess[str]:
    options = {"--rpc": world.chain.url, "--contract": world.wallet.deployment.rounds, "--blocks": source}
    words = [word for pair in options.items() for word in pair]
    return subprocess.run(
        [sys.executable, SECOND, *words, "1"], capture_output=True, text=True, timeout=60, check=False
    )


def test_second_verifier__round_as_it_was__agrees(world: World):
    answer = ask_second(world, str(world.folder / "store"))
    assert (answer.returncode, answer.stderr) == (0, "")
    assert all(line.startswith("ok") for line in answer.stdout.splitlines())
    assert len(answer.stdout.splitlines()) == 9
    assert "3 good signatures" in answer.stdout


def test_second_verifier__blocks_changed_on_their_way__are_refused_in_one_line(
    world: World, case: Case, tmp_path: Path
):
    digest = case.attestation.evidence.hex()
    liar = tmp_path / "blocks" / digest[:2] / digest
    liar.parent.mkdir(parents=True)
    liar.write_bytes(case.evidence.to_bytes().replace(b'"pool"', b'"Pool"'))
    answer = ask_second(world, str(tmp_path))
    assert answer.returncode == 2
    assert answer.stderr.startswith("error: round 1 cannot be checked")
    assert "gave other bytes" in answer.stderr
    assert answer.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("field", "change", "noticed"),
    [
        ("chain_id", 2, {"domain"}),
        ("attempt", 2, {"domain"}),
        ("seed", "00" * 32, {"domain"}),
        ("pool", 1, {"domain"}),
        ("earnings", [], {"trees", "earnings"}),
        ("contributor", "0x" + "22" * 20, {"contributions", "trees", "earnings"}),
        ("included", False, {"included"}),
        ("raw", -(10**12), {"trees", "payouts"}),
        ("payable", 10**17, {"trees", "payouts"}),
        ("status", 2, {"trees"}),
        ("paid", 1, {"payouts", "earnings", "totals"}),
        ("size", 1, {"contributions", "trees"}),
    ],
)
def test_second_verifier__one_thing_changed__is_noticed(
    world: World, case: Case, field: str, change: object, noticed: set[str]
):
    tampered = json.loads(case.evidence.to_bytes())
    paid = next(line for line in tampered["contributions"] if line["paid"])
    (tampered if field in tampered else paid)[field] = change
    module = second_verifier()
    genuine, evidence = module.document, case.attestation.evidence
    module.document = lambda source, digest: tampered if digest == evidence else genuine(source, digest)
    contract, store = world.wallet.deployment.rounds, str(world.folder / "store")
    found = module.checks(world.w3, contract, 1, 0, store)
    assert noticed <= {words.split(":")[0] for words, ok in found if not ok}
