"""One scorer: from opened contributions to the evidence bundle. The daemon and every audit run these lines."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from validator import exact, influence
from validator.errors import ValidatorError
from validator.influence import Problem, Records, fit, load_probes
from validator.influence.engine import IN_PROCESS, Engine
from validator.influence.fit import estimator_settings
from validator.influence.records import concat
from validator.manifest import Manifest, Versions
from validator.rounds import evidence as bundle
from validator.rounds import memory as remembered
from validator.rounds.earnings import add_earnings, divide_pool
from validator.rounds.hashes import HASH_BYTES, ascending
from validator.rounds.judge import CHUNK_BYTES, Fitted, Verdict, judge
from validator.rounds.redundancy import drop_repeats
from validator.rounds.types import VERSION, ZERO_DIGEST, Carry, Opened, Terms

Progress = Callable[[str, int, int], None]
"""Called with (phase: "fit" or "score", steps done, steps in all); must not raise. The steps of "score" are the round's
contributions.
"""


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
    opened: Iterable[Opened],
    digests: Digests,
    *,
    memory: Records | None = None,
    probes: bytes | None = None,
    progress: Progress | None = None,
    engine: Engine = IN_PROCESS,
    chunk_bytes: int = CHUNK_BYTES,
) -> Judged:
    """Judge every contribution of [terms.first_id, terms.end_id), given in order of id, and taken when it is needed:
    one that was judged is let go, but for its numbers, and its records only where later rounds remember them.

    `problem`: model, anchor and queries of the manifest. `record_key`: secret key of the record hash. `memory`: what
    was paid before under the same weights (see memory.py); it counts as part of the anchor. `probes`: a fitted
    estimator to score with instead of fitting one (audit level 3). `engine`: where it is computed, and `chunk_bytes`:
    records that are held at once, about; of no consequence for a bit. Pure: equal arguments give equal bytes on every
    machine.
    """
    check_versions(manifest.versions)
    hashed_anchor = problem.anchor
    if memory is not None:
        problem = replace(problem, anchor=concat([problem.anchor, memory]))
    try:
        fitted = _fit(terms, manifest, problem, probes, progress, engine)
        distinct = drop_repeats(record_key, carry.known, hashed_anchor, _in_order(terms, opened))
        told = _phase("score", progress)
        tally = judge(terms, manifest.scoring, fitted, distinct, told, engine, chunk_bytes)
    except (exact.ExactError, influence.InfluenceError) as error:
        raise ScoringFault(f"round {terms.round} cannot be scored under its manifest: {error}") from error
    lines = _lines(manifest, terms.pool, tally.judged)
    probes, accepted, kept = fitted.to_bytes(), ascending(bytes(tally.accepted)), tally.kept.records()
    files = _Files(digests.probes(probes), digests.accepted(accepted), len(accepted) // HASH_BYTES)
    packed = b""
    if kept is not None:
        packed, epoch = remembered.pack(kept), _newest_epoch(manifest, lines)
        digest, size = digests.memory(packed, epoch)
        files = replace(files, memory=digest, memory_size=size, memory_count=len(kept), memory_epoch=epoch)
    return Judged(_assemble(terms, carry, files, lines), accepted, packed, probes)


def _in_order(terms: Terms, opened: Iterable[Opened]) -> Iterator[Opened]:
    """The same, and ValueError unless they are the round's, all of them and in order."""
    wanted = iter(range(terms.first_id, terms.end_id))
    for item in opened:
        if item.submission.id != next(wanted, None):
            raise ValueError("opened contributions must be the round's ids, in order")
        yield item
    if next(wanted, None) is not None:
        raise ValueError("opened contributions must be the round's ids, in order")


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


def _newest_epoch(manifest: Manifest, lines: list[bundle.Line]) -> int:
    """Whoever held only an older key may not read records that were sealed to a newer one."""
    return max([manifest.sealed.key_epoch, *(line.key_epoch for line in lines if line.payable)])


def _lines(manifest: Manifest, pool: int, judged: Sequence[Verdict]) -> list[bundle.Line]:
    shares = divide_pool(pool, [(one.submission.contributor, one.payable) for one in judged], manifest.rewards)
    return [_line(one, amount) for one, amount in zip(judged, shares, strict=True)]


def _line(one: Verdict, paid: int) -> bundle.Line:
    submission = one.submission
    return bundle.Line(
        id=submission.id,
        contributor=submission.contributor,
        digest=submission.digest.hex(),
        codec=submission.codec,
        size=submission.size,
        key_epoch=submission.key_epoch,
        included=one.included,
        status=int(one.status),
        reason=one.reason,
        records=one.records,
        repeats=one.offered - one.records,
        raw=one.raw,
        stderr=one.stderr,
        payable=one.payable,
        paid=paid,
    )


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
