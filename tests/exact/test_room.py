"""What a thread keeps to work in from product to product shows in no result."""

from __future__ import annotations

import threading

import torch
from torch import Tensor

from tests.exact.processors import needs_vnni
from validator.exact import exact, residues


def operands(rows: int, columns: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, 512, generator=generator), torch.randn(512, columns, generator=generator)


def product(pair: tuple[Tensor, Tensor]) -> Tensor:
    with exact(), torch.no_grad():
        return pair[0] @ pair[1]


@needs_vnni
def test_multiply__large_then_small_then_large__each_as_if_alone() -> None:
    pairs = [operands(640, 576, 1), operands(512, 512, 2), operands(640, 576, 3)]
    first = [product(pair) for pair in pairs]
    again = [product(pair) for pair in reversed(pairs)][::-1]
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert residues._kept.sums is not None and residues._kept.sums.numel() >= 7 * 640 * 576


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
    expected = [product(pair) for pair in pairs]
    ready = threading.Barrier(2)

    def work(index: int) -> None:
        ready.wait(timeout=60)
        found[index] = [product(pairs[index]) for _ in range(20)]

    threads = [threading.Thread(target=work, args=(index,)) for index in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(each, expected[index]) for index in range(2) for each in found[index])
