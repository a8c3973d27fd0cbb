"""Levels 2 to 4: fetch the inputs again, open them, judge them again, and compare."""

from __future__ import annotations

from contextlib import closing

from validator.audit.case import AuditError, Case
from validator.audit.grant import PROBES_BYTES, needed_epochs
from validator.audit.verdict import Check, Difference, first_difference
from validator.content import Cid, ContentError, TooLarge
from validator.influence.engine import IN_PROCESS, Engine
from validator.rounds.score import Digests, Progress, score_round
from validator.rounds.types import Submission
from validator.stages.documents import PROBES_INFO, Judgement, dao_context, file_digest, load_judgement, read_by_digest
from validator.stages.keyring import Keyring
from validator.stages.memory import load_memory, name_memory
from validator.stages.open import open_all
from validator.stages.score import terms_of


def refetch(case: Case) -> list[Check]:
    """Level 2: every included envelope is there and hashes to its CID; the first that does not is named."""
    pairs = zip(case.submitted, case.evidence.contributions, strict=True)
    included = [(submission, line) for submission, line in pairs if line.included]
    for submission, line in included:
        try:
            fits = len(read_envelope(case, submission)) == submission.size
        except TooLarge:
            fits = False
        except ContentError as error:
            return [Check("inputs", False, f"contribution {submission.id}: {error}")]
        if fits == (line.reason == "size"):
            found = "has" if fits else "does not have"
            return [
                Check("inputs", False, f"contribution {submission.id} {found} the {submission.size} bytes declared")
            ]
    return [Check("inputs", True, f"{len(included)} envelopes fetched and hashed again")]


def rescore(
    case: Case, keys: Keyring, *, refit: bool, progress: Progress | None = None, engine: Engine = IN_PROCESS
) -> tuple[list[Check], Difference | None]:
    """Level 3 (published probes) or 4 (`refit`): judge again with the same lines as the daemon, and compare bundles."""
    judgement = _judgement(case, keys)
    place = (case.deployment.chain_id, case.deployment.rounds)
    held = frozenset(line.id for line in case.evidence.contributions if line.included)
    probes = None if refit else _published_probes(case, keys)
    memory = load_memory(case.store, case.manifest, case.carry, keys, judgement.problem.anchor)
    with closing(
        open_all(case.submitted, held, case.manifest, keys, place, lambda item: read_envelope(case, item))
    ) as opened:
        judged = score_round(
            terms_of(case.state, *place),
            case.manifest,
            case.carry,
            judgement.problem,
            judgement.record_key,
            opened,
            Digests(
                probes=lambda data: file_digest(_sealed(case, keys, data)),
                accepted=file_digest,
                memory=lambda data, epoch: name_memory(keys, data, epoch),
            ),
            memory=memory,
            probes=probes,
            progress=progress,
            engine=engine,
        )
    difference = first_difference(judged.evidence, case.evidence)
    same = judged.evidence.to_bytes() == case.evidence.to_bytes()
    name = "refit" if refit else "rescore"
    detail = "the bundle came out the same to the last bit" if same else str(difference)
    return [Check(name, same, detail)], difference


def read_envelope(case: Case, submission: Submission) -> bytes:
    """Verified bytes of an envelope from the case's store."""
    return case.store.read(Cid.from_chain(submission.digest, submission.codec), submission.size)


def _judgement(case: Case, keys: Keyring) -> Judgement:
    missing = keys.missing(needed_epochs(case))
    if missing:
        raise AuditError(
            f"levels 3 and 4 open the data: keys of epoch {', '.join(map(str, missing))} are needed; "
            "ask the DAO's steward for a grant to this operator address"
        )
    epoch = case.manifest.sealed.key_epoch
    context = dao_context(case.deployment.chain_id, case.deployment.rounds, case.deployment.dao, epoch)
    return load_judgement(case.store, case.manifest, keys, context)


def _published_probes(case: Case, keys: Keyring) -> bytes:
    try:
        sealed = read_by_digest(case.store, bytes.fromhex(case.evidence.probes), PROBES_BYTES)
    except ContentError as error:
        number = case.state.round
        raise AuditError(f"the probes of round {number} are not to be had: {error}; level 4 fits them again") from None
    return keys.open_shared(case.manifest.sealed.key_epoch, sealed, PROBES_INFO)


def _sealed(case: Case, keys: Keyring, probes: bytes) -> bytes:
    return keys.seal_shared(case.manifest.sealed.key_epoch, probes, PROBES_INFO)
