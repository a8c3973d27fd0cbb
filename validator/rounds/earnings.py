"""From payable scores to money, in integers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from validator.manifest import Rewards, Scoring


def payable_score(raw: int, stderr: int, scoring: Scoring) -> int:
    """`max(0, raw - kappa * stderr)`, nothing below the floor, at most the cap; all in 1e-9 of the objective.

    `kappa * stderr` is rounded up: doubt is the contributor's, never the pool's.
    """
    doubt = -(-scoring.kappa_milli * stderr // 1000)
    payable = raw - doubt
    return 0 if payable <= 0 or payable < scoring.floor else min(payable, scoring.contribution_cap)


def divide_pool(pool: int, payable: Sequence[tuple[str, int]], rewards: Rewards) -> list[int]:
    """Reward-token units for each (contributor, payable) pair, rounded down; their sum never exceeds `pool`.

    A contributor above the cap is scaled down over all of that contributor's contributions; what is cut stays in the
    pool.
    """
    denominator = max(sum(score for _, score in payable), rewards.full_pool_score)
    paid = [pool * score // denominator for _, score in payable]
    cap = pool * rewards.contributor_cap_bps // 10_000
    totals: dict[str, int] = {}
    for (contributor, _), amount in zip(payable, paid, strict=True):
        totals[contributor] = totals.get(contributor, 0) + amount
    return [
        amount if totals[contributor] <= cap else amount * cap // totals[contributor]
        for (contributor, _), amount in zip(payable, paid, strict=True)
    ]


def add_earnings(before: Mapping[str, int], paid: Sequence[tuple[str, int]]) -> dict[str, int]:
    """Lifetime earnings after this round, by contributor in ascending order of address; contributors paid nothing are
    not added.
    """
    after = dict(before)
    for contributor, amount in paid:
        if amount:
            after[contributor] = after.get(contributor, 0) + amount
    return dict(sorted(after.items()))
