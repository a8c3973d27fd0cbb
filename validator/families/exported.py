"""`torch_export`: a program of aten operators as data, for models that no other family has.

`torch.export.load` unpickles what is in a .pt2 file, so such a file is never opened. Instead the steward writes the
graph of an exported program down as JSON (`exported_write.py`), in the metadata of the very safetensors that hold the
weights. A validator reads names, numbers and lists; each operator must be in a short list; the graph runs once without
storage, to bound what it takes, before it ever runs on data.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from validator.exact import exact
from validator.families.operators import MOST_PARTS, makes, parts_of
from validator.families.program import DTYPES, Node, Ref, read_node, read_program, read_text, references
from validator.influence import InfluenceError
from validator.influence.models import read_tensors

MOST_VALUES = 2**26
"""Values in one result of one record."""

_TOKENS = {"vocabulary", "context"}


class Program(nn.Module):
    """A graph and its weights: inputs (n, *shape) to logits. `vocabulary` and `context` are those of a model that takes
    tokens, else None.
    """

    def __init__(self, document: Mapping[str, Any], tensors: Mapping[str, Tensor], config: Mapping[str, Any]) -> None:
        super().__init__()
        self.vocabulary, self.context = config.get("vocabulary"), config.get("context")
        self._input, self._output = read_text(document["input"]), read_text(document["output"])
        self._nodes = [read_node(entry) for entry in document["nodes"]]
        self._places: dict[str, str] = {}
        for name in document["parameters"]:
            self.register_parameter(self._place(name), nn.Parameter(tensors[name]))
        for name in document["buffers"]:
            self.register_buffer(self._place(name), tensors[name])
        self._check_references()
        self._check_lookups()
        self._last = {ref.name: at for at, node in enumerate(self._nodes) for ref in references(node)}

    def forward(self, inputs: Tensor) -> Tensor:
        """What the graph computes."""
        return self._run(inputs, lambda node, operand: None)

    def check_sizes(self, shape: list[int], dtype: torch.dtype) -> None:
        """Raises InfluenceError when a result would hold more than MOST_VALUES a record, or the steps do not fit. Runs
        on tensors without storage, and leaves the module without any.
        """
        parts = [0]

        def watch(node: Node, operand: object) -> None:
            parts[0] += parts_of(node.op, operand)
            if parts[0] > MOST_PARTS:
                raise InfluenceError(f"step {node.name!r} takes tensors apart into too many, at most {MOST_PARTS}")
            size = operand.numel() if isinstance(operand, Tensor) else 0
            if size > MOST_VALUES * batch:
                raise InfluenceError(f"step {node.name!r} has {size // batch} values a record, at most {MOST_VALUES}")

        meta, logits = self.to("meta"), torch.Size()
        for batch in (1, 64):
            parts[0] = 0
            try:
                with torch.no_grad():
                    found = meta._run(torch.empty((batch, *shape), dtype=dtype, device="meta"), watch)
            except InfluenceError:
                raise
            except Exception as error:
                raise InfluenceError(f"the program does not run: {' '.join(str(error).split())[:200]}") from error
            logits = logits or found.shape[1:]
            if found.dim() < 2 or found.shape != (batch, *logits):
                raise InfluenceError("the program must give logits of each record")

    def _run(self, inputs: Tensor, watch: Callable[[Node, object], None]) -> Tensor:
        values: dict[str, Any] = {self._input: inputs}

        def look(argument: object) -> Any:  # noqa: ANN401 - whatever an operator takes
            if isinstance(argument, Ref):
                return getattr(self, self._places[argument.name]) if argument.weight else values[argument.name]
            return [look(part) for part in argument] if isinstance(argument, list) else argument

        for at, node in enumerate(self._nodes):
            place = {"device": inputs.device} if makes(node.op) else {}
            args = [look(part) for part in node.args]
            watch(node, args[0] if args else None)
            values[node.name] = node.call(*args, **{key: look(part) for key, part in node.kwargs.items()}, **place)
            watch(node, values[node.name])
            for ref in references(node):
                if not ref.weight and self._last[ref.name] == at and ref.name != self._output:
                    values.pop(ref.name, None)
        logits = values[self._output]
        if not isinstance(logits, Tensor):
            raise TypeError("the output of the program is no tensor")
        return logits

    def _place(self, name: object) -> str:
        """An attribute of our own making: what the file calls a tensor names nothing in Python."""
        place = f"w{len(self._places)}"
        if self._places.setdefault(read_text(name), place) != place:
            raise InfluenceError(f"the program names {name!r} twice")
        return place

    def _check_references(self) -> None:
        known = {self._input}
        for node in self._nodes:
            for ref in references(node):
                if ref.name not in (self._places if ref.weight else known):
                    raise InfluenceError(f"step {node.name!r} refers to {ref.name!r}, which is not there")
            if node.name in known:
                raise InfluenceError(f"the program has two steps called {node.name!r}")
            known.add(node.name)
        if self._output not in known:
            raise InfluenceError(f"the program's output {self._output!r} is not there")

    def _check_lookups(self) -> None:
        """An embedding is looked up by the tokens themselves, or by nothing that depends on them: no record can reach
        beyond its rows.
        """
        tainted = {self._input}
        for node in self._nodes:
            touched = [ref for ref in references(node) if not ref.weight and ref.name in tainted]
            if touched:
                tainted.add(node.name)
            if node.op.startswith("aten.batch_norm.") and (len(node.args) < 6 or node.args[5] is not False):
                raise InfluenceError(f"step {node.name!r}: batch_norm must not be that of training")
            if not node.op.startswith("aten.embedding.") or not touched:
                continue
            table, index = (*node.args, None, None)[:2]
            rows = getattr(self, self._places[table.name]).shape[0] if isinstance(table, Ref) and table.weight else 0
            if index != Ref(self._input, weight=False) or self.vocabulary is None or rows < self.vocabulary:
                raise InfluenceError(
                    f"step {node.name!r}: an embedding must be looked up by the tokens themselves and have a row for "
                    "each of the vocabulary that config states"
                )


def open_model(config: Mapping[str, Any], weights: bytes) -> Program:
    """The program in the metadata of `weights`, with its tensors. `config` is empty, or states `vocabulary` and
    `context` of a model that takes tokens. Raises InfluenceError.
    """
    if config and (set(config) != _TOKENS or not all(type(n) is int and 1 <= n <= 2**20 for n in config.values())):
        raise InfluenceError("the configuration of torch_export is empty, or vocabulary and context of a token model")
    tensors, document = read_tensors(weights), read_program(weights)
    names = [*document["parameters"], *document["buffers"]]
    if sorted(map(str, names)) != sorted(tensors):
        raise InfluenceError("the program's parameters and buffers are not the tensors of the file")
    for name, tensor in tensors.items():
        if tensor.dtype not in DTYPES.values() or not bool(torch.isfinite(tensor).all()):
            raise InfluenceError(f"tensor {name!r} must be finite float32, int64 or bool")
    shape, dtype = document["shape"], DTYPES.get(str(document["dtype"]))
    sizes = isinstance(shape, list) and len(shape) <= 4 and all(type(n) is int and 1 <= n <= 2**20 for n in shape)
    if not sizes or math.prod(shape) > MOST_VALUES or dtype is None:
        raise InfluenceError("the program's input must have a dtype, and at most 4 positive sizes")
    if (dtype is torch.int64) != bool(config):
        raise InfluenceError("a program that takes int64 tokens states vocabulary and context, and no other does")
    if config and (len(shape) != 1 or shape[0] > config["context"]):
        raise InfluenceError("a program that takes tokens has inputs of shape [positions], at most context of them")
    Program(document, tensors, config).check_sizes(shape, dtype)
    return Program(document, tensors, config).eval()


def check_apart(program: Program, inputs: Tensor) -> None:
    """Raises InfluenceError unless each record's logits have the same bits alone as among others: scores must not
    depend on who else is scored. `inputs` (n, ...), of which the first few are tried.
    """
    few = inputs[:3]
    with exact(), torch.no_grad():
        together = program(few)
        alone = [program(few[at : at + 1]) for at in range(len(few))]
    if not torch.equal(together, torch.cat(alone)):
        raise InfluenceError("the program mixes the records of a batch: each record's logits must be its own")
