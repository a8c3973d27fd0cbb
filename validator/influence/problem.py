"""What is asked: a model at its weights, the data it was trained on, and the queries it is judged on."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from validator.exact.digest import digest
from validator.influence.errors import InfluenceError
from validator.influence.records import Records

Weights = dict[str, Tensor]
"""Trainable parameters by name; a batch of networks has one more leading dimension in every tensor."""


@dataclass(frozen=True, slots=True)
class Objective:
    """What a score is a drop of.

    `value(logits, targets)` is one number a record, shape (..., n); `slope(logits, targets)` its gradient in the logits
    (..., n, classes). `worst` is what a query counts for when a model has left the finite range.
    """

    value: Callable[[Tensor, Tensor], Tensor]
    slope: Callable[[Tensor, Tensor], Tensor]
    worst: float


def one_hot(targets: Tensor, like: Tensor) -> Tensor:
    """Indicator of the target class in the shape and dtype of `like` (..., n, classes)."""
    classes = torch.arange(like.shape[-1], device=like.device)
    return (targets.unsqueeze(-1) == classes).to(like.dtype).expand(like.shape)


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Negative log-likelihood of the target class in nats, per record: the loss that models train on."""
    return -torch.log_softmax(logits, -1).gather(-1, targets.unsqueeze(-1)).squeeze(-1)


def cross_entropy_slope(logits: Tensor, targets: Tensor) -> Tensor:
    """Gradient of `cross_entropy` in the logits: probabilities less the indicator of the target."""
    return torch.softmax(logits, -1) - one_hot(targets, logits)


def expected_error(logits: Tensor, targets: Tensor) -> Tensor:
    """`1 - p(target)`: bounded, so that a pull away from over-confidence is worth nothing (SCORING, lesson 1)."""
    return 1 - torch.softmax(logits, -1).gather(-1, targets.unsqueeze(-1)).squeeze(-1)


def expected_error_slope(logits: Tensor, targets: Tensor) -> Tensor:
    """Gradient of `expected_error` in the logits: `p(target) (p - indicator)`."""
    probabilities = torch.softmax(logits, -1)
    correct = probabilities.gather(-1, targets.unsqueeze(-1))
    return correct * (probabilities - one_hot(targets, logits))


OBJECTIVES: Mapping[str, Objective] = {
    "expected_error": Objective(expected_error, expected_error_slope, worst=1.0),
    "cross_entropy": Objective(cross_entropy, cross_entropy_slope, worst=100.0),
}


class Network:
    """A module as a pure function of its trainable parameters; buffers, frozen parameters and evaluation mode are
    fixed.
    """

    def __init__(self, module: nn.Module) -> None:
        self._module = copy.deepcopy(module).eval()

    def weights(self) -> Weights:
        """The module's own trainable parameters."""
        return {name: p.detach() for name, p in self._module.named_parameters() if p.requires_grad}

    def state(self) -> dict[str, Tensor]:
        """All parameters and buffers."""
        return dict(self._module.state_dict())

    def logits(self, weights: Weights, inputs: Tensor) -> Tensor:
        """`inputs` (n, ...) to logits (n, classes)."""
        output: Tensor = functional_call(self._module, weights, (inputs,))
        return output

    def batched_logits(self, weights: Weights, inputs: Tensor) -> Tensor:
        """A batch of networks, each on its own inputs (batch, n, ...) or all on the same (1, n, ...), to logits
        (batch, n, classes).
        """
        shared = inputs.shape[0] != next(iter(weights.values())).shape[0]
        output: Tensor = vmap(self.logits, in_dims=(0, None if shared else 0))(weights, inputs[0] if shared else inputs)
        return output

    def gradient(self, weights: Weights, inputs: Tensor, slope: Callable[[Tensor], Tensor]) -> Weights:
        """Gradient of each network's own loss, given how the loss slopes in the logits: `slope` maps (batch, n,
        classes) to the same shape.
        """
        leaves = {name: tensor.detach().requires_grad_() for name, tensor in weights.items()}
        with torch.enable_grad():
            logits = self.batched_logits(leaves, inputs)
        found = torch.autograd.grad(logits, list(leaves.values()), slope(logits.detach()))
        return dict(zip(leaves, found, strict=True))


@dataclass(frozen=True, slots=True, eq=False)
class Problem:
    """Score records for `model` (a module from inputs to logits), at its present weights.

    The model is copied: later changes to it change nothing here. `anchor` is a sample of the records that it was
    trained on, `queries` those it is judged on, `objective` a name in OBJECTIVES. Raises InfluenceError when a part
    is empty, when the model does not map inputs to (n, classes), or when a target exceeds the classes.
    """

    model: nn.Module = field(repr=False)
    anchor: Records
    queries: Records
    objective: str = "expected_error"
    network: Network = field(init=False, repr=False)
    classes: int = field(init=False)

    def __post_init__(self) -> None:
        if self.objective not in OBJECTIVES:
            raise InfluenceError(f"no objective is called {self.objective!r}; there are {', '.join(OBJECTIVES)}")
        if not len(self.anchor) or not len(self.queries):
            raise InfluenceError("anchor and queries must not be empty")
        object.__setattr__(self, "network", Network(self.model))
        if not self.network.weights():
            raise InfluenceError("the model has no trainable parameter")
        object.__setattr__(self, "classes", _classes(self.network, self.anchor))
        self.check(self.anchor, "anchor")
        self.check(self.queries, "queries")

    def check(self, records: Records, name: str = "records") -> None:
        """Raises InfluenceError, with the `name`, unless the records have the anchor's dtype, shape and classes."""
        like = self.anchor.inputs
        if records.inputs.dtype != like.dtype or records.inputs.shape[1:] != like.shape[1:]:
            found = f"{records.inputs.dtype} {tuple(records.inputs.shape[1:])}"
            raise InfluenceError(f"{name} have inputs of {found}, the anchor of {like.dtype} {tuple(like.shape[1:])}")
        if len(records) and int(records.targets.max()) >= self.classes:
            raise InfluenceError(
                f"{name} hold class {int(records.targets.max())}, the model has {self.classes} classes"
            )

    def measure(self) -> Objective:
        """The objective by its name."""
        return OBJECTIVES[self.objective]

    def digest(self) -> bytes:
        """32 bytes that name the weights, the anchor, the queries and the objective (not the code of the model)."""
        parts = {f"model/{name}": tensor for name, tensor in self.network.state().items()}
        for name, records in (("anchor", self.anchor), ("queries", self.queries)):
            parts |= {f"{name}/inputs": records.inputs, f"{name}/targets": records.targets}
        return digest(parts | {"objective": torch.tensor(list(self.objective.encode()), dtype=torch.uint8)})


def _classes(network: Network, records: Records) -> int:
    """Number of classes, by one plain forward pass of which only the shape is used."""
    try:
        with torch.no_grad():
            logits = network.logits(network.weights(), records.inputs[:1])
    except (RuntimeError, TypeError, ValueError, IndexError) as error:
        raise InfluenceError(f"the model does not accept the anchor's inputs: {str(error).splitlines()[0]}") from error
    if logits.dim() != 2 or logits.shape[0] != 1 or not logits.is_floating_point():
        raise InfluenceError(f"the model must map (n, ...) to logits (n, classes), not to {tuple(logits.shape)}")
    return int(logits.shape[1])
