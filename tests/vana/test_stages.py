"""From a file on chain to its proof and payment, on the embedded chain: what is done, what waits, what is refused."""

from __future__ import annotations

import hashlib
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from hexbytes import HexBytes
from web3.eth import Eth

from tests.vana.support import (
    COIN,
    DLP_ID,
    FACTOR,
    FEE,
    INSTRUCTION,
    MAINTAINER,
    OWNER,
    STRANGER,
    VanaWorld,
    password,
    payload,
)
from tests.vana.writer import seal_file, seal_key
from validator.chain.devchain import DevChain
from validator.chain.typed_data import attestation_digest
from validator.chain.types import Attestation
from validator.chain.vana import JobStatus, NotVana, ProofData, VanaKey
from validator.content import Cid
from validator.journal import ProtectionError
from validator.rounds.evidence import outcome, parse_evidence
from validator.rounds.seed import round_seed
from validator.rounds.types import Status
from validator.stages.vana import claim, discover, judge, prove
from validator.stages.vana.claim import NothingToClaim
from validator.stages.vana.judge import judged
from validator.stages.vana.node import VanaNode
from validator.stages.vana.tick import tick

tick_module = sys.modules[tick.__module__]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VanaWorld]:
    torch.set_num_threads(1)
    with DevChain(block_seconds=0) as running:
        yield VanaWorld(tmp_path_factory.mktemp("world"), running)


class Running:
    """The prover's node, opened when it is asked for and kept from test to test."""

    def __init__(self, world: VanaWorld) -> None:
        self._world = world
        self._node: VanaNode | None = None

    def node(self) -> VanaNode:
        if self._node is None:
            self._node = self._world.node()
        return self._node

    def stop(self) -> None:
        if self._node is not None:
            self._node.close()
        self._node = None


@pytest.fixture(scope="module")
def running(world: VanaWorld) -> Iterator[Running]:
    made = Running(world)
    yield made
    made.stop()


@pytest.fixture
def node(running: Running) -> VanaNode:
    return running.node()


def work(node: VanaNode) -> None:
    """Everything that is due, also what was put off."""
    node.retries.clear()
    while not tick(node):
        pass


def proofs(world: VanaWorld, file: int) -> list[ProofData]:
    found = [world.contracts.registry.proof(file, index) for index in range(1, 5)]
    return [proof.data for proof in found if proof.signature]


def test_tick__four_files__each_is_scored_proven_and_explained(world: VanaWorld, node: VanaNode):
    files = [
        world.contribute(payload(1)),
        world.contribute(payload(2, wrong=True)),
        world.contribute(payload(1)),
        world.contribute(b"neither JSON nor safetensors"),
    ]

    work(node)

    verdicts = [judged(node, file) for file, _ in files]
    assert [one and one.status for one in verdicts] == [
        Status.PAID, Status.BELOW_NOISE, Status.DUPLICATE, Status.MALFORMED,
    ]  # fmt: skip
    assert [one and bool(one.data.score) for one in verdicts] == [True, False, False, False]
    for (file, job), verdict in zip(files, verdicts, strict=True):
        assert verdict is not None
        assert proofs(world, file) == [verdict.data]
        assert world.contracts.tee_pool.job(job).status is JobStatus.COMPLETED
        assert (verdict.data.dlp_id, verdict.data.instruction) == (DLP_ID, INSTRUCTION)


