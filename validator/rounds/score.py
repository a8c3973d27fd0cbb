"""One scorer: from opened contributions to the evidence bundle. The daemon and every audit run these lines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch

from validator import exact, influence
from validator.errors import ValidatorError
from validator.influence import Problem, Records, fit, load_probes
from validator.influence.engine import IN_PROCESS, Engine
from validator.influence.fit import estimator_settings
from validator.influence.probes import Probes
from validator.influence.records import concat
from validator.influence.response import Response
from validator.manifest import Manifest, Scoring, Versions
from validator.rounds import evidence as bundle
from validator.rounds import memory as remembered
from validator.rounds.earnings import add_earnings, divide_pool, payable_score
from validator.rounds.redundancy import drop_repeats
from validator.rounds.types import HASH_BYTES, VERSION, ZERO_DIGEST, Carry, Opened, Status, Terms

Fitted = Response | Probes
"""What `fit` gives: something that scores groups of records."""

Progress = Callable[[str, int, int], None]
"""Called with (phase: "fit" or "score", steps done, steps in all); must not raise."""


class ScoringFault(ValidatorError):
    """The estimator refused the DAO's own model, data or parameters; no contribution can cause it."""


class ProbesMismatch(ValidatorError):
    """Published probes are not those that the manifest and the seed of the round ask for."""


class VersionMismatch(ValidatorError):
    """The manifest asks for arithmetic or rules that this node does not have."""


@dataclass(frozen=True, slots=True)
class Judged:
    """The bundle of a round, the keyed hashes of the records it accepted (16 bytes each, ascending), these records (to
    be sealed; empty when there is none), and the fitted estimator (to be sealed) that an auditor may score with.
    """

    evidence: bundle.Evidence
    accepted: bytes
    memory: bytes
    probes: bytes


@dataclass(frozen=True, slots=True)
class Digests:
    """How files that stand beside the bundle are named in it: 32 bytes for the bytes of a file. `memory` is told the
    key epoch to seal under as well, and gives the size of the sealed file too. Pure functions.
    """

    probes: Callable[[bytes], bytes]
    accepted: Callable[[bytes], bytes]
    memory: Callable[[bytes, int], tuple[bytes, int]]


def own_versions() -> Versions:
    """What this node computes."""
    return Versions(exact=exact.VERSION, influence=influence.VERSION, rounds=VERSION)


def version_gap(wanted: Versions) -> str:
    """Why this node must not score what the manifest wants, and what to do about it, in one line; "" when it may.

    Its answer would not be the others': at best no quorum, at worst a wrong one.
    """
    own = own_versions().model_dump()
    wrong = {name: getattr(wanted, name) for name in own if getattr(wanted, name) != own[name]}
    if not wrong:
        return ""
    told = ", ".join(f"{name} version {want} (this node computes version {own[name]})" for name, want in wrong.items())
    newer = [name for name, want in wrong.items() if want > own[name]]
    cure = (
        "upgrade this node"
        if newer
        else "this node is newer: run the release that has them until the DAO publishes a manifest for this one"
    )
    return f"the manifest wants {told}; {cure}; until then nothing is scored or attested for it"


def check_versions(wanted: Versions) -> None:
    """Raises `VersionMismatch` unless this node computes exactly what the manifest wants."""
    if gap := version_gap(wanted):
        raise VersionMismatch(gap)


