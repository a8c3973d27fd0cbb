"""The steward's side of `torch_export`: an exported program and its weights as one safetensors file.

program = torch.export.export(model.eval(), (example,), dynamic_shapes=({0: torch.export.Dim("n")},))
Path("weights.safetensors").write_bytes(save_program(program))
"""

from __future__ import annotations

import json
import operator as python
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind

from validator.families.operators import NUMBERS, operator
from validator.families.program import DTYPES, FORMAT, PLACES, PROGRAM
from validator.influence import InfluenceError

_NAMES = {dtype: name for name, dtype in DTYPES.items()}
_OURS = {getattr(python, name): name for name in NUMBERS}
_CHECKS = ("_assert_scalar", "sym_constrain_range", "_assert_tensor_metadata")
"""Operators of the exporter that compute nothing."""


def save_program(program: ExportedProgram) -> bytes:
    """What `publish` takes as weights.safetensors. Raises InfluenceError when an operator or an argument cannot be
    written down, or the program has not one input and one output.
    """
    weights, tensors, inputs = _inputs(program)
    outputs = [spec.arg.name for spec in program.graph_signature.output_specs]
    if len(inputs) != 1 or len(outputs) != 1:
        raise InfluenceError(f"a program takes one tensor and gives one, not {len(inputs)} and {len(outputs)}")
    example = next(node.meta["val"] for node in program.graph.nodes if node.name == inputs[0])
    names = dict.fromkeys(weights.values())
    trained = [name for name in names if isinstance(tensors[name], torch.nn.Parameter)]
    document = {
        "format": FORMAT,
        "input": inputs[0],
        "shape": [int(size) for size in example.shape[1:]],
        "dtype": _NAMES.get(example.dtype, str(example.dtype)),
        "parameters": trained,
        "buffers": [name for name in names if name not in trained],
        "nodes": [_step(node, weights) for node in program.graph.nodes if _computes(node)],
        "output": outputs[0],
    }
    kept = {name: tensors[name].detach().clone().contiguous() for name in names}
    return bytes(save(kept, metadata={PROGRAM: json.dumps(document, sort_keys=True, separators=(",", ":"))}))


def _inputs(program: ExportedProgram) -> tuple[dict[str, str], dict[str, Tensor], list[str]]:
    """Placeholders that are tensors of the file, by their names in it; the tensors; and the other placeholders. Those
    that nothing uses are left out, and one tensor has one name.
    """
    used = {node.name for node in program.graph.nodes if node.op == "placeholder" and node.users}
    tensors: dict[str, Tensor] = {**program.state_dict, **program.constants}
    firsts: dict[int, str] = {}
    weights, inputs = {}, []
    for spec in program.graph_signature.input_specs:
        if spec.kind is InputKind.USER_INPUT:
            inputs.append(spec.arg.name)
        elif spec.arg.name in used and spec.target is not None:
            weights[spec.arg.name] = firsts.setdefault(id(tensors[spec.target]), spec.target)
    return weights, tensors, inputs


def _computes(node: torch.fx.Node) -> bool:
    return node.op == "call_function" and not any(check in str(node.target) for check in _CHECKS)


def _step(node: torch.fx.Node, weights: dict[str, str]) -> dict[str, Any]:
    op = _OURS.get(node.target, str(node.target))
    operator(op)
    kwargs = {key: part for key, part in node.kwargs.items() if key not in PLACES}
    return {
        "name": node.name,
        "op": op,
        "args": [_argument(part, weights) for part in node.args],
        "kwargs": {key: _argument(part, weights) for key, part in kwargs.items()},
    }


def _argument(value: object, weights: dict[str, str]) -> object:
    if isinstance(value, torch.fx.Node):
        return {"weight": weights[value.name]} if value.name in weights else {"node": value.name}
    if isinstance(value, list | tuple):
        return [_argument(part, weights) for part in value]
    if value is None or type(value) in (bool, int):
        return value
    if isinstance(value, float):
        return {"real": value.hex()}
    if isinstance(value, str):
        return {"text": value}
    if isinstance(value, torch.dtype) and value in _NAMES:
        return {"dtype": _NAMES[value]}
    raise InfluenceError(f"a program cannot hold the argument {str(value)[:60]!r}")
