from __future__ import annotations

import copy
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from tests.influence.conftest import make_problem
from validator.exact import exact
from validator.exact.random import Stream
from validator.influence import InfluenceError, Problem, Records, fit, load_probes
from validator.influence.descent import Descent
from validator.influence.models import build, initialise
from validator.influence.records import concat
from validator.influence.response import Response
from validator.influence.training import ResponseSettings, Training

SHORT: dict[str, int] = {"epochs": 2, "replicas": 2}


def wrong_labels(records: Records) -> Records:
    return Records(records.inputs, (records.targets + 3) % 10)


def noise(count: int) -> Records:
    generator = torch.Generator().manual_seed(1)
    return Records(torch.rand(count, 64, generator=generator), torch.randint(0, 10, (count,), generator=generator))


def crowd(digits: Records) -> tuple[list[str], Records, Tensor]:
    """Four clean contributions, two with half and two with all labels wrong, two of noise; 24 records each."""
    parts, kinds = [], []
    for index in range(8):
        rows = digits.select(torch.arange(300 + 24 * index, 324 + 24 * index))
        half = concat([wrong_labels(rows.select(torch.arange(12))), rows.select(torch.arange(12, 24))])
        kind = ("clean", "clean", "half", "wrong")[index % 4]
        parts.append({"clean": rows, "half": half, "wrong": wrong_labels(rows)}[kind])
        kinds.append(kind)
    parts += [noise(48).select(torch.arange(24)), noise(48).select(torch.arange(24, 48))]
    return [*kinds, "noise", "noise"], concat(parts), torch.arange(240) // 24


def test_score__crowd_of_kinds__pays_the_clean_and_nobody_else(problem: Problem, digits: Records) -> None:
    kinds, records, groups = crowd(digits)
    values, errors = fit(problem, "response", seed=3).score(records, groups=groups).to_fixed()
    paid = dict.fromkeys(kinds, 0)
    for kind, value, error in zip(kinds, values, errors, strict=True):
        paid[kind] += max(0, value - error)
    assert paid["clean"] > 0
    assert paid["half"] == paid["wrong"] == paid["noise"] == 0


