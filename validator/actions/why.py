"""Why a contribution was paid what it was paid, in sentences that follow the arithmetic."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from validator.manifest import Manifest
from validator.rounds.evidence import Evidence, Line
from validator.rounds.types import FORFEITS, Status
from validator.words import points, reason_words

Amounts = Callable[[int], str]


def why(line: Line, evidence: Evidence, manifest: Manifest, amount: Amounts) -> list[str]:
    """The reasons in order; `amount` puts reward-token units into words."""
    return list(_reasons(line, evidence, manifest, amount))


def deposit_words(status: Status | None) -> str:
    """What becomes of the deposit."""
    if status is None:
        return "held until the round is final"
    return "forfeited" if status in FORFEITS else "comes back"


def _reasons(line: Line, evidence: Evidence, manifest: Manifest, amount: Amounts) -> Iterator[str]:
    status = Status(line.status)
    words = line.words()
    yield words[:1].upper() + words[1:] + "."
    if line.reason:
        yield f"The rule it broke: {reason_words(line.reason)}."
    if line.repeats and line.records:
        known = "was known before, and is" if line.repeats == 1 else "were known before, and are"
        yield f"{line.repeats:,} of {line.repeats + line.records:,} records {known} not scored."
    if status in (Status.PAID, Status.BELOW_NOISE):
        yield from _scored(line, manifest)
    if status is Status.PAID:
        yield from _paid(line, evidence, manifest, amount)


def _scored(line: Line, manifest: Manifest) -> Iterator[str]:
    rules = manifest.scoring
    objective = rules.objective.replace("_", " ")
    turn = "falls" if line.raw > 0 else "rises"
    yield (
        f"{_count(line.records)} scored together: with them the model's {objective} on the DAO's queries {turn} by "
        f"{points(abs(line.raw))} thousandths, with a standard error of {points(line.stderr)}."
    )
    if _has_control(manifest):
        yield "What the same records gain under false names of their classes, if anything, is off already."
    kappa = f"{rules.kappa_milli / 1000:g}"
    left = line.raw - -(-rules.kappa_milli * line.stderr // 1000)
    yield f"Doubt is not paid: {kappa} times the standard error comes off, which leaves {points(left)}."
    if left > 0 and line.payable == 0:
        yield f"That is below the floor of {points(rules.floor)}."
    if 0 < line.payable < left:
        yield f"At most {points(rules.contribution_cap)} are payable to one contribution."


def _has_control(manifest: Manifest) -> bool:
    """Whether gains stand against a control run: by default 1 of `influence`, which is not imported here for torch."""
    return manifest.estimator.name == "response" and float(manifest.estimator.params.get("control", 1)) > 0


def _paid(line: Line, evidence: Evidence, manifest: Manifest, amount: Amounts) -> Iterator[str]:
    together = sum(other.payable for other in evidence.contributions)
    divisor = max(together, manifest.rewards.full_pool_score)
    whose = "all payable scores of the round together" if divisor == together else "the least for which all is paid out"
    share = evidence.pool * line.payable // divisor
    yield (
        f"The pool of {amount(evidence.pool)} is shared out over {points(divisor)} thousandths, {whose}: "
        f"{points(line.payable)} of them earn {amount(share)}."
    )
    if line.paid < share:
        cap = f"{manifest.rewards.contributor_cap_bps / 100:g} %"
        yield f"One contributor takes at most {cap} of a pool, so {amount(line.paid)} are paid; the rest stays in it."


def _count(records: int) -> str:
    return f"{records:,} record{'s are' if records != 1 else ' is'}"
