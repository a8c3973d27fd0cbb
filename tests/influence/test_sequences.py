"""Records whose targets are sequences: a language model is trained, queried and scored like any other."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from validator.exact import exact
from validator.exact.random import Stream
from validator.influence import InfluenceError, Problem, Records, fit
from validator.influence.models import initialise
from validator.influence.problem import OBJECTIVES, Objective
from validator.influence.records import NO_TARGET, concat

WORDS, LENGTH = 7, 5


class Bigrams(nn.Module):
    """The least language model: next token from this token."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(WORDS, 6)
        self.out = nn.Linear(6, WORDS)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.out(self.embed(tokens))
        return found


def sentences(count: int, name: str) -> Records:
    """Tokens, and the next ones; a last position, and some first ones, have no target."""
    tokens = Stream(b"sentences", name).integers(WORDS, (count, LENGTH))
    targets = torch.cat([tokens[:, 1:], torch.full((count, 1), NO_TARGET)], 1)
    targets[::3, 0] = NO_TARGET
    return Records(tokens, targets)


@pytest.fixture(scope="module")
def language() -> Problem:
    model = Bigrams()
    initialise(model, Stream(b"bigrams", "initialise"))
    return Problem(model, sentences(24, "anchor"), sentences(20, "queries"))


@pytest.mark.parametrize("name", OBJECTIVES)
def test_objective__sequence__is_the_mean_over_its_targets(name: str, language: Problem) -> None:
    one, records = OBJECTIVES[name], language.queries
    many = Objective(one.at_target, one.slope_at_target, one.worst, sequence=True)
    logits = Stream(b"logits", name).normal((len(records), LENGTH, WORDS)).requires_grad_()
    found = many.value(logits, records.targets)
    for record in range(len(records)):
        has = records.targets[record] != NO_TARGET
        alone = one.value(logits[record, has], records.targets[record, has]).mean()
        assert torch.allclose(found[record], alone, rtol=1e-6)
    (slope,) = torch.autograd.grad(found.sum(), logits)
    assert torch.allclose(many.slope(logits.detach(), records.targets), slope, atol=1e-6)


@pytest.mark.parametrize(
    ("estimator", "params"),
    [("response", {"epochs": 2, "replicas": 2}), ("classical", {"iterations": 4}), ("mirrored", {"steps": 4})],
)
def test_score__sequences__same_bits_in_any_chunk(language: Problem, estimator: str, params: dict[str, int]) -> None:
    fitted = fit(language, estimator, seed=3, **params)
    records, groups = sentences(12, "records"), torch.arange(12) // 3
    whole = fitted.score(records, groups)
    assert whole.values.shape == (4,)
    assert bool((whole.values != 0).all())
    assert torch.equal(whole.values, fitted.score(records, groups, chunk=1).values)


def test_score__position_without_target__has_no_part(language: Problem) -> None:
    fitted, records = fit(language, "classical", seed=3, iterations=4), sentences(6, "records")
    other = records.inputs.clone()
    other[:, -1] = (other[:, -1] + 1) % WORDS
    with exact():
        before, after = fitted.score(records), fitted.score(Records(other, records.targets))
    assert torch.equal(before.values, after.values)


def test_records__sequence_without_a_target__is_refused() -> None:
    with pytest.raises(InfluenceError, match="no target"):
        Records(torch.zeros(1, 2, dtype=torch.int64), torch.tensor([[NO_TARGET, NO_TARGET]]))


def test_records__class_below_no_target__is_refused() -> None:
    with pytest.raises(InfluenceError, match="negative"):
        Records(torch.zeros(1, 2, dtype=torch.int64), torch.tensor([[-2, 0]]))


def test_problem__other_number_of_positions__is_refused(language: Problem) -> None:
    tokens = torch.zeros(2, LENGTH, dtype=torch.int64)
    with pytest.raises(InfluenceError, match="targets of shape"):
        fit(language, "classical", seed=0, iterations=1).score(Records(tokens, tokens[:, 1:]))


def test_concat__sequences_of_other_length__are_refused() -> None:
    tokens = torch.zeros(2, LENGTH, dtype=torch.int64)
    with pytest.raises(InfluenceError, match="concatenated"):
        concat([Records(tokens, tokens), Records(tokens, tokens[:, 1:])])


def test_problem__classifier_for_sequences__is_refused(language: Problem) -> None:
    flat = nn.Sequential(nn.Embedding(WORDS, 6), nn.Flatten(), nn.Linear(6 * LENGTH, WORDS))
    with pytest.raises(InfluenceError, match="classes"):
        Problem(flat, language.anchor, language.queries)