def score_round(
    terms: Terms,
    manifest: Manifest,
    carry: Carry,
    problem: Problem,
    record_key: bytes,
    opened: Sequence[Opened],
    digests: Digests,
    *,
    memory: Records | None = None,
    probes: bytes | None = None,
    progress: Progress | None = None,
    engine: Engine = IN_PROCESS,
) -> Judged:
    """Judge every contribution of [terms.first_id, terms.end_id), given in order of id.

    `problem`: model, anchor and queries of the manifest. `record_key`: secret key of the record hash. `memory`: what
    was paid before under the same weights (see memory.py); it counts as part of the anchor. `probes`: a fitted
    estimator to score with instead of fitting one (audit level 3). `engine`: where it is computed, of no consequence
    for a bit. Pure: equal arguments give equal bytes on every machine.
    """
    check_versions(manifest.versions)
    if [item.submission.id for item in opened] != list(range(terms.first_id, terms.end_id)):
        raise ValueError("opened contributions must be the round's ids, in order")
    distinct = drop_repeats(record_key, carry.known, problem.anchor, opened)
    if memory is not None:
        problem = replace(problem, anchor=concat([problem.anchor, memory]))
    try:
        fitted = _fit(terms, manifest, problem, probes, progress, engine)
        groups = [records for _, records, _ in distinct if records is not None]
        scores = _score_groups(fitted, groups, manifest.scoring, progress, engine)
    except (exact.ExactError, influence.InfluenceError) as error:
        raise ScoringFault(f"round {terms.round} cannot be scored under its manifest: {error}") from error
    lines = _lines(manifest, terms.pool, distinct, scores)
    probes = fitted.to_bytes()
    accepted, kept = _accepted(lines, distinct), _kept(lines, distinct, manifest.scoring)
    files = _Files(digests.probes(probes), digests.accepted(accepted), len(accepted) // HASH_BYTES)
    packed = b""
    if kept is not None:
        packed, epoch = remembered.pack(kept), _newest_epoch(manifest, lines)
        digest, size = digests.memory(packed, epoch)
        files = replace(files, memory=digest, memory_size=size, memory_count=len(kept), memory_epoch=epoch)
    return Judged(_assemble(terms, carry, files, lines), accepted, packed, probes)


@dataclass(frozen=True, slots=True)
class _Files:
    """Digests of the files beside the bundle, and what else it says of them."""

    probes: bytes
    accepted: bytes
    accepted_count: int
    memory: bytes = ZERO_DIGEST
    memory_size: int = 0
    memory_count: int = 0
    memory_epoch: int = 0


def _fit(
    terms: Terms,
    manifest: Manifest,
    problem: Problem,
    probes: bytes | None,
    progress: Progress | None,
    engine: Engine,
) -> Fitted:
    estimator = manifest.estimator
    if probes is not None:
        fitted = load_probes(problem, probes, engine)
        wanted = estimator_settings(estimator.name, estimator.arguments())
        if (fitted.settings, fitted.seed, fitted.per_query) != (wanted, terms.seed, False):
            raise ProbesMismatch(f"the probes of round {terms.round} were fitted with other settings or another seed")
        return fitted
    told = _phase("fit", progress)
    return fit(
        problem, estimator=estimator.name, seed=terms.seed, progress=told, engine=engine, **estimator.arguments()
    )


def _phase(name: str, progress: Progress | None) -> Callable[[int, int], None] | None:
    return None if progress is None else lambda done, total: progress(name, done, total)


def _score_groups(
    fitted: Fitted, groups: Sequence[Records], scoring: Scoring, progress: Progress | None, engine: Engine
) -> list[tuple[int, int]]:
    """(raw, stderr) of each group in 1e-9 of the objective: by `response` what it adds to the accepted ones before it,
    by probes what it is worth alone.
    """
    if not groups:
        return []
    told = _phase("score", progress)
    if isinstance(fitted, Response):
        one_by_one = fitted.in_order(
            groups, lambda raw, stderr: payable_score(raw, stderr, scoring) > 0, progress=told, engine=engine
        )
        return list(zip(*one_by_one.to_fixed(), strict=True))
    together = concat(groups)
    ids = torch.cat([torch.full((len(group),), index, dtype=torch.int64) for index, group in enumerate(groups)])
    raw, stderr = fitted.score(together, groups=ids, progress=told, engine=engine).to_fixed()
    return list(zip(raw, stderr, strict=True))


def _accepted(lines: list[bundle.Line], distinct: Sequence[tuple[Opened, Records | None, list[bytes]]]) -> bytes:
    """Keyed hashes of the records that were paid, ascending."""
    paid = (fresh for line, (_, _, fresh) in zip(lines, distinct, strict=True) if line.payable)
    return b"".join(sorted(digest for fresh in paid for digest in fresh))


def _newest_epoch(manifest: Manifest, lines: list[bundle.Line]) -> int:
    """Whoever held only an older key may not read records that were sealed to a newer one."""
    return max([manifest.sealed.key_epoch, *(line.key_epoch for line in lines if line.payable)])


def _kept(
    lines: list[bundle.Line], distinct: Sequence[tuple[Opened, Records | None, list[bytes]]], scoring: Scoring
) -> Records | None:
    """Records that were paid, in on-chain order: as many as later rounds may remember."""
    pairs = zip(lines, distinct, strict=True)
    paid = [records for line, (_, records, _) in pairs if line.payable and records is not None]
    return remembered.latest(paid, scoring.memory_records)


def _lines(
    manifest: Manifest,
    pool: int,
    distinct: Sequence[tuple[Opened, Records | None, list[bytes]]],
    scores: Sequence[tuple[int, int]],
) -> list[bundle.Line]:
    remaining = iter(scores)
    judged = []
    for item, records, _ in distinct:
        raw, stderr = next(remaining) if records is not None else (0, 0)
        payable = payable_score(raw, stderr, manifest.scoring) if records is not None else 0
        judged.append((item, records, raw, stderr, payable))
    paid = divide_pool(pool, [(item.submission.contributor, payable) for item, *_, payable in judged], manifest.rewards)
    return [_line(*row, amount) for row, amount in zip(judged, paid, strict=True)]


def _line(item: Opened, records: Records | None, raw: int, stderr: int, payable: int, paid: int) -> bundle.Line:
    submission = item.submission
    scored = len(records) if records is not None else 0
    offered = len(item.records) if item.records is not None else 0
    return bundle.Line(
        id=submission.id,
        contributor=submission.contributor,
        digest=submission.digest.hex(),
        codec=submission.codec,
        size=submission.size,
        key_epoch=submission.key_epoch,
        included=item.included,
        status=int(_status(item, records, payable)),
        reason=item.reason,
        records=scored,
        repeats=offered - scored,
        raw=raw,
        stderr=stderr,
        payable=payable,
        paid=paid,
    )


def _status(item: Opened, records: Records | None, payable: int) -> Status:
    if item.status is not None:
        return item.status
    if records is None:
        return Status.DUPLICATE
    return Status.PAID if payable else Status.BELOW_NOISE


def _assemble(
    terms: Terms,
    carry: Carry,
    files: _Files,
    lines: list[bundle.Line],
) -> bundle.Evidence:
    earnings = add_earnings(carry.earnings, [(line.contributor, line.paid) for line in lines])
    draft = bundle.Evidence(
        format=bundle.FORMAT,
        versions=bundle.Versions(**own_versions().model_dump()),
        chain_id=terms.chain_id,
        contract=terms.contract,
        round=terms.round,
        attempt=terms.attempt,
        manifest=terms.manifest.hex(),
        beacon=terms.beacon.hex(),
        seed=terms.seed.hex(),
        previous=carry.evidence.hex(),
        pool=terms.pool,
        probes=files.probes.hex(),
        contributions=lines,
        accepted=files.accepted.hex(),
        accepted_count=files.accepted_count,
        memory=files.memory.hex(),
        memory_count=files.memory_count,
        memory_size=files.memory_size,
        memory_epoch=files.memory_epoch,
        earnings=list(earnings.items()),
        inputs_root="0" * 64,
        scores_root="0" * 64,
        earnings_root="0" * 64,
        round_total=0,
        earned_total=0,
    )
    return bundle.sealed(draft)
