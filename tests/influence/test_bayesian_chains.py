from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from validator.exact import exact
from validator.exact.random import Stream
from validator.influence import InfluenceError, Problem
from validator.influence.chains import Local, Walk, walk
from validator.influence.curvature import GaussNewton, flatten
from validator.influence.diagnostics import Diagnostics, drift, effective_draws, refuse_unconverged, rhat
from validator.influence.subspace import (
    conjugate_rows,
    inverse_factor,
    krylov,
    orthonormal,
    signed_gradients,
    spread_points,
)


@pytest.fixture(scope="module")
def local(problem: Problem) -> Local:
    """Posterior of the digits model in 40 directions, so well localised that it is almost its local Gaussian."""
    theta = flatten({name: w.unsqueeze(0) for name, w in problem.network.weights().items()})
    damping = torch.tensor(1.0)
    with exact(), torch.no_grad():
        start = signed_gradients(problem, 16, Stream(b"local", "start"))
        rows = conjugate_rows(GaussNewton(problem), damping, 40, start)
    return Local(problem, theta, rows, damping, torch.tensor(1e6, dtype=torch.float64))


def noise(name: str, *shape: int) -> Tensor:
    return Stream(b"diagnostics", name).normal(shape).to(torch.float64)


def test_conjugate_rows__damped_curvature__are_orthonormal_under_it(local: Local) -> None:
    with exact(), torch.no_grad():
        images = GaussNewton(local.problem).product(local.directions) + local.directions * local.damping
        gram = local.directions @ images.T
    assert torch.allclose(gram, torch.eye(40), atol=1e-4)


def test_krylov__stiffest_directions__are_found(problem: Problem) -> None:
    with exact(), torch.no_grad():
        curvature = GaussNewton(problem)
        basis, images = krylov(curvature, 96, signed_gradients(problem, 32, Stream(b"krylov", "start")))
        largest = float(curvature.largest(Stream(b"krylov", "power"), 20))
    assert torch.allclose(basis @ basis.T, torch.eye(96), atol=1e-5)
    assert float(torch.linalg.eigvalsh((basis @ images.T).double())[-1]) == pytest.approx(largest, rel=1e-3)


def test_signed_gradients__autograd__agrees(problem: Problem) -> None:
    with exact(), torch.no_grad():
        found = signed_gradients(problem, 3, Stream(b"signed", "start"))
    signs = Stream(b"signed", "start").rademacher((3, len(problem.anchor)))
    losses = cross_entropy(problem.model(problem.anchor.inputs), problem.anchor.targets, reduction="none")
    slopes = torch.autograd.grad((losses * signs[2]).mean(), list(problem.model.parameters()))
    assert torch.allclose(found[2], torch.cat([slope.flatten() for slope in slopes]), atol=1e-6)


def test_orthonormal__rows_of_zeros_and_repeats__stay_finite() -> None:
    rows = noise("rows", 4, 9)
    rows[2] = 0
    with exact(), torch.no_grad():
        found = orthonormal(torch.cat([rows, rows[:1]]))
    kept = found[[0, 1, 3]]
    assert torch.allclose(kept @ kept.T, torch.eye(3, dtype=torch.float64), atol=1e-12)
    assert bool((found[2] == 0).all())
    assert bool(torch.isfinite(found).all())


def test_inverse_factor__positive_definite__is_the_inverse_of_its_cholesky_factor() -> None:
    root = noise("root", 12, 12)
    matrix = root @ root.T + torch.eye(12)
    with exact(), torch.no_grad():
        found = inverse_factor(matrix)
    assert torch.allclose(found @ torch.linalg.cholesky(matrix), torch.eye(12, dtype=torch.float64), atol=1e-9)


def test_spread_points__one_frame__has_the_covariance_of_the_normal() -> None:
    with exact(), torch.no_grad():
        points = spread_points(30, 20, Stream(b"points", "frames"))
    assert torch.allclose(points[:20].T @ points[:20] / 20, torch.eye(20, dtype=torch.float64), atol=1e-12)
    assert points.norm(dim=1).tolist() == pytest.approx([math.sqrt(20)] * 30)
    assert float((points[20:] @ points[:20].T).abs().max()) > 1


def test_slope__at_theta__is_zero_for_any_rows(local: Local) -> None:
    with exact(), torch.no_grad():
        assert bool((local.slope(torch.zeros(1, 40), torch.tensor([3, 1, 4])) == 0).all())


