"""The architectures of the `transformers` family: which entries of a Hugging Face config decide what they compute.

All of these entries must stand in the manifest, by the library's own names: its defaults change from one release to the
next. Entries that only matter while training or generating (dropout, initialisation, caches, special tokens) are none
of the manifest's business and are fixed here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from validator.families.entries import Choice, Entry, Flag, Group, Real, Whole

_WORDS, _CONTEXT = Whole(2, 2**20), Whole(1, 2**17)
_WIDTH, _HEADS, _LAYERS = Whole(1, 2**15), Whole(1, 512), Whole(1, 256)
_ACTIVATION = Choice(("gelu", "gelu_new", "gelu_pytorch_tanh", "relu", "silu"))
_EPSILON = Real(1e-12, 0.1)
_THETA = Real(1.0, 1e9)
_PLAIN_ROPE = Choice(("default",))


@dataclass(frozen=True, slots=True)
class Architecture:
    """`entries` of the manifest, all required but `pad_token_id`; `fixed` ones that it cannot set; `same`, values that
    a config.json must have because others would compute something else.
    """

    config: str
    entries: Mapping[str, Entry]
    context: str = "max_position_embeddings"
    fixed: Mapping[str, object] = field(default_factory=dict)
    same: Mapping[str, object] = field(default_factory=dict)
    pads: bool = False


_SIZES: Mapping[str, Entry] = {
    "vocab_size": _WORDS,
    "max_position_embeddings": _CONTEXT,
    "hidden_size": _WIDTH,
    "intermediate_size": Whole(1, 2**17),
    "num_hidden_layers": _LAYERS,
    "num_attention_heads": _HEADS,
    "hidden_act": _ACTIVATION,
}

ARCHITECTURES: Mapping[str, Architecture] = {
    "GPT2LMHeadModel": Architecture(
        "GPT2Config",
        {
            "vocab_size": _WORDS,
            "n_positions": _CONTEXT,
            "n_embd": _WIDTH,
            "n_inner": Whole(1, 2**17),
            "n_layer": _LAYERS,
            "n_head": _HEADS,
            "activation_function": _ACTIVATION,
            "layer_norm_epsilon": _EPSILON,
            "scale_attn_weights": Flag(),
            "scale_attn_by_inverse_layer_idx": Flag(),
            "tie_word_embeddings": Flag(),
        },
        context="n_positions",
        fixed={"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0},
        same={"reorder_and_upcast_attn": False, "add_cross_attention": False},
    ),
    "GPTNeoXForCausalLM": Architecture(
        "GPTNeoXConfig",
        {
            **_SIZES,
            "layer_norm_eps": _EPSILON,
            "use_parallel_residual": Flag(),
            "attention_bias": Flag(),
            "tie_word_embeddings": Flag(),
            "rope_parameters": Group(
                {"rope_type": _PLAIN_ROPE, "rope_theta": _THETA, "partial_rotary_factor": Real(0.01, 1.0)}
            ),
        },
        fixed={"attention_dropout": 0.0, "hidden_dropout": 0.0},
        same={"is_decoder": False},
    ),
    "LlamaForCausalLM": Architecture(
        "LlamaConfig",
        {
            **_SIZES,
            "num_key_value_heads": _HEADS,
            "head_dim": Whole(2, 2**12),
            "rms_norm_eps": _EPSILON,
            "attention_bias": Flag(),
            "mlp_bias": Flag(),
            "tie_word_embeddings": Flag(),
            "rope_parameters": Group({"rope_type": _PLAIN_ROPE, "rope_theta": _THETA}),
        },
        fixed={"attention_dropout": 0.0},
    ),
    "BertForSequenceClassification": Architecture(
        "BertConfig",
        {
            **_SIZES,
            "type_vocab_size": Whole(1, 2**10),
            "layer_norm_eps": _EPSILON,
            "num_labels": Whole(2, 2**20),
        },
        fixed={"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "classifier_dropout": 0.0},
        same={"is_decoder": False, "add_cross_attention": False},
        pads=True,
    ),
}
