"""From a manifest's model to a module with its weights: the one door to every family that a DAO can bring.

- `mlp`, `convnet`, `gpt`: built in, see `validator.influence.models`.
- `transformers`: architectures of the Hugging Face library, see `hugging_face.py`.
- `torch_export`: a graph of aten operators, see `exported.py`.

A family is data: a configuration that is bounded before anything is made from it, and safetensors. What would need a
pickle, or code that comes with the model, has no family (docs/decisions/0012-model-families.md).
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from validator.families import exported, hugging_face
from validator.influence import InfluenceError, Records
from validator.influence.models import build, load_weights
from validator.manifest import Model, Schema

__all__ = ["check_apart", "check_tokens", "open_model"]


def open_model(model: Model, weights: bytes) -> nn.Module:
    """The module that a manifest describes, with its weights. Raises InfluenceError, in one line, when configuration
    and weights are not what the family takes, or the family needs a library that is not installed.
    """
    if model.family == "transformers":
        return hugging_face.open_model(model.config, weights)
    if model.family == "torch_export":
        return exported.open_model(model.config, weights)
    module = build(model.family, model.config)
    load_weights(module, weights)
    return module


def check_tokens(module: nn.Module, rules: Schema, data: Mapping[str, Records]) -> None:
    """Raises InfluenceError when a record that `rules` accept, or one of `data`, could hold a token that a language
    model has no embedding for: no contribution may ever meet one. Other models take any number.
    """
    vocabulary, context = getattr(module, "vocabulary", None), getattr(module, "context", None)
    if not isinstance(vocabulary, int) or not isinstance(context, int):
        return
    if rules.dtype != "int64" or len(rules.shape) != 1 or rules.shape[0] > context:
        raise InfluenceError(
            f"payload must be int64 of shape [positions], at most {context} of them, as the model takes tokens"
        )
    if float(rules.minimum) < 0 or float(rules.maximum) > vocabulary - 1:
        raise InfluenceError(f"payload.minimum and payload.maximum must lie in 0 .. {vocabulary - 1}, the vocabulary")
    for name, records in data.items():
        if records.inputs.is_floating_point():
            raise InfluenceError(f"{name} must hold tokens as int64, not {records.inputs.dtype}")
        if len(records) and not 0 <= int(records.inputs.min()) <= int(records.inputs.max()) < vocabulary:
            raise InfluenceError(f"{name} hold tokens outside 0 .. {vocabulary - 1}, the vocabulary of the model")


def check_apart(module: nn.Module, inputs: Tensor) -> None:
    """Raises InfluenceError when a record's logits depend on the other records of its batch. Only a program that a DAO
    brings could do that; `inputs` (n, ...) are tried on it.
    """
    if isinstance(module, exported.Program):
        exported.check_apart(module, inputs)
