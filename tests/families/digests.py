"""Prints the digest of one training step of every family that is not built in, as JSON.

    python -m tests.families.digests                   what a test compares with tests/golden/families.json
    python -m tests.families.digests --regenerate      writes that file

What a Hugging Face model consists of is the library's decision, so the file names its release: another one may change
these digests without any change of ours, and is accepted by regenerating them together with the pin. DIGEST_THREADS
sets torch's threads, DIGEST_KERNELS=off has the eager code compute everything. The built-in families are in
tests/exact/digests.py.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import nn

from tests.exact.digests import Flat, sgd, trained
from validator.exact import VERSION, kernels
from validator.exact.random import Stream
from validator.families.architectures import ARCHITECTURES
from validator.families.exported import open_model
from validator.families.hugging_face import build, from_config_json
from validator.families.program import FORMAT, PROGRAM

GOLDEN = Path(__file__).parents[1] / "golden" / "families.json"

WORDS, LENGTH, CLASSES, ROWS = 29, 7, 3, 5
SIZES: dict[str, Any] = {
    "vocab_size": WORDS,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 8,
}
DOCUMENTS: dict[str, dict[str, Any]] = {
    "GPT2LMHeadModel": {"vocab_size": WORDS, "n_embd": 16, "n_layer": 2, "n_head": 4, "n_positions": 8},
    "GPTNeoXForCausalLM": SIZES,
    "LlamaForCausalLM": {**SIZES, "num_key_value_heads": 2},
    "BertForSequenceClassification": {**SIZES, "num_labels": CLASSES, "pad_token_id": 0},
}


def hugging_face(name: str) -> str:
    """The digest of one step of a Hugging Face class on random tokens."""
    stream = Stream(b"families", name)
    model = build(from_config_json({"architectures": [name], **DOCUMENTS[name]}))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(stream.normal(tuple(parameter.shape)) * 0.3)
    tokens = stream.integers(WORDS, (ROWS, LENGTH + 1))
    if name == "BertForSequenceClassification":
        return trained(model, tokens, stream.integers(CLASSES, (ROWS,)), 1, sgd)
    return trained(Flat(model), tokens[:, :-1], tokens[:, 1:].flatten(), 1, sgd)


def program() -> nn.Module:
    """A small graph of aten operators, written out, because what torch.export writes depends on torch."""
    shapes = {"in.weight": (6, 4), "in.bias": (6,), "scale": (6,), "shift": (6,), "out.weight": (CLASSES, 6)}
    stream = Stream(b"families", "program")
    weights = {name: stream.normal(shape) * 0.5 for name, shape in shapes.items()}

    def node(name: str, op: str, *args: object) -> dict[str, Any]:
        return {"name": name, "op": op, "args": list(args), "kwargs": {}}

    def of(name: str) -> dict[str, str]:
        return {"weight": name} if name in shapes else {"node": name}

    document = {
        "format": FORMAT,
        "input": "x",
        "shape": [4],
        "dtype": "float32",
        "parameters": list(shapes),
        "buffers": [],
        "nodes": [
            node("wide", "aten.linear.default", of("x"), of("in.weight"), of("in.bias")),
            node("bent", "aten.gelu.default", of("wide")),
            node("even", "aten.layer_norm.default", of("bent"), [6], of("scale"), of("shift")),
            node("logits", "aten.linear.default", of("even"), of("out.weight")),
        ],
        "output": "logits",
    }
    return open_model({}, bytes(save(weights, metadata={PROGRAM: json.dumps(document)})))


def digests() -> dict[str, str]:
    """By family."""
    found = {f"step of {name}": hugging_face(name) for name in ARCHITECTURES}
    stream = Stream(b"families", "program's data")
    x, y = stream.normal((ROWS, 4)), stream.integers(CLASSES, (ROWS,))
    return found | {"step of torch_export": trained(program(), x, y, 1, sgd)}


def document() -> dict[str, Any]:
    """What the golden file holds."""
    import transformers

    return {"version": VERSION, "transformers": transformers.__version__, "digests": digests()}


def main() -> None:
    torch.set_num_threads(int(os.environ.get("DIGEST_THREADS", "1")))
    with kernels.reference() if os.environ.get("DIGEST_KERNELS") == "off" else contextlib.nullcontext():
        text = json.dumps(document(), indent=1, sort_keys=True) + "\n"
    if sys.argv[1:] == ["--regenerate"]:
        GOLDEN.write_text(text)
    else:
        sys.stdout.write(text)


if __name__ == "__main__":
    main()
