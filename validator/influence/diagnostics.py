"""Did the chains converge? Numbers that tell, and a refusal when they did not.

Traces are float64 (chains, draws): one number at each draw of each chain. Chains that never met a stationary
distribution measure their own drift: loss and objective move together with time, and look like influence.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from validator.influence.errors import InfluenceError

MOST_RHAT = 1.2
MOST_DRIFT = 0.5


@dataclass(frozen=True, slots=True)
class Diagnostics:
    """Of the anchor's mean loss and of the mean objective, the worse of the two; the losses are in nats.

    `rhat`: split potential scale reduction (Gelman et al. 2013, 11.4), 1 when the halves of all chains agree. `ess`:
    effective number of independent draws. `drift`: absolute correlation of a trace with time, mean over the chains.
    `rise`: mean loss of the anchor at the draws, less at theta; `expected_rise`: the same if the posterior were its
    local Gaussian. `n_beta` and `damping` are what the rules chose: the localisation gamma is their product.
    """

    rhat: float
    ess: float
    drift: float
    rise: float
    expected_rise: float
    n_beta: float
    damping: float


def refuse_unconverged(found: Diagnostics) -> None:
    """Raises InfluenceError when chains drift, or disagree with each other or with themselves."""
    # Written so that NaN is refused too.
    if not (found.drift <= MOST_DRIFT and found.rhat <= MOST_RHAT):
        raise InfluenceError(
            f"the chains have not converged (drift {found.drift:.2f} of at most {MOST_DRIFT}, R-hat {found.rhat:.2f} of"
            f" at most {MOST_RHAT}): take more burn_in, thinning or draws, or thinning=0"
        )


def refuse_diverged(rise: Tensor, classes: int) -> None:
    """Raises InfluenceError when the anchor's mean loss rises from theta to the draws by more than a guess costs."""
    guess = math.log(classes)
    if not bool(rise <= guess):
        raise InfluenceError(
            f"the draws lose the model (its mean loss rises by {float(rise):.3g} nats, a guess costs {guess:.3g}): take"
            " a smaller radius, or a larger n_beta, damping or burn_in"
        )


def rhat(trace: Tensor) -> Tensor:
    """Split R-hat of one trace with at least four draws, a scalar; 1 for a constant one."""
    half = trace.shape[1] // 2
    split = torch.cat([trace[:, :half], trace[:, -half:]])
    within, between = _variance(split).mean(), _variance(split.mean(1, keepdim=True).T).squeeze(0)
    ratio = between / torch.where(within > 0, within, 1.0)
    still = (within == 0) & (between == 0)
    return torch.where(still, 1.0, torch.sqrt((half - 1) / half + torch.where(within > 0, ratio, torch.inf)))


def effective_draws(trace: Tensor) -> Tensor:
    """Effective sample size by Geyer's (1992) initial monotone sequence, a scalar; at most the number of draws."""
    chains, draws = trace.shape
    away = trace - trace.mean(1, keepdim=True)
    covariance = torch.stack([(away[:, lag:] * away[:, : draws - lag]).sum(1).mean() for lag in range(draws)])
    between = _variance(trace.mean(1, keepdim=True).T).squeeze(0) * (draws if chains > 1 else 0)
    total = covariance[0] + between
    correlation = (covariance + between) / torch.where(total > 0, total, 1.0)
    time, least = torch.zeros(()), torch.full((), 2.0)
    for pair in correlation[: draws // 2 * 2].reshape(-1, 2).sum(1):
        least = torch.minimum(least, pair)
        if not bool(least > 0):
            break
        time = time + least * 2
    return chains * draws / (time - 1).clamp(min=1)


def drift(trace: Tensor) -> Tensor:
    """Absolute correlation of the trace with time, mean over the chains, a scalar; 0 for a constant trace.

    Absolute, because antithetic chains drift in opposite directions.
    """
    time = torch.arange(trace.shape[1], dtype=torch.float64)
    time, away = time - time.mean(), trace - trace.mean(1, keepdim=True)
    scale = torch.sqrt((away * away).sum(1) * (time * time).sum())
    return ((away * time).sum(1) / torch.where(scale > 0, scale, 1.0)).abs().mean()


def _variance(sample: Tensor) -> Tensor:
    """Unbiased, over the last dimension; zero for a sample of one."""
    away = sample - sample.mean(-1, keepdim=True)
    return (away * away).sum(-1) / max(sample.shape[-1] - 1, 1)
