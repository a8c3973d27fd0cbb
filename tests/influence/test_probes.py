from __future__ import annotations

import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor

from tests.influence.tiny import dense, new_records, tiny_problem
from validator.exact import exact
from validator.exact.random import Stream
from validator.influence import InfluenceError, Problem, Records, fit, load_probes
from validator.influence.classical import ClassicalSettings
from validator.influence.curvature import GaussNewton, flatten, solve, unflatten
from validator.influence.folds import deal
from validator.influence.models import build
from validator.influence.probes import Probes

ESTIMATORS = ["classical", "mirrored"]


@pytest.fixture(scope="module")
def tiny() -> Problem:
    return tiny_problem()


@pytest.fixture(scope="module")
def newcomers() -> Records:
    return new_records()


def damping_of(problem: Problem, seed: int) -> float:
    with exact(), torch.no_grad():
        stream = Stream(seed.to_bytes(32, "big"), "curvature/trace")
        return float(GaussNewton(problem).ridge(ClassicalSettings().damping, stream))


def correlation(left: Tensor, right: Tensor) -> float:
    return float(torch.corrcoef(torch.stack([left.flatten(), right.flatten()]))[0, 1])


def test_classical__tiny_model__agrees_with_the_dense_solve(tiny: Problem, newcomers: Records) -> None:
    truth = dense(tiny, newcomers, damping_of(tiny, 1)).mean(1)
    values = fit(tiny, "classical", seed=1, iterations=30).score(newcomers).values
    assert correlation(values, truth) > 0.999
    assert float((values - truth).norm() / truth.norm()) < 0.02


def test_classical__per_query__agrees_with_the_dense_solve(tiny: Problem, newcomers: Records) -> None:
    truth = dense(tiny, newcomers, damping_of(tiny, 1))
    values = fit(tiny, "classical", seed=1, per_query=True, iterations=30).score(newcomers).values
    assert values.shape == (25, 30)
    assert correlation(values, truth) > 0.99


def test_mirrored__proximal__agrees_with_classical(tiny: Problem, newcomers: Records) -> None:
    classical = fit(tiny, "classical", seed=1, iterations=30).score(newcomers).values
    assert correlation(fit(tiny, "mirrored", seed=1, steps=100).score(newcomers).values, classical) > 0.95


def test_mirrored__one_published_step__is_the_gradient_product(tiny: Problem, newcomers: Records) -> None:
    values = fit(tiny, "mirrored", seed=1, proximal=0, adam=0, steps=1, learning_rate=0.05).score(newcomers).values
    product = dense(tiny, newcomers, 1e12).mean(1)
    assert correlation(values, product) > 0.99


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_score__mislabelled_digits__are_worth_less_than_clean_ones(
    problem: Problem, digits: Records, estimator: str
) -> None:
    clean = digits.select(torch.arange(300, 360))
    wrong = Records(clean.inputs, (clean.targets + 3) % 10)
    probes = fit(problem, estimator, seed=1)
    helped, harmed = probes.score(clean).values, probes.score(wrong).values
    assert float(helped.sum()) > 0 > float(harmed.sum())


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_score__groups__are_sums_of_their_records(tiny: Problem, newcomers: Records, estimator: str) -> None:
    probes = fit(tiny, estimator, seed=1)
    alone = probes.score(newcomers).values
    grouped = probes.score(newcomers, groups=torch.tensor([7, 3] * 12 + [7])).values
    assert grouped.tolist() == pytest.approx([float(alone[1::2].sum()), float(alone[0::2].sum())], rel=1e-12)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_score__chunks_and_order__change_no_bit(tiny: Problem, newcomers: Records, estimator: str) -> None:
    probes = fit(tiny, estimator, seed=1)
    whole, backwards = probes.score(newcomers), torch.arange(24, -1, -1)
    for chunk in (1, 7):
        assert torch.equal(probes.score(newcomers, chunk=chunk).values, whole.values)
    assert torch.equal(probes.score(newcomers.select(backwards)).values, whole.values[backwards])


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_load_probes__round_trip__same_scores_and_digest(tiny: Problem, newcomers: Records, estimator: str) -> None:
    probes = fit(tiny, estimator, seed=1)
    loaded = load_probes(tiny, probes.to_bytes())
    assert loaded.digest() == probes.digest()
    assert torch.equal(loaded.score(newcomers).values, probes.score(newcomers).values)
    assert torch.equal(loaded.score(newcomers).stderr, probes.score(newcomers).stderr)


