"""Contributions against the truth of retraining: who would be paid what, by each estimator, and who deserves it.

python scripts/benchmarks/crowds.py [--worlds digits mnist brown] [--crowds N] [--estimators ...]
python scripts/benchmarks/crowds.py --worlds digits --crowd large --most-steps 0 256    what bounding the runs costs
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from crowd_worlds import WORLDS, Dao, expected_errors, found_dao, nearly, noise, retrained, wrong
from influence_metrics import spearman
from measure import machine
from torch import Tensor

from validator.influence import Records, Scores, fit
from validator.influence.records import concat
from validator.influence.response import Response

KINDS = (
    ("clean",) * 6 + ("narrow",) * 2 + ("half",) * 2 + ("wrong",) * 2 + ("noise",) * 2 + ("stale",) * 2 + ("copy",) * 3
)
LARGE = (
    ("clean",) * 22 + ("narrow",) * 6 + ("half",) * 4 + ("wrong",) * 4 + ("noise",) * 3 + ("stale",) * 3 + ("copy",) * 6
)
"""So many that what is accepted outgrows the anchor several times over: about all that digits can give."""
DEMONSTRATION = tuple(kind for kind in KINDS if kind not in ("stale", "copy"))
CROWDS = {"small": KINDS, "large": LARGE, "demonstration": DEMONSTRATION}
GOOD = ("clean", "narrow", "second")
GARBAGE = ("half", "wrong", "noise", "stale")
ABOUT = {
    "clean": "novel records of all topics",
    "narrow": "novel records of a topic that the DAO is short of",
    "half": "half of the labels wrong, or half of the text scrambled",
    "wrong": "all of them",
    "noise": "records of nothing",
    "stale": "near-copies of what the DAO trained on",
    "copy": "near-copies of an earlier clean or narrow contribution that was accepted",
    "second": "the same of one that was not, so that nobody was paid for what they bring",
}


@dataclass(frozen=True, slots=True)
class Offer:
    """A contribution and what is wrong with it; `copied` is the place of the offer that a near-copy was made of."""

    kind: str
    records: Records
    copied: int | None = None

    def seen(self, accepted: Sequence[bool]) -> str:
        """Its kind, once it is known which offers were accepted."""
        return self.kind if self.copied is None or accepted[self.copied] else "second"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an estimator made of a crowd: value and standard error of each offer, and the seconds it took."""

    scores: Scores
    seconds: float

    def payable(self) -> Tensor:
        """The lower bound at one standard error, nothing below zero; float64 (offers,)."""
        return (self.scores.values - self.scores.stderr).clamp(min=0)


def crowd(dao: Dao, seed: int, of: Sequence[str] = KINDS) -> list[Offer]:
    """Offers of these kinds in on-chain order: copies come after what they copy, all others in random order."""
    rng = np.random.Generator(np.random.PCG64([seed, 2]))
    left = rng.permutation(len(dao.pool))
    classes, turn, offers = dao.problem.classes, 0, list[Offer]()

    def fresh(topic: int | None = None) -> Records:
        nonlocal left
        mine = np.ones(len(left), bool) if topic is None else (dao.topics[left] == topic).numpy()
        chosen = np.flatnonzero(mine)[: int(rng.integers(*dao.world.sizes, endpoint=True))]
        taken, left = left[chosen], np.delete(left, chosen)
        return dao.pool.select(torch.from_numpy(taken))

    kinds = [kind for kind in of if kind != "copy"]
    for index in rng.permutation(len(kinds)):
        kind = kinds[int(index)]
        records = fresh(dao.short[turn % 2]) if kind == "narrow" else fresh()
        turn += kind == "narrow"
        if kind == "half":
            middle = torch.arange(len(records)) < len(records) // 2
            records = concat(
                [records.select(torch.where(middle)[0]), wrong(records.select(torch.where(~middle)[0]), rng, classes)]
            )
        elif kind == "wrong":
            records = wrong(records, rng, classes)
        elif kind == "noise":
            records = noise(records, len(records), rng, classes)
        elif kind == "stale":
            anchor = dao.problem.anchor
            records = nearly(
                anchor.select(torch.from_numpy(rng.permutation(len(anchor))[: len(records)])), rng, classes
            )
        offers.append(Offer(kind, records))
    good = [place for place, offer in enumerate(offers) if offer.kind in ("clean", "narrow")]
    for _ in range(of.count("copy")):
        place = good[int(rng.integers(len(good)))]
        offers.append(Offer("copy", nearly(offers[place].records, rng, classes), place))
    return offers


