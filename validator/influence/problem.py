"""What is asked: a model at its weights, the data it was trained on, and the queries it is judged on."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from validator.exact.digest import digest
from validator.influence.errors import InfluenceError
from validator.influence.records import NO_TARGET, Records

Weights = dict[str, Tensor]
"""Trainable parameters by name; a batch of networks has one more leading dimension in every tensor."""


@dataclass(frozen=True, slots=True)
class Objective:
    """What a score is a drop of, or what a model trains on: a number for each target, averaged over a record's targets.

    Logits are (..., n, classes) for records of one target, and (..., n, positions, classes) where `sequence` says that
    records are sequences; targets have the shape of the logits without the classes, and a target of NO_TARGET does not
    count. `worst` is what a record counts for when a model has left the finite range.
    """

    at_target: Callable[[Tensor, Tensor], Tensor]
    slope_at_target: Callable[[Tensor, Tensor], Tensor]
    worst: float
    sequence: bool = False

    def value(self, logits: Tensor, targets: Tensor) -> Tensor:
        """One number a record, shape (..., n)."""
        found = self.at_target(logits, targets)
        return (found * self.share(targets)).sum(-1) if self.sequence else found

    def slope(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Gradient of `value` in the logits, in their shape."""
        found = self.slope_at_target(logits, targets)
        return found * self.share(targets).unsqueeze(-1) if self.sequence else found

    def share(self, targets: Tensor) -> Tensor:
        """What each target counts for in its record, float32 in the shape of `targets`: they sum to 1 in a record."""
        counts = (targets != NO_TARGET).to(torch.float32)
        return counts / counts.sum(-1, keepdim=True) if self.sequence else counts


def spread(scale: Tensor, logits: Tensor) -> Tensor:
    """`scale` (..., n), a number for each record, shaped so that it multiplies `logits`."""
    return scale.reshape(*scale.shape, *(1,) * (logits.dim() - scale.dim()))


def one_hot(targets: Tensor, like: Tensor) -> Tensor:
    """Indicator of the target class in the shape and dtype of `like` (..., classes); zero at NO_TARGET."""
    classes = torch.arange(like.shape[-1], device=like.device)
    return (targets.unsqueeze(-1) == classes).to(like.dtype).expand(like.shape)


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Negative log-likelihood of each target class in nats: the loss that models train on."""
    return -_at(torch.log_softmax(logits, -1), targets)


def cross_entropy_slope(logits: Tensor, targets: Tensor) -> Tensor:
    """Gradient of `cross_entropy` in the logits: probabilities less the indicator of the target."""
    return torch.softmax(logits, -1) - one_hot(targets, logits)


def expected_error(logits: Tensor, targets: Tensor) -> Tensor:
    """`1 - p(target)`: bounded, so that a pull away from over-confidence is worth nothing (ADR 2)."""
    return 1 - _at(torch.softmax(logits, -1), targets)


def expected_error_slope(logits: Tensor, targets: Tensor) -> Tensor:
    """Gradient of `expected_error` in the logits: `p(target) (p - indicator)`."""
    probabilities = torch.softmax(logits, -1)
    return _at(probabilities, targets).unsqueeze(-1) * (probabilities - one_hot(targets, logits))


def _at(found: Tensor, targets: Tensor) -> Tensor:
    """Entries of `found` (..., classes) at the targets; at class 0 where there is none."""
    return found.gather(-1, targets.clamp(min=0).unsqueeze(-1)).squeeze(-1)


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

    def module(self) -> nn.Module:
        """The module itself, to look into and not to change."""
        return self._module

    def state(self) -> dict[str, Tensor]:
        """All parameters and buffers."""
        return dict(self._module.state_dict())

    def logits(self, weights: Weights, inputs: Tensor) -> Tensor:
        """`inputs` (n, ...) to logits (n, classes), or (n, positions, classes)."""
        output: Tensor = functional_call(self._module, weights, (inputs,))
        return output

    def batched_logits(self, weights: Weights, inputs: Tensor) -> Tensor:
        """A batch of networks, each on its own inputs (batch, n, ...) or all on the same (1, n, ...), to logits
        (batch, n, ..., classes).
        """
        shared = inputs.shape[0] != next(iter(weights.values())).shape[0]
        output: Tensor = vmap(self.logits, in_dims=(0, None if shared else 0))(weights, inputs[0] if shared else inputs)
        return output

    def gradient(self, weights: Weights, inputs: Tensor, slope: Callable[[Tensor], Tensor]) -> Weights:
        """Gradient of each network's own loss, given how the loss slopes in the logits: `slope` maps (batch, n, ...,
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
    is empty, when the model does not map inputs to logits for each target, or when a target exceeds the classes.
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
        """Raises InfluenceError, with the `name`, unless the records have the anchor's dtype, shapes and classes."""
        like = self.anchor.inputs
        if records.inputs.dtype != like.dtype or records.inputs.shape[1:] != like.shape[1:]:
            found = f"{records.inputs.dtype} {tuple(records.inputs.shape[1:])}"
            raise InfluenceError(f"{name} have inputs of {found}, the anchor of {like.dtype} {tuple(like.shape[1:])}")
        if records.targets.shape[1:] != self.anchor.targets.shape[1:]:
            mine, wanted = tuple(records.targets.shape[1:]), tuple(self.anchor.targets.shape[1:])
            raise InfluenceError(f"{name} have targets of shape {mine} a record, the anchor of {wanted}")
        if len(records) and int(records.targets.max()) >= self.classes:
            raise InfluenceError(
                f"{name} hold class {int(records.targets.max())}, the model has {self.classes} classes"
            )

    def measure(self) -> Objective:
        """The objective by its name, for records of the anchor's kind."""
        return replace(OBJECTIVES[self.objective], sequence=self.anchor.targets.dim() > 1)

    def training(self) -> Objective:
        """The loss that models train on: cross-entropy."""
        return replace(OBJECTIVES["cross_entropy"], sequence=self.anchor.targets.dim() > 1)

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
    wanted = tuple(records.targets[:1].shape)
    if tuple(logits.shape[:-1]) != wanted or not logits.is_floating_point():
        words = ", ".join(map(str, ("n", *wanted[1:], "classes")))
        raise InfluenceError(f"the model must map (n, ...) to logits ({words}), not to {tuple(logits.shape)}")
    return int(logits.shape[-1])
