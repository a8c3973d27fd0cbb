"""The built-in language model: what it computes, what it refuses, and that every estimator takes it."""

from __future__ import annotations

import pytest
import torch

from validator.exact import exact
from validator.exact.digest import digest
from validator.exact.random import Stream
from validator.influence import InfluenceError, Problem, Records, fit
from validator.influence.models import MOST_BYTES, build, dump_weights, initialise, load_weights
from validator.influence.models.gpt import Gpt
from validator.influence.records import NO_TARGET

WORDS, LENGTH = 11, 5
CONFIG = {"vocabulary": WORDS, "context": 6, "width": 8, "heads": 2, "layers": 2}


def made(name: str = "a") -> Gpt:
    module = build("gpt", CONFIG)
    assert isinstance(module, Gpt)
    initialise(module, Stream(b"gpt", name))
    return module


def tokens(count: int, name: str) -> torch.Tensor:
    return Stream(b"tokens", name).integers(WORDS, (count, LENGTH))


def sentences(count: int, name: str) -> Records:
    inputs = tokens(count, name)
    return Records(inputs, torch.cat([inputs[:, 1:], torch.full((count, 1), NO_TARGET)], 1))


def test_gpt__tokens__become_logits_of_every_position() -> None:
    assert made()(tokens(3, "any")).shape == (3, LENGTH, WORDS)


def test_gpt__later_token_changes__earlier_logits_do_not_follow() -> None:
    model, before = made(), tokens(4, "any")
    after = before.clone()
    after[:, 3] = (after[:, 3] + 1) % WORDS
    with exact(), torch.no_grad():
        left, right = model(before), model(after)
    # Exact products round to a scale that all positions share, so the last bits may follow.
    assert torch.allclose(left[:, :3], right[:, :3], rtol=0, atol=1e-5)
    assert bool((left[:, 3:] != right[:, 3:]).any(-1).all())


def test_gpt__shorter_record__is_the_beginning_of_the_longer_one() -> None:
    model, whole = made(), tokens(4, "any")
    with exact(), torch.no_grad():
        short, long = model(whole[:, :2]), model(whole)
    assert torch.allclose(short, long[:, :2], rtol=0, atol=1e-5)


def test_gpt__same_token_twice__is_told_apart_by_its_position() -> None:
    model = made()
    with exact(), torch.no_grad():
        logits = model(torch.zeros(1, 2, dtype=torch.int64))
    assert not torch.equal(logits[0, 0], logits[0, 1])


def test_gpt__against_float64__close() -> None:
    model, inputs = made(), tokens(4, "any")
    with exact(), torch.no_grad():
        found = model(inputs)
    expected = model.double()(inputs).detach()
    assert float((found.double() - expected).abs().max()) < 1e-5 * float(expected.abs().max())


def test_gpt__trained_a_little__predicts_a_repeating_text() -> None:
    model, text = made(), torch.tensor([[1, 2, 3, 1, 2], [2, 3, 1, 2, 3]])
    following = torch.tensor([[2, 3, 1, 2, 3], [3, 1, 2, 3, 1]])
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(60):
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(model(text).flatten(0, 1), following.flatten()).backward()
        optimiser.step()
    assert torch.equal(model(text).argmax(-1), following)


def test_weights__head_tied_to_the_embedding__is_written_once_and_comes_back() -> None:
    source, target = made("a"), made("b")
    assert sum(p.numel() for p in source.parameters()) * 4 < len(dump_weights(source))
    assert [name for name in source.state_dict() if "head" in name] == []
    load_weights(target, dump_weights(source))
    assert digest(dict(target.state_dict())) == digest(dict(source.state_dict()))


@pytest.mark.parametrize("shape", [(2, 7), (2, 0), (7,), (2, 3, 4)])
def test_gpt__tokens_of_another_shape__are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="tokens must be"):
        made()(torch.zeros(shape, dtype=torch.int64))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"heads": 3}, "'heads' must divide 'width'"),
        ({"layers": 65}, r"'layers' must be an integer in 1\.\.64"),
        ({"context": 2**16 + 1}, "'context'"),
        ({"vocabulary": 0}, "'vocabulary'"),
        ({"width": "8"}, "'width'"),
        ({"dropout": 1}, "exactly the keys"),
        ({"vocabulary": 2**20, "width": 2**20}, f"at most {MOST_BYTES}"),
    ],
)
def test_build__configuration_out_of_range__is_refused_by_name(change: dict[str, object], words: str) -> None:
    with pytest.raises(InfluenceError, match=words):
        build("gpt", {**CONFIG, **change})


@pytest.mark.parametrize(
    ("estimator", "params"),
    [
        ("response", {"epochs": 1, "replicas": 2, "rows": 4}),
        ("classical", {"iterations": 3, "folds": 2}),
        ("mirrored", {"steps": 2, "folds": 2}),
    ],
)
def test_score__gpt__same_bits_in_any_chunk(estimator: str, params: dict[str, int]) -> None:
    problem = Problem(made(), sentences(16, "anchor"), sentences(12, "queries"))
    fitted = fit(problem, estimator, seed=3, **params)
    records, groups = sentences(6, "records"), torch.arange(6) // 2
    whole = fitted.score(records, groups)
    assert bool((whole.values != 0).all())
    assert torch.equal(whole.values, fitted.score(records, groups, chunk=1).values)
    assert torch.equal(whole.stderr, fitted.score(records, groups, chunk=1).stderr)


def test_gradient__one_thread_or_two__same_bits() -> None:
    wide = build("gpt", {"vocabulary": 300, "context": 16, "width": 64, "heads": 4, "layers": 1})
    initialise(wide, Stream(b"gpt", "wide"))
    given, found = Stream(b"tokens", "wide").integers(300, (16, 16)), []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        with exact():
            loss = torch.nn.functional.cross_entropy(wide(given).flatten(0, 1), given.flatten())
            found.append(digest(list(torch.autograd.grad(loss, list(wide.parameters())))))
    assert found[0] == found[1]


def test_problem__records_longer_than_the_context__are_refused() -> None:
    long = Records(torch.zeros(2, 7, dtype=torch.int64), torch.zeros(2, 7, dtype=torch.int64))
    with pytest.raises(InfluenceError, match="1 to 6 positions"):
        Problem(made(), long, long)


def test_problem__token_without_an_embedding__is_refused() -> None:
    wrong = Records(torch.full((2, LENGTH), WORDS), torch.zeros(2, LENGTH, dtype=torch.int64))
    with pytest.raises(InfluenceError, match="does not accept"):
        Problem(made(), wrong, wrong)
