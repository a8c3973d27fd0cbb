"""Prints what this process computes as JSON: the digests of the self-test, and those of training.

    python -m tests.exact.digests              both, which a test compares with the golden files
    python -m tests.exact.digests training     what tests/golden/exact.json holds
    python -m tests.exact.digests all          a list of both: 1 and 2 threads, kernels on and off

A changed digest is a change of protocol. To accept one, raise validator.exact.VERSION and write both files anew:

    python -m validator.exact.conformance --regenerate
    python -m tests.exact.digests training > tests/golden/exact.json

DIGEST_THREADS sets torch's threads, DIGEST_KERNELS=off has the eager code compute everything.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from validator.exact import VERSION, exact, kernels
from validator.exact.conformance import cases
from validator.exact.conformance.golden import regenerated
from validator.exact.conformance.networks import convnet, filled, mlp
from validator.exact.digest import digest
from validator.exact.random import Stream
from validator.influence.models import build, initialise

Optimiser = Callable[[list[nn.Parameter]], torch.optim.Optimizer]

FAMILIES = {
    "mlp": ({"inputs": 24, "hidden": [32, 16], "classes": 5}, (24,)),
    "convnet": ({"channels": 2, "height": 9, "width": 8, "filters": [6, 8], "classes": 5}, (2, 9, 8)),
}
TOKENS, CONTEXT, WIDTH, HEADS = 19, 11, 16, 4
GPT: dict[str, int | str] = {"vocabulary": TOKENS, "context": CONTEXT, "width": WIDTH, "heads": HEADS, "layers": 2}


class Flat(nn.Module):
    """A language model's logits (n, positions, words) as (n * positions, words)."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: Tensor) -> Tensor:
        return self.model(tokens).flatten(0, 1)


class Transformer(nn.Module):
    """One block of a GPT: (n, CONTEXT) tokens to logits (n * CONTEXT, TOKENS); embedding and head share weights."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.places = nn.Embedding(TOKENS, WIDTH), nn.Embedding(CONTEXT, WIDTH)
        self.before, self.between, self.after = (nn.LayerNorm(WIDTH) for _ in range(3))
        self.attention, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.wide, self.narrow = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.tokens(tokens) + self.places.weight
        heads = self.attention(self.before(x)).unflatten(-1, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(*heads.unbind(), is_causal=True)
        x = x + self.out(seen.transpose(1, 2).flatten(2))
        x = x + self.narrow(F.gelu(self.wide(self.between(x)), approximate="tanh"))
        return F.linear(self.after(x), self.tokens.weight).flatten(0, 1)


def sgd(parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=0.05, momentum=0.9, weight_decay=1e-3, foreach=False)


def adam(parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.Adam(parameters, lr=0.01, foreach=False)


def adamw(parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters, lr=0.01, foreach=False)


def trained(model: nn.Module, inputs: Tensor, labels: Tensor, steps: int, optimiser: Optimiser) -> str:
    """The digest of the losses on the way and the parameters at the end."""
    rule, losses = optimiser(list(model.parameters())), []
    with exact():
        for _ in range(steps):
            rule.zero_grad()
            loss = F.cross_entropy(model(inputs), labels)
            loss.backward()
            rule.step()
            losses.append(loss.detach())
    return digest({"losses": losses, "parameters": dict(model.named_parameters())}).hex()


def training_digests() -> dict[str, str]:
    found = {}
    for family, (config, shape) in FAMILIES.items():
        for activation in ("relu", "tanh", "gelu"):
            name = f"{family} {activation}"
            stream = Stream(b"families", name)
            model = build(family, {**config, "activation": activation})
            initialise(model, stream)
            x, y = stream.normal((32, *shape)), stream.integers(5, (32,))
            found[f"step of {name}"] = trained(model, x, y, 1, sgd)
    for name, module, shape, steps, optimiser in (
        ("mlp, 50 steps of sgd", mlp(), (24, 12), 50, sgd),
        ("mlp, 20 steps of adam", mlp(), (24, 12), 20, adam),
        ("convnet, 20 steps of sgd", convnet(), (12, 1, 10, 10), 20, sgd),
    ):
        stream = Stream(b"training", name)
        x, y = stream.normal(shape), stream.integers(5, shape[:1])
        found[name] = trained(filled(module, name), x, y, steps, optimiser)
    name = "gpt"
    model = build("gpt", GPT)
    initialise(model, Stream(b"families", name))
    tokens = Stream(b"training", name).integers(TOKENS, (6, CONTEXT + 1))
    found[f"step of {name}"] = trained(Flat(model), tokens[:, :-1], tokens[:, 1:].flatten(), 1, sgd)
    name = "transformer, 10 steps of adamw"
    tokens = Stream(b"training", name).integers(TOKENS, (6, CONTEXT + 1))
    model = filled(Transformer(), name)
    found[name] = trained(model, tokens[:, :-1], tokens[:, 1:].flatten(), 10, adamw)
    return found


def check_batch_splits() -> None:
    """Each row of a batch must have the bits it has alone, in twos and in fives, here and on this instruction set."""
    for case in (case for case in cases() if case.rowwise and not case.missing()):
        first, *rest = case.inputs()
        with exact(), torch.no_grad():
            whole = case.run(first, *rest)
            for size in (1, 2, 5):
                pieces = torch.cat([case.run(piece, *rest) for piece in first.split(size)])
                if not torch.equal(whole, pieces):
                    sys.exit(f"{case.name}: another batch size ({size}) gives other bits")


def answer(threads: int, fused: bool) -> dict[str, object]:
    """What one row of the product of settings finds: both golden files, made here."""
    torch.set_num_threads(threads)
    with contextlib.nullcontext() if fused else kernels.reference():
        check_batch_splits()
        return {"self-test": json.loads(regenerated()), "training": training()}


def training() -> dict[str, object]:
    return {"version": VERSION, "digests": training_digests()}


def main() -> None:
    threads, fused = int(os.environ.get("DIGEST_THREADS", "1")), os.environ.get("DIGEST_KERNELS") != "off"
    torch.set_num_threads(threads)
    if sys.argv[1:] == ["training"]:
        with contextlib.nullcontext() if fused else kernels.reference():
            found: object = training()
    elif sys.argv[1:] == ["all"]:
        found = [answer(threads, fused) for threads in (1, 2) for fused in (True, False)]
    else:
        found = answer(threads, fused)
    sys.stdout.write(json.dumps(found, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
