"""What a thread keeps to work in from product to product shows in no result."""

from __future__ import annotations

import threading

import pytest
import torch
from torch import Tensor

from tests.exact.processors import needs_vnni
from validator.exact import NonFinite, exact, frozen, kernels, products, residues

pytestmark = needs_vnni


def operands(rows: int, columns: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, 512, generator=generator), torch.randn(512, columns, generator=generator)


def product(pair: tuple[Tensor, Tensor]) -> Tensor:
    with exact(), torch.no_grad():
        return pair[0] @ pair[1]


def expected(pair: tuple[Tensor, Tensor]) -> Tensor:
    with kernels.reference():
        return product(pair)


def places() -> set[int]:
    return {x.data_ptr() for x in (residues._own.sides or {}).values()}


def test_multiply__large_then_small_then_large__each_as_if_alone_in_the_same_room() -> None:
    pairs = [operands(640, 576, 1), operands(512, 512, 2), operands(640, 576, 3)]
    assert residues.pays(*pairs[1])
    assert torch.equal(product(pairs[0]), expected(pairs[0]))
    room = places()
    assert len(room) == 2
    for pair in (*pairs, *pairs[::-1]):
        assert torch.equal(product(pair), expected(pair))
        assert places() == room


def test_multiply__frozen_weights__own_their_memory() -> None:
    x, weights = operands(512, 512, 11)
    others = [operands(512, 512, seed) for seed in (12, 13)]
    wanted = expected((x, weights))
    with frozen([weights]):
        for other in others:
            assert torch.equal(product((x, weights)), wanted)
            assert torch.equal(product(other), expected(other))  # in the room that a kept operand must not lie in
            assert torch.equal(product((weights, weights)), expected((weights, weights)))
        assert torch.equal(product((x, weights)), wanted)


def test_multiply__batch__each_matrix_has_its_part_of_the_room() -> None:
    pairs = [operands(512, 480, seed) for seed in (21, 22, 23)]
    a, b = (torch.stack(side) for side in zip(*pairs, strict=True))
    assert residues.pays(a, b)
    with exact():
        found = a @ b
    assert all(torch.equal(one, expected(pair)) for one, pair in zip(found, pairs, strict=True))


def test_multiply__operands_beyond_the_bound__in_memory_that_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(residues, "_MOST", residues.kernels.module("residues").size(512, 512))
    monkeypatch.setattr(residues._own, "sides", None)
    small, large = operands(512, 512, 31), operands(640, 512, 32)
    assert torch.equal(product(small), expected(small))
    assert torch.equal(product(large), expected(large))
    assert [x.numel() for x in (residues._own.sides or {}).values()] == [residues._MOST] * 2


def test_multiply__refused_operand__leaves_the_room_as_it_was() -> None:
    pair = operands(512, 512, 41)
    wanted = product(pair)
    room, bad = places(), pair[1].clone()
    bad[3, 4] = float("inf")
    with pytest.raises(NonFinite):
        product((pair[0], bad))
    assert places() == room
    assert torch.equal(product(pair), wanted)


def test_multiply__begun_inside_another__gets_another_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a signal's handler may do, between the operands and their product."""
    outer, inner = operands(512, 512, 51), operands(512, 512, 52)
    real, found = residues.multiply, list[Tensor]()

    def interrupted(*given: object) -> Tensor:
        monkeypatch.setattr(residues, "multiply", real)
        found.append(products.rounded(*inner, "test"))
        return real(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(residues, "multiply", interrupted)
    assert torch.equal(products.rounded(*outer, "test"), expected(outer))
    assert torch.equal(found[0], expected(inner))


def test_multiply__first_use_in_inference_mode__works_outside_of_it_too() -> None:
    pair, found = operands(512, 512, 4), list[Tensor]()

    def work() -> None:
        with torch.inference_mode():
            found.append(product(pair).clone())
        found.append(product(pair))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[1], product(pair))


def test_multiply__two_threads_at_once__keep_out_of_each_others_room() -> None:
    pairs, found = [operands(512, 512, seed) for seed in (5, 6)], dict[int, list[Tensor]]()
    wanted = [expected(pair) for pair in pairs]
    ready = threading.Barrier(2)

    def work(index: int) -> None:
        ready.wait(timeout=60)
        found[index] = [product(pairs[index]) for _ in range(20)]

    threads = [threading.Thread(target=work, args=(index,)) for index in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(each, wanted[index]) for index in range(2) for each in found[index])
