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
from validator.actions.steward import grant
from validator.audit.case import AuditError, Case, open_case
from validator.audit.rescore import refetch, rescore
from validator.audit.verify import verify
from validator.content import Cid
from validator.rounds.evidence import Evidence, Line, sealed
from validator.rounds.lifecycle import Fact
from validator.stages.keys import granted_secrets


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = World(tmp_path_factory.mktemp("audit"), validators=3, capacity=3)
    made.contribute(CLEAN, NOISE, CLEAN)
    made.play(
        [made.node(name) for name in made.names], lambda: made.is_final(1) and len(made.round(1).attestations) == 3
    )
    yield made
    made.close()


@pytest.fixture(scope="module")
def case(world: World) -> Case:
    return open_case(world.w3, world.wallet.deployment, world.wallet.store, world.facts(), 1)


@pytest.fixture(scope="module")
def secrets(world: World) -> dict[int, bytes]:
    from validator.actions.home import hpke_secret

    world.add_home("auditor")
    keys = world.keys["auditor"]
    grant(world.wallet, world.steward, keys.address, keys.hpke_key, [1])
    world.chain.mine(3)
    secret = hpke_secret(world.home("auditor"))
    return granted_secrets(world.facts(), world.wallet.deployment, keys.address, secret, {})


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
def test_rescore__round_as_it_was__comes_out_the_same_to_the_last_bit(
    case: Case, secrets: dict[int, bytes], refit: bool
):
    checks, difference = rescore(case, secrets, refit=refit)
    assert checks[0].ok, difference


def test_rescore__score_changed_and_resealed__names_contribution_field_and_both_values(
    case: Case, secrets: dict[int, bytes]
):
    tampered = edit_line(case, 1, raw=case.evidence.contributions[1].raw - 7)
    tampered = replace(tampered, evidence=sealed(tampered.evidence))
    checks, difference = rescore(tampered, secrets, refit=True)
    assert not checks[0].ok
    assert difference is not None
    assert (difference.contribution, difference.field) == (tampered.evidence.contributions[1].id, "raw")
    assert int(difference.ours) - int(difference.theirs) == 7


def test_rescore__without_a_grant__says_whom_to_ask(case: Case):
    with pytest.raises(AuditError, match="steward"):
        rescore(case, {}, refit=True)


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
