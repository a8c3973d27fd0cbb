"""Prints the digest of every case and of training steps as JSON: what tests/golden/exact.json holds.

A changed digest is a change of protocol. To accept one, raise validator.exact.VERSION and run
    python -m tests.exact.digests > tests/golden/exact.json
"""

from __future__ import annotations

import json
import os
import sys

import torch
from torch.nn import functional as F

from tests.exact.cases import CASES, convnet, filled, mlp, trained, trained_together
from validator.exact import VERSION, exact
from validator.exact.digest import digest
from validator.exact.random import Stream

IMAGE = (1, 10, 10)


def _large() -> dict[str, torch.Tensor]:
    """Tensors that torch splits among its threads."""
    stream = Stream(b"large", "")
    x = stream.normal((700, 100))
    return {
        "gelu": F.gelu(x),
        "layer norm": F.layer_norm(x, (100,)),
        "product": x.t() @ x,
        "sum": x.sum(),
        "square root": x.abs().sqrt(),
        "softmax": x.flatten().softmax(0),
    }


def digests() -> dict[str, str]:
    stream = Stream(b"digests", "data")
    found = {}
    # Built outside: a module's own initialisation draws from torch's generators, which exact() refuses.
    perceptron, network = filled(mlp(), "mlp"), filled(convnet(), "convnet")
    models = [filled(mlp(), f"mlp {i}") for i in range(8)]
    with exact():
        for case in CASES:
            found[case.name] = digest(case.outcome(case.inputs())).hex()
        for name in ("linear", "softmax", "layer norm", "gelu", "sqrt", "total", "index add"):
            case = next(c for c in CASES if c.name == name)
            found[f"{name} float64"] = digest(case.outcome(case.inputs(torch.float64))).hex()
        found["large"] = digest(_large()).hex()
        x, y = stream.normal((24, 12)), stream.integers(5, (24,))
        found["mlp training"] = digest(trained(perceptron, x, y)).hex()
        x, y = stream.normal((12, *IMAGE)), stream.integers(5, (12,))
        found["convnet training"] = digest(trained(network, x, y)).hex()
        x, y = stream.normal((8, 24, 12)), stream.integers(5, (8, 24))
        found["mlp training, 8 at once"] = digest(trained_together(models, x, y)).hex()
    for kind in ("uniform", "normal", "rademacher"):
        found[f"stream {kind}"] = digest(getattr(Stream(b"seed", kind), kind)((1001,))).hex()
    found["stream integers"] = digest(Stream(b"seed", "integers").integers(1000, (1001,))).hex()
    found["stream permutation"] = digest(Stream(b"seed", "permutation").permutation(1001)).hex()
    return found


def check_batch_splits() -> None:
    """Each row of a batch must have the bits it has alone, in twos and in fives, here and on this instruction set."""
    for case in (case for case in CASES if case.rowwise):
        first, *rest = case.inputs()
        with exact(), torch.no_grad():
            whole = case.run(first, *rest)
            for size in (1, 2, 5):
                pieces = torch.cat([case.run(piece, *rest) for piece in first.split(size)])
                if not torch.equal(whole, pieces):
                    sys.exit(f"{case.name}: another batch size ({size}) gives other bits")


def main() -> None:
    torch.set_num_threads(int(os.environ.get("DIGEST_THREADS", "1")))
    check_batch_splits()
    json.dump({"version": VERSION, "digests": digests()}, sys.stdout, indent=1, sort_keys=True)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