def test_proof__of_a_paid_file__leads_to_evidence_that_computes_to_what_was_signed(world: VanaWorld, node: VanaNode):
    file, job = world.contribute(payload(3))
    work(node)
    (data,) = proofs(world, file)
    said = msgspec.json.decode(data.metadata)

    bundle = parse_evidence(node.store.read(Cid.parse(said["evidence"]), 1 << 20))
    document = msgspec.json.decode(node.store.read(Cid.parse(data.proof_url.removeprefix("ipfs://")), 1 << 20))

    result = outcome(bundle)
    attestation = Attestation(
        job, 1, node.manifest.digest(), bytes.fromhex(bundle.seed), result.inputs_root, result.scores_root,
        result.earnings_root, result.round_total, result.earned_total, 1, Cid.parse(said["evidence"]).digest,
    )  # fmt: skip
    digest = attestation_digest(node.place.chain_id, node.place.registry, attestation)
    assert said["attestation"] == "0x" + digest.hex()
    assert said["manifest"] == "0x" + bundle.manifest == "0x" + node.manifest.digest().hex()
    (line,) = bundle.contributions
    assert (line.id, line.paid, line.contributor) == (file, data.score, world.address(OWNER).lower())
    assert bundle.pool == 10**18
    assert (
        bundle.seed
        == round_seed(
            node.place.chain_id, bundle.contract, job, node.manifest.digest(), bytes.fromhex(bundle.beacon)
        ).hex()
    )
    assert document["score"] == data.score / 10**18
    assert document["attributes"]["score_wad"] == str(data.score)
    assert document["metadata"]["decrypted_file_checksum"] == hashlib.sha256(payload(3)).hexdigest()
    assert {"dlp_id", "valid", "score", "authenticity", "ownership", "quality", "uniqueness"} < document.keys()
    verdict = judged(node, file)
    assert verdict is not None
    assert document == verdict.results


def test_judge__on_another_machine_with_the_same_files__gives_the_same_bytes(world: VanaWorld, node: VanaNode):
    file, job = world.contribute(payload(4))
    while not discover.run(node):
        pass
    ledger = discover.ledger_of(node)
    seen = ledger.jobs[job]
    where = judge.file_of(node, ledger, seen)

    first = judge.rehearse(node, where, job, judge.block_hash(node, seen.block))
    other = world.node(dry_run=True)
    second = judge.rehearse(other, where, job, judge.block_hash(other, seen.block))
    other.close()
    work(node)

    assert first == second
    assert proofs(world, file) == [first.data]


def test_reward__of_a_paid_file__is_the_score_s_share_and_is_paid_once(world: VanaWorld, node: VanaNode):
    file, _ = world.contribute(payload(5))
    work(node)
    verdict = judged(node, file)
    assert verdict is not None
    before = world.balance(world.address(OWNER))

    assert claim.reward(node, file) == 1

    assert world.balance(world.address(OWNER)) - before == FACTOR * verdict.data.score // 10**18 > 0
    claim.reward(node, file)  # the same intent: nothing is sent
    assert world.balance(world.address(OWNER)) - before == FACTOR * verdict.data.score // 10**18


def test_fees__of_proven_jobs__are_claimed_once(world: VanaWorld, node: VanaNode):
    if claim.owed(node):
        claim.fees(node)
    world.contribute(payload(6, wrong=True))
    work(node)
    assert claim.owed(node) == FEE

    assert claim.fees(node) == FEE

    assert claim.owed(node) == 0
    with pytest.raises(NothingToClaim, match="no fee to claim"):
        claim.fees(node)


def test_tick__fees_above_the_configured_sum__are_claimed_by_itself(world: VanaWorld, node: VanaNode):
    world.contribute(payload(7, wrong=True))
    node.claim_wei = FEE
    work(node)
    node.claim_wei = 0

    assert claim.owed(node) == 0


# Twice


def test_tick__file_announced_by_both_events_and_again__is_proven_once(world: VanaWorld, node: VanaNode):
    file, _ = world.contribute(payload(8))
    world.registry(OWNER, "addFilePermissionsAndSchema", file, [], 0)
    work(node)
    world.registry(OWNER, "addFilePermissionsAndSchema", file, [], 0)
    work(node)

    names = [row.name for row in node.journal.events() if row.args.get("fileId") == file]

    assert {"FileAdded", "FileAddedV2"} <= set(names)
    assert len(proofs(world, file)) == 1


def test_tick__second_job_for_a_proven_file__is_left_alone(world: VanaWorld, node: VanaNode):
    file, _ = world.contribute(payload(9))
    work(node)

    second = world.request(file)
    work(node)

    assert node.waits[second] == "proven before"
    assert len(proofs(world, file)) == 1
    assert world.contracts.tee_pool.job(second).status is JobStatus.SUBMITTED