def in_order(**params: float) -> Callable[[Dao, list[Offer], int], Scores]:
    """`response`, each offer on top of those accepted before it: what pays."""

    def scores(dao: Dao, offers: list[Offer], seed: int) -> Scores:
        fitted = fit(dao.problem, "response", seed=seed, **{**dao.world.params, **params})
        assert isinstance(fitted, Response)
        return fitted.in_order([offer.records for offer in offers], lambda raw, stderr: raw > stderr)

    return scores


def alone(estimator: str, **params: float) -> Callable[[Dao, list[Offer], int], Scores]:
    """An estimator's value of each offer by itself."""

    def scores(dao: Dao, offers: list[Offer], seed: int) -> Scores:
        own = dao.world.params if estimator == "response" else {}
        groups = torch.cat([torch.full((len(offer.records),), i) for i, offer in enumerate(offers)])
        fitted = fit(dao.problem, estimator, seed=seed, **{**own, **params})
        return fitted.score(concat([offer.records for offer in offers]), groups)

    return scores


ESTIMATORS: dict[str, Callable[[Dao, list[Offer], int], Scores]] = {
    "response, in order": in_order(),
    "response, in order, no control": in_order(control=0),
    "response, alone": alone("response"),
    "classical": alone("classical"),
    "ekfac": alone("ekfac"),
    "mirrored": alone("mirrored"),
    "bayesian": alone("bayesian"),
}


def bounded(most_steps: int, **params: float) -> str:
    """The name of `response`, in order, with runs of at most so many steps (0: of any length), now an estimator too."""
    name = f"response, in order, {f'at most {most_steps} steps' if most_steps else 'any length'}"
    ESTIMATORS[name] = in_order(most_steps=most_steps, **params)
    return name


def gains(dao: Dao, sets: list[tuple[Records, Records]], seeds: int) -> Tensor:
    """Drop of the expected error from retraining on the second of each pair instead of the first, float64 (seeds,
    pairs).
    """
    distinct: dict[int, Records] = {id(one): one for pair in sets for one in pair}
    names = list(distinct)
    found = []
    for seed in range(seeds):
        weights = retrained(dao.world, list(distinct.values()), f"truth/{seed}")
        errors = dict(zip(names, expected_errors(dao.problem, weights), strict=True))
        found.append(torch.stack([errors[id(before)] - errors[id(after)] for before, after in sets]))
    return torch.stack(found)


def pairs_alone(dao: Dao, offers: list[Offer]) -> list[tuple[Records, Records]]:
    """The anchor, and the anchor with each offer."""
    anchor = dao.problem.anchor
    return [(anchor, concat([anchor, offer.records])) for offer in offers]


def pairs_in_order(dao: Dao, offers: list[Offer], accepted: Tensor) -> list[tuple[Records, Records]]:
    """What was accepted before each offer, and the same with it."""
    before, pairs = dao.problem.anchor, []
    for offer, taken in zip(offers, accepted.tolist(), strict=True):
        after = concat([before, offer.records])
        pairs.append((before, after))
        before = after if taken else before
    return pairs


def agreement(found: Tensor, truth: Tensor) -> tuple[float, float]:
    """Spearman of estimate and truth (seeds, offers), and its ceiling: how well halves of the truth agree, corrected to
    the whole (Spearman-Brown), square-rooted.
    """
    halves = (truth[::2].mean(0), truth[1::2].mean(0))
    half = _rho(*halves)
    return _rho(found, truth.mean(0)), max(0.0, 2 * half / (1 + half)) ** 0.5


def _rho(left: Tensor, right: Tensor) -> float:
    return float(spearman(left.unsqueeze(1), right.unsqueeze(1)))


def shares(kinds: list[str], payable: Tensor) -> dict[str, float]:
    """Share of the pool by kind, if it is divided by payable score."""
    total = max(float(payable.sum()), 1e-30)
    return {
        kind: sum(float(p) for own, p in zip(kinds, payable, strict=True) if own == kind) / total
        for kind in dict.fromkeys(kinds)
    }


