from __future__ import annotations

import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor, nn
from torch.func import functional_call

from tests.influence.tiny import dense, new_records, tiny_problem
from validator.exact.random import Stream
from validator.influence import InfluenceError, Problem, Records, fit, load_probes, traces
from validator.influence.models import initialise
from validator.influence.posterior import Posterior
from validator.influence.records import NO_TARGET

SMALL: dict[str, int | float] = {"chains": 4, "draws": 8}
FULL: dict[str, int | float] = {"chains": 2, "draws": 53, "radius": 1e-2}
"""One frame in all 53 dimensions of the tiny model, so near to theta that losses are linear."""
WALK: dict[str, int | float] = {"chains": 2, "draws": 16, "thinning": 2, "damping": 12.0, "step": 1.0, "burn_in": 4}
"""Chains that are short and yet mix: the localisation is strong."""


@pytest.fixture(scope="module")
def tiny() -> Problem:
    return tiny_problem()


@pytest.fixture(scope="module")
def newcomers() -> Records:
    return new_records()


@pytest.fixture(scope="module")
def posterior(tiny: Problem) -> Posterior:
    return draw(tiny, **SMALL)


def draw(problem: Problem, *, per_query: bool = False, **params: int | float) -> Posterior:
    found = fit(problem, "bayesian", seed=1, per_query=per_query, **params)
    assert isinstance(found, Posterior)
    return found


def correlation(left: Tensor, right: Tensor) -> float:
    return float(torch.corrcoef(torch.stack([left.flatten(), right.flatten()]))[0, 1])


def test_bayesian__small_draws_in_all_directions__agree_with_the_dense_solve(tiny: Problem, newcomers: Records) -> None:
    found = draw(tiny, per_query=True, **FULL)
    truth = dense(tiny, newcomers, found.diagnostics().damping)
    values = found.score(newcomers).values
    assert values.shape == (25, 30)
    assert float((values - truth).norm() / truth.norm()) < 0.02


def test_bayesian__mean_objective__is_the_mean_of_the_queries(tiny: Problem, newcomers: Records) -> None:
    scores = draw(tiny, **FULL).score(newcomers)
    matrix = draw(tiny, per_query=True, **FULL).score(newcomers).values
    assert torch.allclose(scores.values, matrix.mean(1), rtol=1e-5, atol=1e-12)
    assert bool((scores.stderr > 0).all())


def test_bayesian__langevin_chains__agree_with_the_dense_solve(tiny: Problem, newcomers: Records) -> None:
    found = draw(tiny, per_query=True, **(WALK | {"chains": 4, "draws": 24, "radius": 0.2}))
    truth = dense(tiny, newcomers, found.diagnostics().damping)
    assert correlation(found.score(newcomers).values, truth) > 0.8
    assert found.diagnostics().ess > 50


def test_score__mislabelled_digits__are_worth_less_than_clean_ones(problem: Problem, digits: Records) -> None:
    clean = digits.select(torch.arange(300, 360))
    wrong = Records(clean.inputs, (clean.targets + 3) % 10)
    found = draw(problem, draws=16)
    assert float(found.score(clean).values.sum()) > 0 > float(found.score(wrong).values.sum())


def test_score__groups__are_sums_of_their_records(posterior: Posterior, newcomers: Records) -> None:
    alone = posterior.score(newcomers).values
    grouped = posterior.score(newcomers, groups=torch.tensor([7, 3] * 12 + [7])).values
    assert grouped.tolist() == pytest.approx([float(alone[1::2].sum()), float(alone[0::2].sum())], rel=1e-12)


def test_score__chunks_and_order__change_no_bit(posterior: Posterior, newcomers: Records) -> None:
    whole, backwards = posterior.score(newcomers), torch.arange(24, -1, -1)
    for chunk in (1, 7):
        assert torch.equal(posterior.score(newcomers, chunk=chunk).values, whole.values)
    assert torch.equal(posterior.score(newcomers.select(backwards)).values, whole.values[backwards])


def test_score__record_beyond_float32__is_worst_and_harms_no_neighbour(
    posterior: Posterior, newcomers: Records
) -> None:
    inputs = newcomers.inputs.clone()
    inputs[3] = 3e38
    values, clean = posterior.score(Records(inputs, newcomers.targets)).values, posterior.score(newcomers).values
    others = torch.arange(25) != 3
    assert torch.equal(values[others], clean[others])
    assert float(values[3]) == -1.0


def test_fit__two_threads__same_bytes(tiny: Problem, newcomers: Records) -> None:
    one = draw(tiny, chains=2, draws=4)
    scores = one.score(newcomers)
    torch.set_num_threads(2)
    two = draw(tiny, chains=2, draws=4)
    assert two.to_bytes() == one.to_bytes()
    assert torch.equal(two.score(newcomers).values, scores.values)


def test_fit__interrupted_and_resumed__same_bytes(tiny: Problem) -> None:
    parts: dict[str, bytes] = {}
    whole = fit(tiny, "bayesian", seed=1, parts=parts, **SMALL)
    assert sorted(parts) == ["chain-0", "chain-1", "chain-2", "chain-3", "subspace"]
    del parts["chain-1"], parts["subspace"]
    seen: list[tuple[int, int]] = []
    resumed = fit(tiny, "bayesian", seed=1, parts=parts, progress=lambda done, of: seen.append((done, of)), **SMALL)
    assert resumed.to_bytes() == whole.to_bytes()
    assert seen == [(done, 5) for done in range(1, 6)]


