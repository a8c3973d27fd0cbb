"""The golden digests: one for each case and for a few larger computations, the same on every machine for ever.

A changed digest is a change of protocol. To accept one, raise validator.exact.VERSION and run
    python -m validator.exact.conformance --regenerate
which writes golden.json anew, on the CPU. Digests of training are in tests/golden/exact.json (tests/exact/digests.py).
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from validator.exact import VERSION, exact
from validator.exact.conformance import families
from validator.exact.conformance.case import Case
from validator.exact.conformance.networks import convnet, filled, mlp, trained, trained_together
from validator.exact.digest import Values, digest
from validator.exact.errors import ExactError
from validator.exact.random import Stream

GOLDEN = Path(__file__).with_name("golden.json")
_ALSO_DOUBLE = ("linear", "softmax", "layer norm", "gelu", "sqrt", "total", "index add")
QUICK = frozenset(
    {
        *("linear", "mm long", "conv grouped", "max pool", "embedding", "layer norm", "cross entropy", "total"),
        *("gelu", "softmax", "softmax float64", "stream normal", "mlp training"),
    }
)
"""Enough to meet every rule that scoring uses, in a fraction of a second."""


@dataclass(frozen=True, slots=True)
class Computation:
    """`run` computes on a device; its values have the golden digest of this name. `case` is what it runs, if it is one.
    `missing` is the name under `torch` that it needs and this torch has not.
    """

    name: str
    kind: str
    run: Callable[[torch.device], Values]
    missing: str | None = None

    @property
    def quick(self) -> bool:
        """Whether it belongs to the quick self-test."""
        return self.name in QUICK


def computations() -> list[Computation]:
    """All that golden.json holds, in a fixed order; names are unique."""
    known = families()
    found = [
        Computation(case.name, kind, functools.partial(_case, case, torch.float32), case.missing())
        for kind, family in known.items()
        for case in family
    ]
    found += [
        Computation(f"{case.name} float64", "float64", functools.partial(_case, case, torch.float64), case.missing())
        for family in known.values()
        for case in family
        if case.name in _ALSO_DOUBLE
    ]
    return [*found, *_trainings(), *_streams()]


def read_golden(path: Path = GOLDEN) -> dict[str, str]:
    """Digests in hex by name. Raises ExactError where the file is that of another version."""
    held = json.loads(path.read_text())
    if held["version"] != VERSION:
        raise ExactError(f"{path.name} holds version {held['version']}, this code is version {VERSION}")
    return dict(held["digests"])


def regenerated() -> str:
    """What golden.json should hold, as computed here on the CPU."""
    here = torch.device("cpu")
    found = {each.name: digest(each.run(here)).hex() for each in computations()}
    return json.dumps({"version": VERSION, "digests": found}, indent=1, sort_keys=True) + "\n"


def _case(case: Case, dtype: torch.dtype, device: torch.device) -> Values:
    with exact():
        return case.outcome(case.inputs(dtype, device))


def _trainings() -> Iterator[Computation]:
    yield Computation("large", "training", _large)
    yield Computation("mlp training", "training", functools.partial(_trained, mlp, "mlp", 0))
    yield Computation("convnet training", "training", functools.partial(_trained, convnet, "convnet", 1))
    yield Computation("mlp training, 8 at once", "training", _trained_together)


def _large(device: torch.device) -> Values:
    """Tensors that torch splits among its threads."""
    with exact():
        x = Stream(b"large", "").normal((700, 100)).to(device)
        return {
            "gelu": functional.gelu(x),
            "layer norm": functional.layer_norm(x, (100,)),
            "product": x.t() @ x,
            "sum": x.sum(),
            "square root": x.abs().sqrt(),
            "softmax": x.flatten().softmax(0),
        }


def _records(device: torch.device) -> list[tuple[Tensor, Tensor]]:
    """Inputs and classes of the three trainings; one stream goes through all of them."""
    stream = Stream(b"digests", "data")
    shapes: list[tuple[int, ...]] = [(24, 12), (12, 1, 10, 10), (8, 24, 12)]
    drawn = [(stream.normal(shape), stream.integers(5, shape[: 2 if len(shape) == 3 else 1])) for shape in shapes]
    return [(x.to(device), y.to(device)) for x, y in drawn]


def _trained(build: Callable[[], nn.Module], name: str, which: int, device: torch.device) -> Values:
    model = _filled(build, name, device)
    with exact():
        return trained(model, *_records(device)[which])


def _trained_together(device: torch.device) -> Values:
    models = [_filled(mlp, f"mlp {i}", device) for i in range(8)]
    with exact():
        return trained_together(models, *_records(device)[2])


def _filled(build: Callable[[], nn.Module], name: str, device: torch.device) -> nn.Module:
    """Outside exact(): a module's own initialisation draws from torch's generator, whose state is put back."""
    with torch.random.fork_rng(devices=[]):
        return filled(build(), name).to(device)


def _streams() -> Iterator[Computation]:
    for kind in ("uniform", "normal", "rademacher"):
        yield Computation(f"stream {kind}", "streams", functools.partial(_drawn, kind))
    yield Computation("stream integers", "streams", lambda _device: Stream(b"seed", "integers").integers(1000, (1001,)))
    yield Computation("stream permutation", "streams", lambda _device: Stream(b"seed", "permutation").permutation(1001))


def _drawn(kind: str, _device: torch.device) -> Values:
    found: Tensor = getattr(Stream(b"seed", kind), kind)((1001,))
    return found