def test_slope__near_theta__is_the_coordinates(local: Local) -> None:
    place = Stream(b"chains", "place").normal((2, 40))
    with exact(), torch.no_grad():
        found = local.slope(place, None)
    assert float((found - place).norm() / place.norm()) < 0.2


def test_slope__rows__are_unbiased(local: Local) -> None:
    place = Stream(b"chains", "place").normal((1, 40))
    with exact(), torch.no_grad():
        every = [local.slope(place, torch.arange(start, start + 20)) for start in range(0, 80, 20)]
        whole = local.slope(place, None)
    assert torch.allclose(torch.stack(every).mean(0), whole, atol=1e-3)
    assert not torch.allclose(every[0], whole, atol=1e-2)


def test_walk__long_chain__has_the_variance_of_the_posterior(local: Local) -> None:
    how, ones = Walk(burn_in=5, thinning=2, step=1.0, batch=0), torch.ones(())
    with exact(), torch.no_grad():
        start = Stream(b"chains", "start").normal((1, 40))
        places = walk(local, start, 60, how, ones, b"seed", 0)
    assert float((places**2).mean()) == pytest.approx(1, abs=0.12)


def test_walk__antithetic_chains__share_noise_with_opposite_signs(local: Local) -> None:
    how, ones = Walk(burn_in=0, thinning=1, step=0.5, batch=16), torch.ones(())
    start = Stream(b"chains", "start").normal((1, 40))
    with exact(), torch.no_grad():
        first, second = (walk(local, start * sign, 3, how, ones, b"seed", chain) for chain, sign in ((2, 1), (3, -1)))
    assert float((first + second).norm() / first.norm()) < 0.3


def test_walk__two_threads__same_bits(local: Local) -> None:
    how, start = Walk(burn_in=0, thinning=1, step=0.5, batch=16), torch.ones(1, 40)
    with exact(), torch.no_grad():
        one = walk(local, start, 2, how, torch.ones(()), b"seed", 0)
        torch.set_num_threads(2)
        two = walk(local, start, 2, how, torch.ones(()), b"seed", 0)
    assert torch.equal(one, two)


def test_steepness__near_the_local_gaussian__is_little_more_than_one(local: Local) -> None:
    with exact(), torch.no_grad():
        found = local.steepness(Stream(b"chains", "start").normal((1, 40)), Stream(b"chains", "power"))
    assert 1 <= float(found) < 3


def test_rhat__chains_of_one_distribution__is_near_one_and_chains_apart_is_not() -> None:
    trace = noise("iid", 4, 200)
    assert float(rhat(trace)) == pytest.approx(1, abs=0.02)
    assert float(rhat(trace + torch.arange(4).unsqueeze(1))) > 1.3
    assert float(rhat(trace + torch.linspace(0, 5, 200))) > 1.3


def test_rhat__constant_chains__is_one_if_they_agree() -> None:
    assert float(rhat(torch.ones(2, 8, dtype=torch.float64))) == 1
    assert float(rhat(torch.arange(2, dtype=torch.float64).unsqueeze(1).expand(2, 8))) == math.inf


def test_effective_draws__autoregression__follows_its_correlation_time() -> None:
    steps, trace = noise("steps", 4, 2000), torch.zeros(4, 2000, dtype=torch.float64)
    for index in range(1, 2000):
        trace[:, index] = 0.8 * trace[:, index - 1] + steps[:, index]
    assert float(effective_draws(trace)) == pytest.approx(8000 * (1 - 0.8) / (1 + 0.8), rel=0.25)
    assert float(effective_draws(steps)) == pytest.approx(8000, rel=0.1)


def test_drift__trend__is_one_and_noise_is_near_zero() -> None:
    assert float(
        drift(torch.stack([torch.arange(50.0).double(), torch.arange(50.0, 0, -1).double()]))
    ) == pytest.approx(1)
    assert float(drift(noise("iid", 8, 100))) < 0.15
    assert float(drift(torch.ones(2, 5, dtype=torch.float64))) == 0


@pytest.mark.parametrize("bad", [{"drift": 0.9}, {"rhat": 1.5}, {"drift": math.nan}, {"rhat": math.nan}])
def test_refuse_unconverged__bad_number__raises_one_line(bad: dict[str, float]) -> None:
    good = {"rhat": 1.0, "ess": 9.0, "drift": 0.1, "rise": 0.0, "expected_rise": 0.0, "n_beta": 1.0, "damping": 1.0}
    refuse_unconverged(Diagnostics(**good))
    with pytest.raises(InfluenceError, match="have not converged") as caught:
        refuse_unconverged(Diagnostics(**(good | bad)))
    assert "\n" not in str(caught.value)