def test_fit__one_chain_already_walked__others_have_the_same_bytes(tiny: Problem) -> None:
    whole: dict[str, bytes] = {}
    fit(tiny, "bayesian", seed=1, parts=whole, **WALK)
    some = {key: whole[key] for key in ("subspace", "chain-1")}
    fit(tiny, "bayesian", seed=1, parts=some, **WALK)
    assert some == whole


def test_fit__stored_part_cut_short__is_refused(tiny: Problem) -> None:
    with pytest.raises(InfluenceError, match="not a safetensors file"):
        fit(tiny, "bayesian", seed=1, parts={"subspace": b"1234"}, **SMALL)


def test_fit__antithetic_chains__mirror_each_other(posterior: Posterior, tiny: Problem) -> None:
    for name, w in tiny.network.weights().items():
        first, second = posterior.weights[name][:8], posterior.weights[name][8:16]
        assert torch.allclose(first + second, 2 * w.expand_as(first), atol=1e-6)


def test_fit__draws_far_away__are_refused(problem: Problem) -> None:
    with pytest.raises(InfluenceError, match="take a smaller radius"):
        draw(problem, radius=30.0, **SMALL)


def test_fit__chains_that_do_not_mix__are_refused(tiny: Problem) -> None:
    with pytest.raises(InfluenceError, match="have not converged"):
        draw(tiny, chains=2, draws=8, thinning=1, burn_in=0, step=0.01, radius=0.5)


def test_fit__odd_number_of_chains__is_refused(tiny: Problem) -> None:
    with pytest.raises(InfluenceError, match="chains must be even"):
        draw(tiny, chains=3)


def test_fit__radius__is_the_distance_of_the_draws(tiny: Problem) -> None:
    found = draw(tiny, radius=0.05, **SMALL)
    theta = tiny.network.weights()
    squares = sum(((found.weights[name] - w) ** 2).flatten(1).sum(1) for name, w in theta.items())
    length = sum(float((w**2).sum()) for w in theta.values())
    assert isinstance(squares, Tensor)
    assert float(squares.mean()) == pytest.approx(0.05**2 * length, rel=1e-4)


def test_fit__n_beta__overrides_the_radius(tiny: Problem) -> None:
    assert draw(tiny, n_beta=1234.0, radius=7.0, **SMALL).diagnostics().n_beta == 1234.0


def test_load_probes__round_trip__same_scores_and_diagnostics(
    tiny: Problem, posterior: Posterior, newcomers: Records
) -> None:
    loaded = load_probes(tiny, posterior.to_bytes())
    assert isinstance(loaded, Posterior)
    assert loaded.digest() == posterior.digest()
    assert loaded.diagnostics() == posterior.diagnostics()
    assert torch.equal(loaded.score(newcomers).values, posterior.score(newcomers).values)


@pytest.mark.parametrize(
    ("name", "words"),
    [("coefficients", "do not fit"), ("trace", "do not fit"), ("sizes", "in another way"), ("columns", "another way")],
)
def test_load_probes__damaged_file__is_refused(tiny: Problem, posterior: Posterior, name: str, words: str) -> None:
    tensors = load(posterior.to_bytes())
    tensors[name] = tensors[name] + 1 if tensors[name].dtype == torch.int64 else tensors[name][:1].clone()
    with pytest.raises(InfluenceError, match=words):
        load_probes(tiny, save(tensors))


def test_correlation__records__is_the_pearson_correlation_of_odd_losses(
    tiny: Problem, posterior: Posterior, newcomers: Records
) -> None:
    def losses(records: Records, error: bool) -> Tensor:
        found = []
        for index in range(32):
            weights = {name: w[index].double() for name, w in posterior.weights.items()}
            p = functional_call(tiny.model, weights, (records.inputs.double(),)).softmax(-1)
            right = p.gather(1, records.targets.unsqueeze(1)).squeeze(1)
            found.append(1 - right if error else -right.log())
        both = torch.stack(found).reshape(2, 2, 8, -1)
        return (both[:, 0] - both[:, 1]).flatten(0, 1)

    mine, theirs = losses(newcomers, error=False), losses(tiny.queries, error=True)[:, 0::4].mean(1)
    expected = (mine.T @ theirs) / (mine.norm(dim=0) * theirs.norm())
    assert torch.allclose(posterior.correlation(newcomers)[:, 0], expected, atol=1e-4)


def test_traces__blocks_of_any_size__same_bits(
    posterior: Posterior, newcomers: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = posterior.score(newcomers).values
    monkeypatch.setattr(traces, "_LOGITS", 12)
    assert torch.equal(posterior.score(newcomers).values, whole)


def test_by_position__sentences__sums_to_the_score() -> None:
    model = nn.Sequential(nn.Embedding(7, 6), nn.Linear(6, 7))
    initialise(model, Stream(b"bigrams", "initialise"))
    tokens = Stream(b"sentences", "tokens").integers(7, (30, 5))
    targets = torch.cat([tokens[:, 1:], torch.full((30, 1), NO_TARGET)], 1)
    every = Records(tokens, targets)
    found = draw(Problem(model, every.select(torch.arange(12)), every.select(torch.arange(12, 20))), folds=1, **SMALL)
    fresh = every.select(torch.arange(20, 30))
    by_position = found.by_position(fresh)
    assert by_position.shape == (10, 5, 1)
    assert bool((by_position[:, 4] == 0).all())
    assert torch.allclose(by_position.sum(1).squeeze(1), found.score(fresh).values, rtol=1e-9, atol=1e-15)


def test_by_position__records_of_one_target__are_refused(posterior: Posterior, newcomers: Records) -> None:
    with pytest.raises(InfluenceError, match="no positions"):
        posterior.by_position(newcomers)