def test_fit__interrupted_and_resumed__same_bytes(tiny: Problem) -> None:
    parts: dict[str, bytes] = {}
    whole = fit(tiny, "classical", seed=1, per_query=True, parts=parts)
    assert sorted(parts) == ["columns-0", "columns-16"]
    del parts["columns-16"]
    assert fit(tiny, "classical", seed=1, per_query=True, parts=parts).to_bytes() == whole.to_bytes()


def test_load_probes__another_problem__is_refused(tiny: Problem) -> None:
    other = Problem(tiny.model, tiny.anchor, tiny.queries, objective="cross_entropy")
    with pytest.raises(InfluenceError, match="another model, anchor, query set or objective"):
        load_probes(other, fit(tiny, "classical", seed=1).to_bytes())


@pytest.mark.parametrize(
    ("name", "damage", "words"),
    [
        ("header", lambda tensor: tensor[:-3], "no readable header"),
        ("columns", lambda tensor: tensor.flip(0), "deals the queries in another way"),
        ("coefficients", lambda tensor: tensor * float("nan"), "NaN"),
        ("coefficients", lambda tensor: tensor[:-1], "do not fit"),
        ("sizes", lambda tensor: tensor + 1, "deals the queries in another way"),
        ("extra", lambda tensor: torch.zeros(1), "do not fit"),
    ],
)
def test_load_probes__damaged_file__is_refused(tiny: Problem, name: str, damage: object, words: str) -> None:
    assert callable(damage)
    tensors = load(fit(tiny, "mirrored", seed=1, steps=2).to_bytes())
    tensors[name] = damage(tensors.get(name)).contiguous()
    with pytest.raises(InfluenceError, match=words):
        load_probes(tiny, save(tensors))


def test_load_probes__no_header__is_refused(tiny: Problem) -> None:
    with pytest.raises(InfluenceError, match="no header"):
        load_probes(tiny, save({"baseline": torch.zeros(1)}))


def test_probes__zero_direction__scores_zero(tiny: Problem, newcomers: Records) -> None:
    model = build("mlp", {"inputs": 6, "hidden": [5], "classes": 3, "activation": "relu"})
    values = fit(Problem(model, tiny.anchor, tiny.queries), "classical", seed=1, iterations=3).score(newcomers).values
    assert bool(torch.isfinite(values).all())


def test_fit__steps_that_diverge__are_refused(problem: Problem) -> None:
    boundless = Problem(problem.model, problem.anchor, problem.queries, objective="cross_entropy")
    with pytest.raises(InfluenceError, match="finite range"):
        fit(boundless, "mirrored", seed=1, proximal=0, adam=0, steps=100, learning_rate=1e3)


def test_score__record_beyond_float32__is_worst_and_harms_no_neighbour(problem: Problem, digits: Records) -> None:
    probes, newcomers = fit(problem, "classical", seed=1), digits.select(torch.arange(300, 310))
    inputs = newcomers.inputs.clone()
    inputs[3] = 3e38
    values, clean = probes.score(Records(inputs, newcomers.targets)).values, probes.score(newcomers).values
    others = torch.arange(10) != 3
    assert torch.equal(values[others], clean[others])
    assert float(values[3]) == -1.0


def test_deal__uneven__every_query_once_and_shares_sum_to_one() -> None:
    folds = deal(7, 3)
    dealt = folds.positions[folds.share > 0].tolist()
    assert sorted(dealt) == list(range(7))
    assert folds.sizes().tolist() == [3, 2, 2]
    assert folds.share.sum(1).tolist() == pytest.approx([1, 1, 1])


def test_deal__fewer_queries_than_folds__one_fold_each() -> None:
    assert len(deal(2, 5)) == 2


def test_solve__conjugate_gradients__leave_a_small_residual(tiny: Problem) -> None:
    right = Stream(b"seed", "right").normal((3, 53))
    with exact(), torch.no_grad():
        curvature, damping = GaussNewton(tiny), torch.tensor(1e-2)
        solution = solve(curvature, damping, right, 60)
        left = curvature.product(solution) + solution * damping
    assert float((left - right).norm() / right.norm()) < 1e-3


def test_flatten__unflatten__is_the_identity(tiny: Problem) -> None:
    weights = tiny.network.weights()
    flat = flatten({name: torch.stack([w, w + 1]) for name, w in weights.items()})
    assert torch.equal(unflatten(flat, weights)["3.bias"][1], weights["3.bias"] + 1)


def test_fit__kind_of_result__is_a_probe_set(tiny: Problem) -> None:
    probes = fit(tiny, "classical", seed=1, folds=3)
    assert isinstance(probes, Probes)
    assert probes.coefficients.shape == (6,)
    assert probes.columns.tolist() == [0, 1, 2, 0, 1, 2]