def test_tick__job_cancelled_before_its_proof__then_asked_again__is_proven_with_the_same_words(
    world: VanaWorld, node: VanaNode, monkeypatch: pytest.MonkeyPatch
):
    file, first = world.contribute(payload(10))
    with monkeypatch.context() as patch:
        patch.setattr(prove, "run", lambda *_: "held back")
        work(node)
    before = judged(node, file)
    world.act(OWNER, world.encoded("VanaTeePool", world.place.tee_pool, "cancelJob", first))
    work(node)
    second = world.request(file)

    work(node)

    assert before is not None
    assert proofs(world, file) == [before.data]
    assert world.contracts.tee_pool.job(second).status is JobStatus.COMPLETED


# Whose key


def test_tick__granted_to_somebody_else__waits_and_is_proven_once_granted_to_us(world: VanaWorld, node: VanaNode):
    words, plain = password().encode(), payload(11)
    other = VanaKey(b"\x05" * 32)
    file = world.add(seal_file(plain, words), seal_key(words, world.key.public), to=other.address)
    job = world.request(file)
    work(node)
    assert "is not granted to" in node.waits[job]
    assert proofs(world, file) == []

    world.registry(OWNER, "addFilePermission", file, world.key.address, seal_key(words, world.key.public))
    work(node)

    assert len(proofs(world, file)) == 1


def test_tick__wrong_key__waits_for_another_grant_and_does_not_burn_the_file(
    world: VanaWorld, node: VanaNode, monkeypatch: pytest.MonkeyPatch
):
    words = password().encode()
    file = world.add(seal_file(payload(12), words), seal_key(password().encode(), world.key.public))
    job = world.request(file)
    work(node)
    assert "does not open the file" in node.waits[job]
    assert judged(node, file) is None
    with monkeypatch.context() as patch:
        tried: list[int] = []
        patch.setattr(tick_module, "_work", lambda node, ledger, job: tried.append(job.id))
        work(node)
        assert job not in tried

    world.registry(OWNER, "addFilePermission", file, world.key.address, seal_key(words, world.key.public))
    work(node)

    assert len(proofs(world, file)) == 1


def test_tick__job_of_another_prover__is_not_touched(world: VanaWorld, node: VanaNode):
    world.register(world.address(STRANGER))
    mine = {world.request(file) for file in [world.contribute(payload(13))[0]] * 2}
    jobs = {job: world.contracts.tee_pool.job(job) for job in mine}
    world.act(MAINTAINER, world.encoded("VanaTeePool", world.place.tee_pool, "removeTee", world.address(STRANGER)))

    work(node)

    foreign = [job for job, found in jobs.items() if found.tee != world.key.address]
    assert len(foreign) == 1
    assert world.contracts.tee_pool.job(foreign[0]).status is JobStatus.SUBMITTED
    assert foreign[0] not in node.waits


# Strangers


def test_proof__that_a_stranger_added__is_never_believed(world: VanaWorld, node: VanaNode):
    file, job = world.contribute(payload(14))
    forged = (b"\x01" * 65, (10**18, DLP_ID, "{}", "ipfs://x", INSTRUCTION))
    world.registry(STRANGER, "addProof", file, forged)

    work(node)

    assert world.contracts.tee_pool.job(job).status is JobStatus.COMPLETED
    assert claim.proof_index(node, file) == 2


@pytest.mark.parametrize("url", ["ftp://host/file", "ipfs://nonsense", "\x01", "http://127.0.0.1:1/file", "x" * 5000])
def test_tick__url_that_leads_nowhere__waits(world: VanaWorld, node: VanaNode, url: str):
    words = password().encode()
    file = world.add(b"", seal_key(words, world.key.public), url=url)
    job = world.request(file)

    work(node)

    assert node.waits[job] not in ("proven", "")
    assert proofs(world, file) == []


class _File(BaseHTTPRequestHandler):
    body = b""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *_: object) -> None:
        return


def test_tick__file_behind_a_plain_url__is_read_only_where_it_may_be(
    world: VanaWorld, node: VanaNode, running: Running, monkeypatch: pytest.MonkeyPatch
):
    words = password().encode()
    _File.body = seal_file(payload(15), words)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _File)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        url = f"http://127.0.0.1:{server.server_port}/file?id=15"
        file = world.add(b"", seal_key(words, world.key.public), url=url)
        job = world.request(file)
        work(node)
        assert "https" in node.waits[job]
        monkeypatch.setenv("VALIDATOR_PRIVATE_PEERS", "true")
        running.stop()

        allowed = running.node()
        work(allowed)
        verdict = judged(allowed, file)
    finally:
        running.stop()
        server.shutdown()
        server.server_close()
    assert verdict is not None
    assert verdict.results["metadata"]["encrypted_file_digest"] == hashlib.sha256(_File.body).hexdigest()


