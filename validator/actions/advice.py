"""What a steward should think about before publishing: rules over what `validator dao check` has measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from statistics import median_high
from typing import Any

from validator.manifest import Manifest

FEW_ANCHOR, FEW_QUERIES = 100, 100
WORSE = 1.25
UNIT = 10**9


def advise(manifest: Manifest, found: Mapping[str, Any]) -> Iterator[str]:
    """One line a warning. `found` is a Check as plain data, with its scores."""
    yield from _on_data(found)
    yield from _on_rules(manifest, found)
    yield from _on_training(found)
    yield from _on_scores(manifest, found)


def _on_data(found: Mapping[str, Any]) -> Iterator[str]:
    if found["anchor"] < FEW_ANCHOR:
        yield (
            f"the anchor has {found['anchor']} records: it stands for all that the model was trained on, "
            f"take at least {FEW_ANCHOR}"
        )
    if found["queries"] < FEW_QUERIES:
        yield (
            f"there are {found['queries']} queries: the standard error is taken over them, take at least {FEW_QUERIES}"
        )


def _on_rules(manifest: Manifest, found: Mapping[str, Any]) -> Iterator[str]:
    scoring, full = manifest.scoring, manifest.rewards.full_pool_score
    if scoring.kappa_milli == 0:
        yield "kappa_milli is 0: a worthless contribution is paid as often as not; 1000 is usual"
    if scoring.floor > scoring.contribution_cap:
        yield "floor exceeds contribution_cap: nothing is ever paid"
    if full > found["present"] * UNIT:
        yield (
            f"full_pool_score is {full}, the whole objective at present {found['present'] * UNIT:.0f} (in 1e-9): "
            "no round can earn its pool in full"
        )


def _on_training(found: Mapping[str, Any]) -> Iterator[str]:
    present, trained = found["present"], found["scored"]["trained"]
    if trained is not None and trained > WORSE * present:
        yield (
            f"training on the anchor alone worsens the objective from {present:.4f} to {trained:.4f}: the estimator's "
            "training is not that of the model; lower its learning_rate, or set keep to 1 and perturb to 0 if the "
            "model has learnt from more than the anchor"
        )


def _on_scores(manifest: Manifest, found: Mapping[str, Any]) -> Iterator[str]:
    """The contributions are of the anchor, which the model knows: they are worth little, and their noise is real."""
    full, count, scored = manifest.rewards.full_pool_score, found["contributions"], found["scored"]
    doubt = median_high(scored["stderr"]) * manifest.scoring.kappa_milli // 1000
    if doubt > full:
        yield (
            f"kappa times the standard error of a score is {doubt}, more than full_pool_score, {full}: honest "
            "contributions would go unpaid; take more queries or larger contributions, or another unit"
        )
    largest = max(map(abs, scored["raw"]))
    if largest * count * 100 < full:
        yield (
            f"full_pool_score is {full}, and {count} contributions that move the objective as far as these, by "
            f"{largest} each, would be paid less than a hundredth of the pool: lower it"
        )
    if largest > full:
        yield (
            f"full_pool_score is {full}, and {found['records']} records that the model knows move the objective by "
            f"{largest}: one contribution would take the whole pool, raise it"
        )
    paid = sum(payable > 0 for payable in scored["payable"])
    if 2 * paid > len(scored["payable"]):
        share = sum(scored["payable"]) * count / (len(scored["payable"]) * full)
        yield (
            f"{paid} of {len(scored['payable'])} contributions of nothing but the anchor's records would be paid: "
            f"a round of {count} would come to {min(share, 1):.0%} of full_pool_score; raise kappa_milli or floor"
        )
