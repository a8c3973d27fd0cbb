"""`transformers`: language models of the Hugging Face library, by their configuration and safetensors.

The library's own classes from a short list, never code that comes with a model, never a pickle, nothing from the hub;
attention in its plain form (`eager`), no dropout, no cache. Exact arithmetic gives one sequence of operations the same
bits everywhere, but which operations a model consists of is the library's decision: so the manifest names the release,
and a node with another one refuses.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from validator.exact import exact
from validator.families.architectures import ARCHITECTURES, Architecture
from validator.families.entries import Whole
from validator.influence import InfluenceError
from validator.influence.models import check_size, put_weights, read_tensors

Document = Mapping[str, object]

_NAMES, _VERSION, _PAD = "architectures", "transformers_version", "pad_token_id"
_SPECIAL = ("bos_token_id", "eos_token_id", _PAD)
_HALVES = (torch.float16, torch.bfloat16)


class Tokens(nn.Module):
    """Token ids (n, positions) int64 in [0, vocabulary), at most `context` of them, to logits: (n, positions,
    vocabulary) of a language model, (n, classes) of a classifier.

    `pad`: the token that fills up short records of an encoder, to which no position attends. A causal model needs none:
    no position sees what follows it.
    """

    def __init__(self, model: nn.Module, vocabulary: int, context: int, pad: int | None) -> None:
        super().__init__()
        self.model, self.vocabulary, self.context, self._pad = model, vocabulary, context, pad

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits, and nothing else that the model has to say."""
        if tokens.dim() != 2 or not 1 <= tokens.shape[1] <= self.context:
            raise ValueError(f"tokens must be (n, 1 to {self.context} positions), not {tuple(tokens.shape)}")
        hidden = {} if self._pad is None else {"attention_mask": _bias(tokens == self._pad)}
        logits: Tensor = self.model(input_ids=tokens, **hidden).logits
        return logits


def _bias(hidden: Tensor) -> Tensor:
    """What is added to attention scores, (n, 1, positions, positions): ready-made, because the library's own way looks
    at values, which vmap does not allow.
    """
    n, positions = hidden.shape
    lowest = torch.where(hidden, torch.finfo(torch.float32).min, 0.0)
    return lowest[:, None, None, :].expand(n, 1, positions, positions)


def open_model(config: Document, weights: bytes) -> Tokens:
    """The model of a manifest's configuration with its weights, half precision widened to float32. Raises
    InfluenceError.
    """
    module = build(config)
    found = read_tensors(weights)
    put_weights(module.model, {name: t.to(torch.float32) if t.dtype in _HALVES else t for name, t in found.items()})
    return module


def build(config: Document) -> Tokens:
    """The module of a manifest's configuration, its weights not yet filled in. Raises InfluenceError that names the
    entry, before anything is allocated.
    """
    name, kind = _architecture(config)
    given = {key: value for key, value in config.items() if key not in (_NAMES, _VERSION, _PAD)}
    if set(given) != set(kind.entries):
        wrong = ", ".join(sorted(set(given) ^ set(kind.entries)))
        raise InfluenceError(f"the configuration of {name} must have exactly its entries: look at {wrong[:200]}")
    read = {key: entry.read(key, given[key]) for key, entry in kind.entries.items()}
    words, context, pad = read["vocab_size"], read[kind.context], config.get(_PAD)
    assert isinstance(words, int)
    assert isinstance(context, int)
    if pad is not None and (not kind.pads or Whole(0, words - 1).read(_PAD, pad) != pad):
        raise InfluenceError(f"{name} takes no {_PAD}: no position of a causal model sees what follows it")
    library = _library(config)

    def make() -> nn.Module:
        return _make(library, name, kind, read)

    try:
        check_size(make)
        # Tables of rotary frequencies are computed while the model is built: exactly, like all the rest.
        with exact():
            model = make()
    except InfluenceError:
        raise
    except Exception as error:
        raise InfluenceError(f"{name} cannot be built with this configuration: {_line(error)}") from error
    return Tokens(model, words, context, pad if isinstance(pad, int) else None)


def from_config_json(document: Document) -> dict[str, object]:
    """A manifest's configuration from a `config.json` of the library, whatever release wrote it: entries that matter,
    defaults written out, real numbers as decimal strings. Raises InfluenceError on what this family cannot be.
    """
    name, kind = _architecture(document)
    library = _library({})
    aside = ("bos_token_id", "eos_token_id", "torch_dtype", "dtype", _VERSION)
    known = {key: value for key, value in document.items() if key not in aside}
    try:
        config = getattr(library, kind.config)(**known, bos_token_id=None, eos_token_id=None)
    except Exception as error:
        raise InfluenceError(f"config.json is not one of {name}: {_line(error)}") from error
    for key, value in kind.same.items():
        if getattr(config, key, value) != value:
            raise InfluenceError(f"config.json: {key} must be {value} for this family")
    made = {key: entry.write(key, _value(config, key)) for key, entry in kind.entries.items()}
    pad = getattr(config, _PAD, None) if kind.pads else None
    return {_NAMES: [name], _VERSION: library.__version__, **made, **({} if pad is None else {_PAD: pad})}


def _value(config: Any, key: str) -> object:  # noqa: ANN401 - a config of the library
    value = getattr(config, key)
    return 4 * config.n_embd if key == "n_inner" and value is None else value


def _architecture(config: Document) -> tuple[str, Architecture]:
    names = config.get(_NAMES)
    name = names[0] if isinstance(names, list) and len(names) == 1 else None
    if not isinstance(name, str) or name not in ARCHITECTURES:
        raise InfluenceError(f"{_NAMES} must name one of {', '.join(ARCHITECTURES)}, not {str(names)[:80]}")
    return name, ARCHITECTURES[name]


def _library(config: Document) -> ModuleType:
    try:
        library = importlib.import_module("transformers")
    except ImportError as error:
        raise InfluenceError(
            "this model needs the library transformers: pip install 'poc-validator[transformers]'"
        ) from error
    wanted = config.get(_VERSION, library.__version__)
    if wanted != library.__version__:
        raise InfluenceError(
            f"the manifest's model is of transformers {str(wanted)[:20]}, this node has {library.__version__}: "
            "install the former"
        )
    return library


def _make(library: ModuleType, name: str, kind: Architecture, entries: Mapping[str, object]) -> nn.Module:
    """No weights are drawn. No row of the embedding is special either: padding_idx would keep it from being trained."""
    quiet: Callable[[], Any] = importlib.import_module("transformers.initialization").no_init_weights
    plain = {"use_cache": False, **dict.fromkeys(_SPECIAL)}
    config = getattr(library, kind.config)(**entries, **kind.fixed, **kind.same, **plain)
    with quiet():
        model = getattr(library, name)._from_config(config, attn_implementation="eager", dtype=torch.float32)
    model.tie_weights()  # which the library does along with drawing them
    made: nn.Module = model.eval()
    return made


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