# Killed, and signed once


class Killed(BaseException):
    """In the place of SIGKILL: nothing catches it."""


def test_tick__killed_between_journal_and_broadcast__sends_the_same_bytes_once(
    world: VanaWorld, node: VanaNode, running: Running, monkeypatch: pytest.MonkeyPatch
):
    file, job = world.contribute(payload(16))
    sent: list[bytes] = []
    original = Eth.send_raw_transaction

    def noting(self: Eth, raw: bytes) -> Any:
        sent.append(bytes(raw))
        if len(sent) == 1:
            raise Killed
        return original(self, raw)

    monkeypatch.setattr(Eth, "send_raw_transaction", noting)
    with pytest.raises(Killed):
        work(node)
    running.stop()

    for _ in range(2):
        work(running.node())

    assert world.contracts.tee_pool.job(job).status is JobStatus.COMPLETED
    assert len(proofs(world, file)) == 1
    assert sent == [sent[0]] * 2


def test_prove__other_words_for_a_file_that_was_signed__are_refused(
    world: VanaWorld, node: VanaNode, monkeypatch: pytest.MonkeyPatch
):
    file, job = world.contribute(payload(17))
    with monkeypatch.context() as patch:
        patch.setattr(Eth, "send_raw_transaction", _killed)
        with pytest.raises(Killed):
            work(node)
    step = node.journal.step(file, 0, judge.JUDGED)
    assert step is not None
    node.journal.take_step(file, 0, judge.JUDGED, step | {"data": step["data"] | {"score": 1}})
    seen = discover.ledger_of(node).jobs[job]
    verdict = judged(node, file)
    assert verdict is not None

    with pytest.raises(ProtectionError, match="refused to sign a second answer"):
        prove.run(node, seen, verdict)

    node.journal.take_step(file, 0, judge.JUDGED, step)
    work(node)
    assert len(proofs(world, file)) == 1


def _killed(*_: object) -> None:
    raise Killed


# The chain changes


def test_tick__reorganised_below_what_was_taken_for_final__rolls_back_and_proves_once(tmp_path: Path):
    with DevChain(block_seconds=0) as chain:
        world = VanaWorld(tmp_path, chain)
        node = world.node()
        work(node)
        start = world.w3.eth.block_number
        file, job = world.contribute(payload(1))
        work(node)
        first, seen = judged(node, file), discover.ledger_of(node).jobs[job]

        chain.reorganise(world.w3.eth.block_number - start)
        assert not discover.run(node)
        assert judged(node, file) is None
        assert discover.ledger_of(node).jobs == {}
        chain.mine(3)
        for raw in world.sent(OWNER, 2):  # the contributor's two; our own is the node's to send again
            world.w3.eth.send_raw_transaction(HexBytes(raw))
        deadline = time.monotonic() + 60
        while not discover.ledger_of(node).ended:
            assert time.monotonic() < deadline, node.waits
            work(node)

        again = discover.ledger_of(node)
        assert again.jobs[job].block > seen.block
        assert again.ended == {job: "proven"}
        assert first is not None
        assert proofs(world, file) == [first.data]
        node.close()


def test_tick__contract_that_no_longer_announces_files__proves_nothing(tmp_path: Path):
    with DevChain(block_seconds=0) as chain:
        world = VanaWorld(tmp_path, chain)
        node = world.node()
        world.contribute(payload(1))
        work(node)
        world.registry(MAINTAINER, "updateEmitLegacyEvents", False)
        file, job = world.contribute(payload(2))
        work(node)
        assert len(proofs(world, file)) == 1
        world.registry(MAINTAINER, "rename", True)
        silent, job = world.contribute(payload(3))

        with pytest.raises(NotVana, match="no longer emits the events"):
            work(node)

        assert world.contracts.tee_pool.job(job).status is JobStatus.SUBMITTED
        assert proofs(world, silent) == []
        assert world.w3.eth.get_balance(world.key.address) < 5 * COIN
        node.close()
