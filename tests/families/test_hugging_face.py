"""Hugging Face models by configuration and safetensors: computed as the library does, refused when out of bounds."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from typing import Any

import pytest
import torch
from safetensors.torch import save

from validator.exact import exact
from validator.exact.random import Stream
from validator.families import check_tokens, open_model
from validator.families.architectures import ARCHITECTURES
from validator.families.hugging_face import Tokens, build, from_config_json
from validator.influence import InfluenceError, Problem, Records, fit
from validator.influence.models import MOST_BYTES, dump_weights
from validator.influence.records import NO_TARGET
from validator.manifest import Model, Schema

transformers = pytest.importorskip("transformers")

WORDS, LENGTH, CLASSES, PAD = 29, 6, 3, 0
SIZES = {
    "vocab_size": WORDS,
    "hidden_size": 8,
    "intermediate_size": 12,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "max_position_embeddings": 8,
}
DOCUMENTS: dict[str, dict[str, Any]] = {
    "GPT2LMHeadModel": {"vocab_size": WORDS, "n_embd": 8, "n_layer": 1, "n_head": 2, "n_positions": 8},
    "GPTNeoXForCausalLM": SIZES,
    "LlamaForCausalLM": {**SIZES, "num_key_value_heads": 1},
    "BertForSequenceClassification": {**SIZES, "num_labels": CLASSES},
}
every = pytest.mark.parametrize("name", ARCHITECTURES)


def config(name: str = "GPT2LMHeadModel", **changes: object) -> dict[str, Any]:
    """What a manifest would hold."""
    return {**from_config_json({"architectures": [name], **DOCUMENTS[name]}), **changes}


def weights(name: str) -> bytes:
    """Safetensors of a model as the library itself makes it."""
    model = build(config(name)).model
    stream = Stream(b"hugging face", name)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(stream.normal(tuple(parameter.shape)) * 0.3)
    return dump_weights(model)


def opened(name: str) -> Tokens:
    model = open_model(
        Model(family="transformers", config=config(name), weights={"digest": "0" * 64, "codec": "raw", "size": 0}),  # type: ignore[arg-type]
        weights(name),
    )
    assert isinstance(model, Tokens)
    return model


def tokens(count: int, name: str = "any") -> torch.Tensor:
    return Stream(b"tokens", name).integers(WORDS - 1, (count, LENGTH)) + 1


def records(architecture: str, count: int, name: str) -> Records:
    inputs = tokens(count, name)
    if architecture == "BertForSequenceClassification":
        return Records(inputs, inputs[:, 0] % CLASSES)
    return Records(inputs, torch.cat([inputs[:, 1:], torch.full((count, 1), NO_TARGET)], 1))


# What it computes


@every
def test_open_model__weights_of_the_library__computes_what_the_library_does(name: str) -> None:
    model, inputs = opened(name), tokens(3)
    kind = ARCHITECTURES[name]
    theirs = getattr(transformers, kind.config)(**DOCUMENTS[name])
    reference = getattr(transformers, name)(theirs).eval()
    reference.load_state_dict(model.model.state_dict())
    with exact(), torch.no_grad():
        found = model(inputs)
    with torch.no_grad():
        expected = reference(input_ids=inputs).logits
    assert torch.allclose(found, expected, rtol=1e-4, atol=1e-5)


@every
def test_fit__every_architecture__scores_alike_in_any_chunk(name: str) -> None:
    problem = Problem(opened(name), records(name, 6, "anchor"), records(name, 5, "queries"))
    fitted = fit(problem, "response", seed=3, epochs=1, replicas=1, batch=6, rows=2)
    few, groups = records(name, 4, "few"), torch.arange(4) // 2
    whole = fitted.score(few, groups)
    assert bool((whole.values != 0).all())
    assert torch.equal(whole.values, fitted.score(few, groups, chunk=1).values)


@pytest.mark.parametrize("name", ["GPTNeoXForCausalLM", "BertForSequenceClassification"])
def test_fit__probes__score_alike_in_any_chunk(name: str) -> None:
    problem = Problem(opened(name), records(name, 6, "anchor"), records(name, 5, "queries"))
    fitted = fit(problem, "classical", seed=3, iterations=1, folds=1)
    few = records(name, 4, "few")
    assert torch.equal(fitted.score(few).values, fitted.score(few, chunk=1).values)


@pytest.mark.parametrize("activation", ["gelu", "gelu_new", "gelu_pytorch_tanh", "relu", "silu"])
def test_build__each_activation__has_an_exact_rule(activation: str) -> None:
    module = build(config(activation_function=activation))
    with exact():
        module(tokens(1)).sum().backward()


@pytest.mark.parametrize("name", ["GPTNeoXForCausalLM", "LlamaForCausalLM"])
def test_build__rotary_frequencies__have_the_bits_of_exact_arithmetic(name: str) -> None:
    (found,) = (t for key, t in build(config(name)).named_buffers() if key.endswith("inv_freq") and "orig" not in key)
    width = found.numel() * 2
    with exact():
        expected = 1.0 / (10000.0 ** (torch.arange(0, width, 2, dtype=torch.float32) / width))
    assert torch.equal(found, expected)


def test_encoder__short_record_filled_up__is_judged_by_its_own_tokens() -> None:
    model = opened("BertForSequenceClassification")
    short = tokens(2)[:, :4]
    padded = torch.cat([short, torch.full((2, LENGTH - 4), PAD)], 1)
    with exact(), torch.no_grad():
        alone, filled_up = model(short), model(padded)
    assert torch.allclose(alone, filled_up, rtol=0, atol=1e-5)


# Weights


def test_open_model__half_precision__is_widened() -> None:
    model = build(config())
    state = {name: torch.ones(p.shape, dtype=torch.bfloat16) for name, p in model.model.named_parameters()}
    found = open_model(
        Model(family="transformers", config=config(), weights={"digest": "0" * 64, "codec": "raw", "size": 0}),  # type: ignore[arg-type]
        save(state),
    )
    assert {p.dtype for p in found.parameters()} == {torch.float32}


def test_weights__head_tied_to_the_embedding__is_not_in_the_file() -> None:
    model = build(config()).model
    assert model.lm_head.weight is model.transformer.wte.weight
    assert b"lm_head" not in dump_weights(model)


def test_open_model__weights_of_another_size__are_refused_by_name() -> None:
    other = build(config(n_inner=5)).model
    with pytest.raises(InfluenceError, match=r"mlp\.c_fc\.bias"):
        open_model(
            Model(family="transformers", config=config(), weights={"digest": "0" * 64, "codec": "raw", "size": 0}),  # type: ignore[arg-type]
            dump_weights(other),
        )


# Configurations


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"architectures": ["T5ForConditionalGeneration"]}, "architectures must name one of GPT2LMHeadModel"),
        ({"architectures": "GPT2LMHeadModel"}, "architectures must name one of"),
        ({"architectures": ["../evil"]}, "architectures must name one of"),
        ({"auto_map": {"AutoModel": "evil.Model"}}, "look at auto_map"),
        ({"trust_remote_code": True}, "look at trust_remote_code"),
        ({"n_layer": 257}, "n_layer must be an integer"),
        ({"n_layer": "2"}, "n_layer must be an integer"),
        ({"n_embd": True}, "n_embd must be an integer"),
        ({"n_head": 3}, "cannot be built"),
        ({"activation_function": "mish"}, "activation_function must be one of"),
        ({"layer_norm_epsilon": 1}, "layer_norm_epsilon must be a decimal string"),
        ({"layer_norm_epsilon": "nan"}, "layer_norm_epsilon must be a decimal string"),
        ({"layer_norm_epsilon": "0"}, "layer_norm_epsilon must be a decimal string"),
        ({"tie_word_embeddings": 1}, "tie_word_embeddings must be true or false"),
        ({"pad_token_id": 0}, "takes no pad_token_id"),
        ({"transformers_version": "4.0.0"}, r"of transformers 4\.0\.0, this node has"),
        ({"n_embd": 2**15, "n_layer": 256, "n_inner": 2**17}, f"at most {MOST_BYTES} are allowed"),
    ],
    ids=lambda part: str(part)[:40],
)
def test_build__configuration_out_of_bounds__is_refused_in_one_line(changes: dict[str, object], words: str) -> None:
    with pytest.raises(InfluenceError, match=words) as caught:
        build(config(**changes))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("entry", ["n_embd", "layer_norm_epsilon", "tie_word_embeddings"])
def test_build__entry_missing__is_named(entry: str) -> None:
    document = config()
    del document[entry]
    with pytest.raises(InfluenceError, match=f"look at {entry}"):
        build(document)


@pytest.mark.parametrize("kind", ["dynamic", "yarn"])
def test_build__rotary_scaling__is_refused(kind: str) -> None:
    with pytest.raises(InfluenceError, match=r"rope_parameters\.rope_type must be one of default"):
        build(config("LlamaForCausalLM", rope_parameters={"rope_type": kind, "rope_theta": "10000"}))


def test_build__padding_outside_the_vocabulary__is_refused() -> None:
    with pytest.raises(InfluenceError, match="pad_token_id must be an integer in 0"):
        build(config("BertForSequenceClassification", pad_token_id=WORDS))


@every
def test_from_config_json__what_the_library_writes__is_understood(name: str) -> None:
    theirs = getattr(transformers, ARCHITECTURES[name].config)(**DOCUMENTS[name], architectures=[name])
    assert from_config_json(json.loads(theirs.to_json_string())) == config(name)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"add_cross_attention": True}, "add_cross_attention must be False"),
        ({"layer_norm_epsilon": 1e-13}, "layer_norm_epsilon"),
        ({"activation_function": "quick_gelu"}, "activation_function must be one of"),
        ({"vocab_size": "many"}, "config.json"),
        ({"architectures": None}, "architectures must name"),
    ],
    ids=lambda part: str(part)[:40],
)
def test_from_config_json__what_this_family_cannot_be__is_refused(changes: dict[str, object], words: str) -> None:
    document = {"architectures": ["GPT2LMHeadModel"], **DOCUMENTS["GPT2LMHeadModel"], **changes}
    logging.getLogger("transformers").setLevel(logging.ERROR)
    with pytest.raises(InfluenceError, match=words):
        from_config_json(document)


def test_open_model__library_not_installed__says_what_to_install() -> None:
    program = (
        "import sys; sys.modules['transformers'] = None\n"
        "from validator.families.hugging_face import build\n"
        f"build({config()!r})"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)
    assert done.stderr.splitlines()[-1].endswith("pip install 'poc-validator[transformers]'")


# Tokens that have no embedding


def rules(**changes: object) -> Schema:
    plain = {"format": "safetensors", "dtype": "int64", "shape": [LENGTH], "minimum": "0", "maximum": str(WORDS - 1)}
    return Schema.model_validate({**plain, "classes": WORDS, **changes})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"maximum": str(WORDS)}, "payload.minimum and payload.maximum must lie in 0 .. 28"),
        ({"minimum": "-1"}, "payload.minimum and payload.maximum"),
        ({"shape": [9]}, "at most 8"),
        ({"shape": [2, 3]}, r"shape \[positions\]"),
        ({"dtype": "float32"}, "payload must be int64"),
    ],
)
def test_check_tokens__rules_let_in_what_the_model_cannot_take__are_refused(changes: dict[str, object], words: str):
    with pytest.raises(InfluenceError, match=words):
        check_tokens(build(config()), rules(**changes), {})


def test_check_tokens__anchor_outside_the_vocabulary__is_named() -> None:
    wrong = Records(torch.full((2, LENGTH), WORDS), torch.zeros(2, LENGTH, dtype=torch.int64))
    with pytest.raises(InfluenceError, match="anchor hold tokens outside"):
        check_tokens(build(config()), rules(), {"anchor": wrong})


def test_check_tokens__rules_and_data_within_the_vocabulary__pass() -> None:
    check_tokens(build(config()), rules(), {"anchor": records("GPT2LMHeadModel", 3, "anchor")})