def judged(
    dao: Dao, seed: int, names: list[str], truth_seeds: int, of: Sequence[str] = KINDS
) -> Iterator[dict[str, Any]]:
    """One crowd by every estimator: a row each."""
    offers = crowd(dao, seed, of)
    truth: Tensor | None = None
    for name in names:
        begun = time.perf_counter()
        scores = ESTIMATORS[name](dao, offers, seed)
        verdict = Verdict(scores, time.perf_counter() - begun)
        accepted = verdict.payable() > 0
        if "in order" in name:
            own = gains(dao, pairs_in_order(dao, offers, accepted), truth_seeds)
        else:
            truth = gains(dao, pairs_alone(dao, offers), truth_seeds) if truth is None else truth
            own = truth
        rho, ceiling = agreement(scores.values, own)
        kinds = [offer.seen(accepted.tolist()) for offer in offers]
        yield {
            "world": dao.world.name,
            "seed": seed,
            "estimator": name,
            "rho": rho,
            "ceiling": ceiling,
            "share": shares(kinds, verdict.payable()),
            "seconds": verdict.seconds,
            "reference": len(dao.problem.anchor)
            + sum(len(o.records) for o, a in zip(offers, accepted, strict=True) if a),
            "kinds": kinds,
            "values": scores.values.tolist(),
            "stderr": scores.stderr.tolist(),
            "truth": own.mean(0).tolist(),
        }


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown: a line for each world and estimator, the mean over crowds and the worst."""
    columns = ["world", "estimator", "crowds", "of ceiling", "worst", "good", "worst", "near-copies"]
    columns += ["garbage", "worst", "seconds", "reference"]
    lines = ["| " + " | ".join(columns) + " |", "|---|---|" + "---:|" * (len(columns) - 2)]
    for world, name in dict.fromkeys((row["world"], row["estimator"]) for row in rows):
        own = [row for row in rows if (row["world"], row["estimator"]) == (world, name)]
        ratios = [row["rho"] / max(row["ceiling"], 1e-9) for row in own]
        good, copies, bad = (
            [sum(row["share"].get(kind, 0) for kind in kinds) for row in own] for kinds in (GOOD, ("copy",), GARBAGE)
        )
        words = [world, name, str(len(own)), f"{np.mean(ratios):.3f}", f"{min(ratios):.3f}"]
        words += [f"{np.mean(good):.1%}", f"{min(good):.1%}", f"{np.mean(copies):.1%}"]
        words += [f"{np.mean(bad):.1%}", f"{max(bad):.1%}"]
        words += [
            f"{np.mean([row['seconds'] for row in own]):.1f}",
            f"{np.mean([row['reference'] for row in own]):.0f}",
        ]
        lines.append("| " + " | ".join(words) + " |")
    return "\n".join(lines)


def main() -> None:
    """Run, and print the table or everything."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--worlds", nargs="+", default=list(WORLDS), choices=list(WORLDS))
    parser.add_argument("--estimators", nargs="+", default=list(ESTIMATORS), choices=list(ESTIMATORS))
    parser.add_argument("--most-steps", nargs="+", type=int, default=[], help="only `response`, in order, so bounded")
    parser.add_argument("--crowd", choices=list(CROWDS), default="small")
    parser.add_argument("--sizes", nargs=2, type=int, help="records of a contribution, least and most; the world's own")
    parser.add_argument("--anchor", type=int, help="records that the DAO has trained on; the world's own")
    parser.add_argument("--batch", type=int, help="records of the reference in a step of `response`; its default")
    parser.add_argument("--crowds", type=int, default=3)
    parser.add_argument("--first", type=int, default=0, help="seed of the first crowd")
    parser.add_argument("--truth", type=int, default=8, help="retrainings behind each gain")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(1)
    more = {} if given.batch is None else {"batch": given.batch}
    names = [bounded(most, **more) for most in given.most_steps] or given.estimators
    rows = []
    for world in given.worlds:
        own = WORLDS[world]
        sized = replace(own, sizes=tuple(given.sizes or own.sizes), anchor=given.anchor or own.anchor)
        for seed in range(given.first, given.first + given.crowds):
            for row in judged(found_dao(sized, seed), seed, names, given.truth, CROWDS[given.crowd]):
                rows.append(row)
                short = {kind: f"{part:.3f}" for kind, part in sorted(row["share"].items())}
                found = f"{row['rho']:.3f} of {row['ceiling']:.3f}, {row['seconds']:.1f} s, {row['reference']} records"
                print(world, seed, row["estimator"], found, short, file=sys.stderr, flush=True)
    if given.json:
        print(json.dumps({"machine": machine(), "rows": rows}))
        return
    where = machine()
    print(
        f"{where['date']}, {where['cpu']}, {where['cores']} cores at load {where['load']}, torch {where['torch']}; "
        f"{given.truth} retrainings behind each gain\n"
    )
    print(table(rows))


if __name__ == "__main__":
    main()
