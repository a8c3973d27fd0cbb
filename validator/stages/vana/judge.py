"""Judge: one file, opened and scored by the one scorer there is, its evidence stored, and the outcome journalled.

From the journalled step on everything that is signed is fixed: a process killed later signs the same.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import msgspec
import structlog

from validator.chain.rpc import understood
from validator.chain.typed_data import attestation_digest
from validator.chain.types import Attestation
from validator.chain.vana import File, NotVana, ProofData
from validator.content import Cid, TooLarge
from validator.envelope import seal_shared
from validator.errors import ValidatorError
from validator.rounds.evidence import Evidence, outcome
from validator.rounds.score import Digests, Judged, score_round
from validator.rounds.types import Carry, Opened, Status, Submission, Terms
from validator.rounds.vana import metadata, results, score_of, terms_of_file
from validator.stages.documents import PROBES_INFO, file_digest, load_carry
from validator.stages.memory import load_memory, name_memory, seal_memory
from validator.stages.vana.fetch import Fetched, fetch
from validator.stages.vana.ledger import JobSeen, Ledger
from validator.stages.vana.node import ARCHIVE_EPOCH, VanaNode
from validator.stages.vana.open import Contents, open_file

log = structlog.get_logger("vana")

JUDGED = "judged"
_NOTHING = bytes(32)


class NotGranted(ValidatorError):
    """The file's key was not granted to us."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is going to be said of a file. `sequence` counts what this node has judged; `evidence` is the digest of the
    bundle's root, `results` the document behind the proof's URL.
    """

    sequence: int
    job: int
    url: str
    data: ProofData
    status: Status
    reason: str
    evidence: bytes
    results: dict[str, Any]


def judged(node: VanaNode, file_id: int) -> Verdict | None:
    """What the journal holds of a file."""
    step = node.journal.step(file_id, 0, JUDGED)
    if step is None:
        return None
    document = msgspec.json.decode(step["results"].encode())
    return Verdict(
        step["sequence"],
        step["job"],
        step["url"],
        ProofData(**step["data"]),
        Status(step["status"]),
        step["reason"],
        step["evidence"],
        document,
    )


def run(node: VanaNode, ledger: Ledger, job: JobSeen) -> Verdict:
    """Judge the file of `job`, once. Raises NotGranted or KeyRefused (the owner can mend it), ContentError (try again),
    NotVana when event and state contradict each other.
    """
    known = judged(node, job.file_id)
    if known is not None:
        return known
    file = file_of(node, ledger, job)
    verdict = rehearse(node, file, job.id, block_hash(node, job.block))
    _keep(node, file, verdict)
    log.info("judged", file=file.id, job=job.id, status=verdict.status.name.lower(), score=str(verdict.data.score))
    return verdict


def rehearse(node: VanaNode, file: File, job: int, beacon: bytes) -> Verdict:
    """The same without the journal. Evidence and what it names are put into the store."""
    fetched, contents = _contents(node, file)
    sequence, carry = _carry(node)
    terms = terms_of_file(node.place.chain_id, node.place.registry, job, file.id, node.manifest.digest(), beacon)
    scored = _scored(node, terms, carry, file, fetched, contents)
    evidence = scored.evidence
    cid = _store(node, scored)
    said = metadata(
        _attested(node, evidence, cid), str(cid), node.manifest.digest(), node.manifest.versions.model_dump()
    )
    document = results(evidence, node.place.dlp_id, signed=said, plain_digest=contents.plain_digest)
    where = node.store.put(msgspec.json.encode(document, order="sorted"))
    instruction = node.contracts.dlp.proof_instruction()
    data = ProofData(score_of(evidence), node.place.dlp_id, said, f"ipfs://{where}", instruction)
    (line,) = evidence.contributions
    return Verdict(sequence, job, file.url, data, Status(line.status), line.reason, cid.digest, document)


def file_of(node: VanaNode, ledger: Ledger, job: JobSeen) -> File:
    """The file of a job, by the contract; what was announced of it must be the same."""
    mark = node.journal.mark()
    file = node.contracts.registry.file(job.file_id, mark.number if mark else "latest")
    announced = ledger.files.get(file.id)
    if announced is not None and announced != (file.owner, file.url):
        raise NotVana(
            f"file {file.id} was announced with another owner or URL than the registry holds: nothing is proven"
        )
    return file


def block_hash(node: VanaNode, number: int) -> bytes:
    """Hash of a final block."""
    with understood(f"block {number}"):
        return bytes(node.w3.eth.get_block(number)["hash"])


# Opening


def _contents(node: VanaNode, file: File) -> tuple[Fetched | None, Contents]:
    granted = node.contracts.registry.permission(file.id, node.account)
    if not granted:
        raise NotGranted(f"the key of file {file.id} is not granted to {node.account}: its owner has to")
    try:
        fetched = fetch(node, file.url)
    except TooLarge:
        return None, Contents(status=Status.OVERSIZED, reason="bytes")
    return fetched, open_file(fetched.data, granted, node.secret, node.manifest, node.process)


# Scoring


def _scored(
    node: VanaNode, terms: Terms, carry: Carry, file: File, fetched: Fetched | None, contents: Contents
) -> Judged:
    cid = fetched.cid if fetched is not None else Cid("raw", _NOTHING)
    size = len(fetched.data) if fetched is not None else 0
    submission = Submission(file.id, file.owner.lower(), cid.digest, cid.codec_byte, size, ARCHIVE_EPOCH)
    opened = Opened(submission, fetched is not None, contents.records, contents.status, contents.reason)
    return score_round(
        terms,
        node.manifest,
        carry,
        node.judgement.problem,
        node.judgement.record_key,
        [opened],
        Digests(
            probes=lambda data: file_digest(_sealed_probes(node, data)),
            accepted=file_digest,
            memory=lambda data, epoch: name_memory(node.archive, data, epoch),
        ),
        memory=load_memory(node.store, node.manifest, carry, node.archive, node.judgement.problem.anchor),
    )


def _carry(node: VanaNode) -> tuple[int, Carry]:
    """How many files were judged before, and what they hand on."""
    if node.bundles is None:
        rows = node.journal.query("SELECT round FROM steps WHERE step = ? AND attempt = 0", JUDGED)
        before = sorted((found for (file,) in rows if (found := judged(node, file))), key=lambda one: one.sequence)
        node.bundles = [one.evidence for one in before]
    node.carry = load_carry(node.store, node.bundles, node.carry)
    return len(node.bundles) + 1, node.carry


def _attested(node: VanaNode, evidence: Evidence, cid: Cid) -> bytes:
    """The EIP-712 digest of our attestation about this round of one file, for the registry's address."""
    result = outcome(evidence)
    attestation = Attestation(
        round=evidence.round,
        attempt=evidence.attempt,
        manifest=bytes.fromhex(evidence.manifest),
        seed=bytes.fromhex(evidence.seed),
        inputs_root=result.inputs_root,
        scores_root=result.scores_root,
        earnings_root=result.earnings_root,
        round_total=result.round_total,
        earned_total=result.earned_total,
        count=result.count,
        evidence=cid.digest,
    )
    return attestation_digest(node.place.chain_id, node.place.registry, attestation)


# Keeping


def _store(node: VanaNode, scored: Judged) -> Cid:
    node.store.put(node.manifest.to_bytes())
    node.store.put(scored.accepted)
    node.store.put(_sealed_probes(node, scored.probes))
    if scored.memory:
        node.store.put(seal_memory(node.archive, scored.memory, scored.evidence.memory_epoch))
    return node.store.put(scored.evidence.to_bytes())


def _sealed_probes(node: VanaNode, probes: bytes) -> bytes:
    return seal_shared(node.archive[ARCHIVE_EPOCH], probes, PROBES_INFO)


def _keep(node: VanaNode, file: File, verdict: Verdict) -> None:
    step = {
        "sequence": verdict.sequence,
        "job": verdict.job,
        "url": verdict.url,
        "data": asdict(verdict.data),
        "status": int(verdict.status),
        "reason": verdict.reason,
        "evidence": verdict.evidence,
        "results": msgspec.json.encode(verdict.results, order="sorted").decode(),
    }
    node.journal.take_step(file.id, 0, JUDGED, step)
    assert node.bundles is not None, "internal error: a file was judged on top of nothing"
    node.bundles.append(verdict.evidence)
