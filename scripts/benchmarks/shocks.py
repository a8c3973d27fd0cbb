"""What noise earns late in a round, when networks have settled: noise of several kinds, with and without a control run.

python scripts/benchmarks/shocks.py [--world mnist] [--crowds N] [--controls 0 1] [--draws N]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np
import torch
from crowd_worlds import WORLDS, Dao, found_dao, nearly, noise
from crowds import Offer, crowd, gains, in_order, pairs_in_order
from measure import machine
from torch import Tensor

from validator.influence import Records
from validator.influence.records import concat

SIZE = 30
Draw = Callable[[Dao, np.random.Generator], Records]


def random_labels(dao: Dao, rng: np.random.Generator) -> Records:
    """Random pixels, random labels."""
    return noise(dao.problem.anchor, SIZE, rng, dao.problem.classes)


def one_label(dao: Dao, rng: np.random.Generator) -> Records:
    """Random pixels, one label for all."""
    return relabelled(random_labels(dao, rng), torch.full((SIZE,), int(rng.integers(dao.problem.classes))))


def two_labels(dao: Dao, rng: np.random.Generator) -> Records:
    """Random pixels, one of two labels each."""
    pair = torch.from_numpy(rng.choice(dao.problem.classes, 2, replace=False))
    return relabelled(random_labels(dao, rng), pair[torch.from_numpy(rng.integers(2, size=SIZE))])


def brighter(draw: Draw) -> Draw:
    """Inputs of twice the range."""

    def twice(dao: Dao, rng: np.random.Generator) -> Records:
        found = draw(dao, rng)
        return Records(found.inputs * 2, found.targets)

    return twice


def models_labels(dao: Dao, rng: np.random.Generator) -> Records:
    """What the published model takes the noise for."""
    found, network = random_labels(dao, rng), dao.problem.network
    return relabelled(found, network.logits(network.weights(), found.inputs).argmax(-1))


def hidden(dao: Dao, rng: np.random.Generator) -> Records:
    """Half noise of one label, half near-copies of what the DAO has: whoever knows its data can spoil the control."""
    half = torch.arange(SIZE // 2)
    rows = torch.from_numpy(rng.permutation(len(dao.problem.anchor))[: SIZE // 2])
    return concat([one_label(dao, rng).select(half), nearly(dao.problem.anchor.select(rows), rng, dao.problem.classes)])


def relabelled(records: Records, targets: Tensor) -> Records:
    """The inputs of `records` with other targets."""
    return Records(records.inputs, targets)


KINDS: dict[str, Draw] = {
    "random labels": random_labels,
    "one label": one_label,
    "two labels": two_labels,
    "the model's labels": models_labels,
    "random labels, twice the range": brighter(random_labels),
    "one label, twice the range": brighter(one_label),
    "half one label, half near-copies": hidden,
}


def attacked(dao: Dao, seed: int, draws: int) -> list[Offer]:
    """The clean and narrow contributions of a crowd, then `draws` of each kind of noise."""
    rng = np.random.Generator(np.random.PCG64([seed, 4]))
    good = [offer for offer in crowd(dao, seed) if offer.kind in ("clean", "narrow")]
    return good + [Offer(kind, draw(dao, rng)) for _ in range(draws) for kind, draw in KINDS.items()]


def judged(dao: Dao, offers: list[Offer], seed: int, control: float, truth: int) -> list[tuple[str, float, float]]:
    """Of each offer: kind, payable score, and its worth by so many retrainings on top of what was accepted before it;
    in thousandths.
    """
    scores = in_order(control=control)(dao, offers, seed)
    payable = (scores.values - scores.stderr).clamp(min=0)
    worth = gains(dao, pairs_in_order(dao, offers, payable > 0), truth).mean(0)
    kinds = [offer.kind if offer.kind in KINDS else "clean and narrow" for offer in offers]
    return list(zip(kinds, (payable * 1e3).tolist(), (worth * 1e3).tolist(), strict=True))


def main() -> None:
    """Print the table: how many of each kind are paid, their mean payable score, and what they are worth."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--world", default="mnist", choices=["digits", "mnist"])
    parser.add_argument("--crowds", type=int, default=3)
    parser.add_argument("--draws", type=int, default=2)
    parser.add_argument("--controls", nargs="+", type=float, default=[0.0, 1.0])
    parser.add_argument("--truth", type=int, default=4, help="retrainings behind each gain")
    given = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[tuple[str, float], list[tuple[float, float]]] = {}
    for seed in range(given.crowds):
        dao = found_dao(WORLDS[given.world], seed)
        for control in given.controls:
            for kind, payable, worth in judged(dao, attacked(dao, seed, given.draws), seed, control, given.truth):
                found.setdefault((kind, control), []).append((payable, worth))
    where = machine()
    print(f"{where['date']}, {where['cpu']}, torch {where['torch']}; {given.world}, {given.crowds} crowds\n")
    print("| what is brought | control | paid | payable, mean | worth, mean |\n|---|---:|---:|---:|---:|")
    for (kind, control), rows in sorted(found.items()):
        paid, means = sum(payable > 0 for payable, _ in rows), np.mean(rows, 0)
        print(f"| {kind} | {control:g} | {paid} of {len(rows)} | {means[0]:.1f} | {means[1]:+.1f} |")


if __name__ == "__main__":
    main()