def test_score__refresh__noise_earns_nothing_by_shaking_networks_that_have_settled(digits: Records) -> None:
    settled = make_problem(digits.select(torch.arange(400)), digits.select(torch.arange(400, 520)))

    def values(**params: float) -> Tensor:
        fitted = fit(settled, "response", seed=3, epochs=40, most_steps=150, replicas=3, settle=6, **params)
        return fitted.score(noise(60), torch.arange(60) // 20).values

    warm, shaken = values(), values(refresh=0.5, cool=1)
    assert float(warm.max()) > 0
    assert float(shaken.max()) < -0.005


@pytest.mark.parametrize("cool", [0, 1])
def test_score__group__equals_plain_training_written_out(problem: Problem, digits: Records, cool: int) -> None:
    contribution = digits.select(torch.arange(400, 411))
    params = {"epochs": 1, "replicas": 1, "batch": 32, "rows": 4, "settle": 0, "keep": 1.0, "perturb": 0.0}
    response = fit(problem, "response", seed=1, cool=cool, **params)
    assert isinstance(response, Response)
    value = response.score(contribution, groups=torch.zeros(11, dtype=torch.int64)).values
    reference = plain(problem, response, None) - plain(problem, response, contribution)
    assert float(value[0]) == pytest.approx(float(reference), abs=2e-6)


def plain(problem: Problem, response: Response, contribution: Records | None) -> Tensor:
    """Slow and clear: one contribution, autograd through torch's own loss, float32, the same rows at each step."""
    settings, anchor, model = response.settings, problem.anchor, copy.deepcopy(problem.model)
    steps = math.ceil(settings.epochs * len(anchor) / settings.batch)

    def order(name: str, size: int, batch: int) -> Tensor:
        stream = Stream(response.seed, f"response/0/{name}/{size}")
        rows = torch.cat([stream.permutation(size) for _ in range(math.ceil(steps * batch / size))])
        return rows[: steps * batch].reshape(steps, batch)

    extra = 0 if contribution is None else len(contribution)
    velocity = [torch.zeros_like(p) for p in model.parameters()]
    anchor_rows = order("reference", len(anchor), settings.batch)
    for step in range(steps):
        done = settings.cool * step / steps
        rows = anchor.select(anchor_rows[step])
        loss = len(anchor) * cross_entropy(model(rows.inputs), rows.targets)
        if contribution is not None:
            own = contribution.select(order("rows", extra, settings.rows)[step])
            loss = loss + extra * cross_entropy(model(own.inputs), own.targets)
        gradient = torch.autograd.grad(loss / (len(anchor) + extra), list(model.parameters()))
        with torch.no_grad():
            for p, v, g in zip(model.parameters(), velocity, gradient, strict=True):
                v.mul_(settings.momentum).add_(g + settings.weight_decay * p)
                p.sub_(settings.learning_rate * (1 - 3 * done**2 + 2 * done**3) * v)
    with torch.no_grad():
        correct = model(problem.queries.inputs).softmax(-1).gather(1, problem.queries.targets.unsqueeze(1))
    return 1 - correct.to(torch.float64).mean()


def test_descent__adam__is_torchs() -> None:
    weights = {"w": Stream(b"descent", "weights").normal((3, 4))}
    leaf = weights["w"].clone().requires_grad_()
    torchs = torch.optim.Adam([leaf], lr=0.01, betas=(0.9, 0.999), weight_decay=0.02)
    ours = Descent(weights, 0.01, 0.9, 0.02, adam=True)
    for step in range(5):
        slope = Stream(b"descent", f"slope/{step}").normal((3, 4))
        leaf.grad = slope
        torchs.step()
        weights = ours.step(weights, {"w": slope})
    assert torch.allclose(weights["w"], leaf.detach(), rtol=1e-5, atol=1e-7)


def test_fit__start_shaken__is_kept_part_and_noise_of_each_matrix_and_the_biases_as_they_are(problem: Problem) -> None:
    response = fit(problem, "response", seed=1, settle=0, keep=0.5, perturb=2.0, **SHORT)
    assert isinstance(response, Response)
    for name, weight in problem.network.weights().items():
        began = response.start[name]
        assert began.shape == (2, 1, *weight.shape)
        if weight.dim() < 2:
            assert torch.equal(began, weight.expand(began.shape))
            continue
        noise = (began - weight * 0.5) / weight.square().mean().sqrt()
        assert float(noise.std()) == pytest.approx(2.0, rel=0.2)
        assert not torch.equal(noise[0], noise[1])


def test_refreshed__networks_of_a_place__go_so_much_of_the_way_to_a_shaken_start(problem: Problem) -> None:
    settings = ResponseSettings(replicas=2, keep=0.2, perturb=2.0, refresh=0.25)
    runs = Training(problem, settings, b"seed")
    trained = {name: w.expand(2, 1, *w.shape) + 1 for name, w in problem.network.weights().items()}
    shaken, later = runs.refreshed(trained, 80), runs.refreshed(trained, 90)
    for name, weight in problem.network.weights().items():
        if weight.dim() < 2:
            assert torch.equal(shaken[name], trained[name])
            continue
        noise = (shaken[name] - trained[name] * 0.8) / weight.square().mean().sqrt()
        assert float(noise.std()) == pytest.approx(0.5, rel=0.2)
        assert not torch.equal(noise[0], noise[1])
        assert not torch.equal(shaken[name], later[name])


@pytest.mark.parametrize("params", [{"refresh": 0.0}, {"refresh": 0.5, "keep": 1.0, "perturb": 0.0}])
def test_refreshed__nothing_to_shake__is_what_was_trained(problem: Problem, params: dict[str, float]) -> None:
    trained = {name: w.expand(2, 1, *w.shape) for name, w in problem.network.weights().items()}
    shaken = Training(problem, ResponseSettings(replicas=2, **params), b"seed").refreshed(trained, 80)
    assert all(torch.equal(shaken[name], w) for name, w in trained.items())


def test_score__neighbours__do_not_change_a_bit(problem: Problem, digits: Records) -> None:
    response = fit(problem, "response", seed=1, **SHORT)
    first, second = digits.select(torch.arange(400, 409)), digits.select(torch.arange(450, 467))
    alone = response.score(second, groups=torch.zeros(17, dtype=torch.int64))
    together = response.score(concat([first, second]), groups=torch.tensor([0] * 9 + [1] * 17))
    assert together.values[1] == alone.values[0]
    assert together.stderr[1] == alone.stderr[0]


def test_score__run_that_diverges__is_worst_and_harms_no_neighbour(problem: Problem, digits: Records) -> None:
    response = fit(problem, "response", seed=1, **SHORT)
    clean, groups = digits.select(torch.arange(400, 409)), torch.arange(27) // 9
    poison = Records(torch.full((9, 64), 3e38), clean.targets)
    alone = response.score(clean, groups=groups[:9])
    scores = response.score(concat([clean, poison, clean]), groups=groups)
    assert scores.values[0] == scores.values[2] == alone.values[0]
    assert isinstance(response, Response)
    assert float(scores.values[1]) == pytest.approx(float(response.baseline.mean()) - 1, abs=1e-6)


def test_fit__anchor_training_diverges__is_refused(problem: Problem) -> None:
    with pytest.raises(InfluenceError, match="lower the learning rate"):
        fit(problem, "response", seed=1, learning_rate=1e3, weight_decay=1.0, epochs=100, replicas=1)


@pytest.mark.parametrize("chunk", [1, 3])
def test_score__chunk__changes_no_bit(problem: Problem, digits: Records, chunk: int) -> None:
    response = fit(problem, "response", seed=1, **SHORT)
    records, groups = digits.select(torch.arange(400, 430)), torch.arange(30) % 4
    whole, pieces = response.score(records, groups=groups), response.score(records, groups=groups, chunk=chunk)
    assert torch.equal(whole.values, pieces.values)
    assert torch.equal(whole.stderr, pieces.stderr)


def test_score__module_of_ones_own__is_trained_under_vmap(digits: Records) -> None:
    model = nn.Sequential(nn.Linear(64, 16), nn.LayerNorm(16), nn.GELU(), nn.Linear(16, 10))
    initialise(model, Stream(b"model", "initialise"))
    problem = Problem(model, digits.select(torch.arange(64)), digits.select(torch.arange(64, 128)))
    scores = fit(problem, "response", seed=1, **SHORT).score(
        digits.select(torch.arange(400, 408)), torch.arange(8) // 4
    )
    assert scores.values.shape == (2,)
    assert bool((scores.values != 0).all())


def test_score__convnet__is_trained_under_vmap(digits: Records) -> None:
    config = {"channels": 1, "height": 8, "width": 8, "filters": [4, 8], "classes": 10, "activation": "relu"}
    model = build("convnet", config)
    initialise(model, Stream(b"model", "initialise"))
    images = Records(digits.inputs.reshape(-1, 1, 8, 8), digits.targets)
    problem = Problem(model, images.select(torch.arange(64)), images.select(torch.arange(64, 128)))
    response = fit(problem, "response", seed=1, **SHORT)
    records, groups = images.select(torch.arange(400, 412)), torch.arange(12) // 4
    scores = response.score(records, groups)
    assert torch.equal(response.score(records, groups, chunk=1).values, scores.values)
    assert bool((scores.values != 0).all())


def test_score__interleaved_groups__equal_contiguous_ones(problem: Problem, digits: Records) -> None:
    response = fit(problem, "response", seed=1, **SHORT)
    records = digits.select(torch.arange(400, 420))
    groups = torch.arange(20) % 2
    order = torch.argsort(groups, stable=True)
    mixed = response.score(records, groups=groups)
    sorted_ = response.score(records.select(order), groups=groups[order])
    assert torch.equal(mixed.values, sorted_.values)


def test_score__per_query__averages_to_the_score(problem: Problem, digits: Records) -> None:
    records, groups = digits.select(torch.arange(400, 420)), torch.arange(20) // 10
    value = fit(problem, "response", seed=1, **SHORT).score(records, groups=groups).values
    matrix = fit(problem, "response", seed=1, per_query=True, **SHORT).score(records, groups=groups).values
    assert matrix.shape == (2, len(problem.queries))
    with exact():
        assert torch.equal(matrix.mean(1), value)


def test_fit__interrupted_and_resumed__same_bytes(problem: Problem) -> None:
    parts: dict[str, bytes] = {}
    whole = fit(problem, "response", seed=1, parts=parts, **SHORT)
    assert sorted(parts) == ["baseline", "settled-0", "settled-1", "settled-2"]
    del parts["baseline"]
    seen: list[tuple[int, int]] = []
    resumed = fit(problem, "response", seed=1, parts=parts, progress=lambda done, of: seen.append((done, of)), **SHORT)
    assert resumed.to_bytes() == whole.to_bytes()
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_fit__stored_part_cut_short__is_refused(problem: Problem) -> None:
    with pytest.raises(InfluenceError, match="safetensors"):
        fit(problem, "response", seed=1, parts={"baseline": b"1234"}, **SHORT)


def test_load_probes__round_trip__same_scores_and_digest(problem: Problem, digits: Records) -> None:
    response = fit(problem, "response", seed=1, **SHORT)
    loaded = load_probes(problem, response.to_bytes())
    records = digits.select(torch.arange(400, 406))
    assert loaded.digest() == response.digest()
    assert torch.equal(loaded.score(records).values, response.score(records).values)


def test_fit__another_seed__another_schedule(problem: Problem) -> None:
    assert fit(problem, "response", seed=1, **SHORT).digest() != fit(problem, "response", seed=2, **SHORT).digest()


def test_fit__integer_seed__is_its_32_bytes(problem: Problem) -> None:
    wide = (7).to_bytes(32, "big")
    assert fit(problem, "response", seed=7, **SHORT).digest() == fit(problem, "response", seed=wide, **SHORT).digest()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"estimator": "shapley"}, "response, classical, mirrored"),
        ({"epochs": 0}, r"epochs must be an integer in 1 \.\. 10000"),
        ({"epochs": 2.0}, "epochs must be an integer"),
        ({"learning_rate": float("nan")}, "learning_rate must be a number"),
        ({"steps": 3}, "unknown parameter steps; this estimator takes epochs"),
        ({"seed": -1}, "seed"),
        ({"seed": b""}, "1 to 64 bytes"),
    ],
)
def test_fit__bad_argument__is_refused_in_one_line(problem: Problem, arguments: dict[str, object], words: str) -> None:
    call: Callable[..., object] = fit
    with pytest.raises(InfluenceError, match=words) as caught:
        call(problem, **({"estimator": "response", "seed": 0} | arguments))
    assert "\n" not in str(caught.value)


def test_score__no_records__is_refused(problem: Problem, digits: Records) -> None:
    with pytest.raises(InfluenceError, match="no record"):
        fit(problem, "response", seed=1, **SHORT).score(digits.select(torch.arange(0)))


def test_score__class_the_model_does_not_know__is_refused(problem: Problem) -> None:
    with pytest.raises(InfluenceError, match="hold class 10"):
        fit(problem, "response", seed=1, **SHORT).score(Records(torch.zeros(1, 64), torch.tensor([10])))
