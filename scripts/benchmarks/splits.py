"""One idea, many accounts: what the same data earn in one contribution, in pieces, copied nearly, and a round later.

python scripts/benchmarks/splits.py [--crowds N]
"""

from __future__ import annotations

import argparse
import statistics
from dataclasses import replace

import numpy as np
import torch
from crowd_worlds import WORLDS, Dao, found_dao, nearly
from measure import machine

from validator.influence import Records, fit
from validator.influence.records import concat
from validator.influence.response import Response

SIZE, PIECES, COPIES, SMALL = 40, 5, 20, 8


def earned(dao: Dao, parts: list[Records], seed: int, memory: Records | None = None) -> tuple[float, float]:
    """Payable scores of all parts together, in order and each alone, in thousandths of the objective."""
    problem = dao.problem if memory is None else replace(dao.problem, anchor=concat([dao.problem.anchor, memory]))
    fitted = fit(problem, "response", seed=seed, **dao.world.params)
    assert isinstance(fitted, Response)
    groups = torch.cat([torch.full((len(part),), i) for i, part in enumerate(parts)])
    found = (fitted.in_order(parts, lambda raw, stderr: raw > stderr), fitted.score(concat(parts), groups))
    ordered, alone = (float((one.values - one.stderr).clamp(min=0).sum()) * 1e3 for one in found)
    return ordered, alone


def cases(dao: Dao, seed: int) -> dict[str, tuple[float, float]]:
    """What each way of bringing a DAO the same data earns."""
    rng = np.random.Generator(np.random.PCG64([seed, 3]))
    rows = torch.from_numpy(rng.permutation(len(dao.pool)))
    whole, other = dao.pool.select(rows[:SIZE]), dao.pool.select(rows[SIZE : 2 * SIZE])
    pieces = [whole.select(torch.arange(i, SIZE, PIECES)) for i in range(PIECES)]
    few = whole.select(torch.arange(SMALL))
    copies = [nearly(few, rng, dao.problem.classes) for _ in range(COPIES - 1)]
    again = nearly(whole, rng, dao.problem.classes)
    return {
        f"{SIZE} records in one contribution": earned(dao, [whole], seed),
        f"the same in {PIECES} contributions": earned(dao, pieces, seed),
        f"{SMALL} records in one contribution": earned(dao, [few], seed),
        f"these and {COPIES - 1} near-copies": earned(dao, [few, *copies], seed),
        f"a round later: near-copies of the {SIZE}": earned(dao, [again], seed, whole),
        f"a round later: {SIZE} new records": earned(dao, [other], seed, whole),
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--crowds", type=int, default=5)
    given = parser.parse_args()
    torch.set_num_threads(1)
    found = [cases(found_dao(WORLDS["digits"], seed), seed) for seed in range(given.crowds)]
    where = machine()
    print(f"{where['date']}, {where['cpu']}, torch {where['torch']}; digits, mean of {given.crowds}\n")
    print("| what is brought | earns, judged in order | each judged alone |\n|---|---:|---:|")
    for name in found[0]:
        ordered, alone = (statistics.mean(one[name][way] for one in found) for way in (0, 1))
        print(f"| {name} | {ordered:.1f} | {alone:.1f} |")


if __name__ == "__main__":
    main()
