"""The numbers that estimators are judged by, on examples that can be done by hand."""

from __future__ import annotations

import math

import pytest
import torch
from influence_metrics import auc, ceiling, lds, mislabel_auc, ranks, spearman, split_half
from scipy.stats import spearmanr


def column(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64).unsqueeze(1)


def test_ranks__ties__share_the_mean_of_their_places() -> None:
    assert ranks(column(5.0, 1.0, 5.0, 9.0)).flatten().tolist() == [1.5, 0.0, 1.5, 3.0]


def test_spearman__four_values_by_hand__is_one_less_six_sums_of_squares() -> None:
    found = spearman(column(1, 2, 3, 4), column(10, 30, 20, 40))

    assert found.tolist() == pytest.approx([1 - 6 * 2 / (4 * 15)])


def test_spearman__constant_side__is_zero() -> None:
    assert spearman(column(1, 2, 3), column(7, 7, 7)).tolist() == [0.0]


def test_spearman__random_columns_with_ties__agrees_with_scipy() -> None:
    generator = torch.Generator().manual_seed(0)
    left = torch.randint(0, 9, (40, 3), generator=generator).double()
    right = torch.randint(0, 9, (40, 3), generator=generator).double()

    wanted = [spearmanr(left[:, i].numpy(), right[:, i].numpy()).statistic for i in range(3)]

    assert spearman(left, right).tolist() == pytest.approx(wanted)


MASKS = torch.tensor([[1, 1, 0], [1, 0, 1], [0, 1, 1]], dtype=torch.bool)
VALUES = torch.tensor([[3.0, 1.0], [2.0, -1.0], [0.5, 4.0]], dtype=torch.float64)


def test_lds__losses_that_fall_as_predicted__are_perfect() -> None:
    losses = 10 - MASKS.double() @ VALUES

    assert lds(VALUES, MASKS, losses).per_query == 1.0
    assert lds(VALUES, MASKS, losses).mean_objective == 1.0


def test_lds__sign_turned__is_the_opposite() -> None:
    losses = 10 - MASKS.double() @ VALUES

    assert lds(-VALUES, MASKS, losses).per_query == -1.0


def test_lds__one_query_right_and_one_reversed__is_zero_per_query() -> None:
    losses = 10 - MASKS.double() @ (VALUES * torch.tensor([1.0, -1.0], dtype=torch.float64))

    assert lds(VALUES, MASKS, losses).per_query == 0.0


def test_lds__estimates_of_the_mean_objective__give_no_number_per_query() -> None:
    losses = 10 - MASKS.double() @ VALUES

    found = lds(VALUES.mean(1, keepdim=True), MASKS, losses)

    assert math.isnan(found.per_query)
    assert found.mean_objective == 1.0


def test_split_half__seeds_that_agree__is_one() -> None:
    losses = torch.rand(6, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    assert split_half(losses.expand(4, 6, 2)).per_query == pytest.approx(1.0)
    assert ceiling(losses.expand(4, 6, 2)).mean_objective == pytest.approx(1.0)


def test_split_half__one_seed__is_refused() -> None:
    with pytest.raises(ValueError, match="one seed cannot be halved"):
        split_half(torch.zeros(1, 6, 2))


def test_ceiling__two_seeds_that_correlate_by_a_half__is_the_root_of_two_thirds() -> None:
    # Ranks 0 1 2 against 0 2 1: Spearman 1 - 6 * 2 / (3 * 8) = 0.5.
    by_seed = torch.tensor([[[0.0], [1.0], [2.0]], [[0.0], [2.0], [1.0]]], dtype=torch.float64)

    assert ceiling(by_seed).per_query == pytest.approx(math.sqrt(2 / 3))


def test_ceiling__perfect_estimate_of_noisy_truth__is_near_what_it_really_scores() -> None:
    generator = torch.Generator().manual_seed(1)
    signal = torch.randn(400, 8, dtype=torch.float64, generator=generator)
    by_seed = signal + torch.randn(5, 400, 8, dtype=torch.float64, generator=generator)

    scored = spearman(signal, by_seed.mean(0)).mean().item()

    assert ceiling(by_seed).per_query == pytest.approx(scored, abs=0.03)


def test_auc__one_pair_of_four_turned_around__is_three_quarters() -> None:
    scores = torch.tensor([0.9, 0.4, 0.5, 0.1])

    assert auc(scores, torch.tensor([True, True, False, False])) == 0.75


def test_auc__all_equal__is_a_half() -> None:
    assert auc(torch.ones(5), torch.tensor([True, False, False, True, False])) == 0.5


def test_auc__one_kind_only__is_refused() -> None:
    with pytest.raises(ValueError, match="both kinds"):
        auc(torch.ones(2), torch.tensor([True, True]))


def test_mislabel_auc__wrong_labels_harm_most__are_all_found() -> None:
    values = torch.tensor([[1.0, 2.0], [-3.0, 0.0], [0.5, 0.0]], dtype=torch.float64)

    assert mislabel_auc(values, torch.tensor([False, True, False])) == 1.0
