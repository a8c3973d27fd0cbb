"""Whole models run unchanged: near float64, the same bits in any batch, on any number of threads, and under vmap."""

from __future__ import annotations

import copy
import importlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.checkpoint import checkpoint

from validator.exact import exact
from validator.exact.conformance.networks import filled
from validator.exact.random import Stream
from validator.influence.models import build, initialise

WORDS, CLASSES, LENGTH = 193, 5, 12


@pytest.fixture(autouse=True)
def _plain_attention() -> Iterator[None]:
    """For the float64 references, which run outside exact(): the math form, and no fused encoder layers."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    with sdpa_kernel(SDPBackend.MATH):
        yield
    torch.backends.mha.set_fastpath_enabled(fast)


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@dataclass(frozen=True)
class Network:
    """A module in eval mode, and records for it; `logits` are (records, classes) or (records, positions, words)."""

    module: nn.Module
    inputs: Tensor
    targets: Tensor
    logits: Callable[..., Tensor]

    def loss(self, state: dict[str, Tensor], inputs: Tensor, targets: Tensor) -> Tensor:
        found = self.logits(lambda **how: functional_call(self.module, state, (), how), inputs)
        return F.cross_entropy(found.flatten(0, -2), targets.flatten())

    def gradients(self, inputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Of the mean loss, with the logits under their own name."""
        state = {name: p.detach().requires_grad_() for name, p in self.module.named_parameters()}
        loss = self.loss(state, inputs, targets)
        return dict(zip(state, torch.autograd.grad(loss, list(state.values())), strict=True)) | {"loss": loss.detach()}

    def forward(self, inputs: Tensor) -> Tensor:
        return self.logits(self.module, inputs)


class _Residual(nn.Module):
    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU(inplace=True),
            nn.Conv2d(after, after, 3, 1, 1, bias=False), nn.BatchNorm2d(after),
        )  # fmt: skip
        same = stride == 1 and before == after
        self.skip = nn.Identity() if same else nn.Sequential(nn.Conv2d(before, after, 1, stride), nn.BatchNorm2d(after))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.body(x) + self.skip(x))


def _resnet() -> nn.Module:
    stem = (nn.Conv2d(3, 8, 7, 2, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(3, 2, 1, ceil_mode=True))
    blocks = (_Residual(8, 8, 1), _Residual(8, 12, 2), _Residual(12, 12, 1))
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d((2, 3)), nn.Flatten(), nn.Linear(72, CLASSES))


class _Decoder(nn.Module):
    """Pre-norm blocks of torch's own parts: tied embedding, RMS norm, attention in grouped heads, a gated MLP."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.embedding = nn.Embedding(WORDS, width, padding_idx=0)
        self.norms = nn.ModuleList(nn.RMSNorm(width) for _ in range(3))
        self.query, self.both = nn.Linear(width, width), nn.Linear(width, width)
        self.mix, self.gate, self.down = (
            nn.Linear(width, width),
            nn.Linear(width, 4 * width),
            nn.Linear(2 * width, width),
        )
        self.head = nn.Linear(width, WORDS, bias=False)
        self.head.weight = self.embedding.weight
        self.register_buffer("scale", torch.tensor(0.5))

    def forward(self, x: Tensor) -> Tensor:
        h = self.embedding(x)
        y = self.norms[0](h)
        query, both = (t.unflatten(-1, (-1, 4)).transpose(1, 2) for t in (self.query(y), self.both(y)))
        y = F.scaled_dot_product_attention(query, both[:, :2], both[:, 2:], is_causal=True, enable_gqa=True)
        h = h + self.mix(y.transpose(1, 2).flatten(2)) * self.scale
        left, right = self.gate(self.norms[1](h)).chunk(2, -1)
        return self.head(self.norms[2](h + self.down(F.silu(left) * right)))


def _encoder() -> nn.Module:
    layer = nn.TransformerEncoderLayer(16, 4, 32, dropout=0.1, activation="gelu", batch_first=True, norm_first=True)
    embedding = nn.Sequential(nn.Embedding(WORDS, 16), nn.TransformerEncoder(layer, 2, enable_nested_tensor=False))
    return nn.Sequential(embedding, nn.Flatten(), nn.Linear(16 * LENGTH, CLASSES))


def _ready(module: nn.Module, name: str) -> nn.Module:
    """In eval mode, parameters and running statistics from a stream."""
    stream = Stream(b"statistics", name)
    for key, buffer in module.named_buffers():
        if key.endswith("running_mean"):
            buffer.copy_(stream.normal(buffer.shape) * 0.1)
        elif key.endswith("running_var"):
            buffer.copy_(stream.uniform(buffer.shape) + 0.5)
    return filled(module, name).eval()


def _of_images(name: str) -> Network:
    stream = Stream(b"images", name)
    if name == "resnet":
        module, shape = _ready(_resnet(), name), (3, 26, 30)
    elif name == "mlp":
        module = build("mlp", {"inputs": 30, "hidden": [64, 32], "classes": CLASSES, "activation": "gelu"})
        shape = (30,)
    else:
        module = build(name, {"channels": 3, "height": 9, "width": 10, "filters": [6, 8], "classes": CLASSES,
                              "activation": "relu"})  # fmt: skip
        shape = (3, 9, 10)
    if name != "resnet":
        initialise(module, Stream(b"weights", name))
    inputs, targets = stream.normal((7, *shape)), stream.integers(CLASSES, (7,))
    return Network(module.eval(), inputs, targets, lambda call, x: call(input=x))


def _of_words(name: str) -> Network:
    stream = Stream(b"words", name)
    module = _Decoder() if name == "decoder" else _encoder()
    inputs = stream.integers(WORDS, (5, LENGTH))
    targets = stream.integers(WORDS, (5, LENGTH)) if name == "decoder" else stream.integers(CLASSES, (5,))
    key = "x" if name == "decoder" else "input"
    return Network(_ready(module, name), inputs, targets, lambda call, x: call(**{key: x}))


def _of_hugging_face(name: str, attention: str) -> Network:
    os.environ["HF_HUB_OFFLINE"] = "1"
    transformers = pytest.importorskip("transformers")
    initialization = importlib.import_module("transformers.initialization")
    small = {"vocab_size": WORDS, "max_position_embeddings": 16, "bos_token_id": 1, "eos_token_id": 2}
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, **small}
    made = {
        "gpt2": lambda: transformers.GPT2Config(n_embd=32, n_layer=2, n_head=4, n_positions=16, **small),
        "gpt-neox": lambda: transformers.GPTNeoXConfig(**sizes),
        "llama": lambda: transformers.LlamaConfig(num_key_value_heads=2, **sizes),
        "bert": lambda: transformers.BertConfig(num_labels=CLASSES, **sizes),
    }
    classes = {"gpt2": "GPT2LMHeadModel", "gpt-neox": "GPTNeoXForCausalLM", "llama": "LlamaForCausalLM",
               "bert": "BertForSequenceClassification"}  # fmt: skip
    # Tables of rotary frequencies are computed while a model is built: under exact(), without torch's own random draws.
    with initialization.no_init_weights(), exact():
        module = getattr(transformers, classes[name])._from_config(made[name](), attn_implementation=attention)
    stream = Stream(b"words", name)
    inputs = stream.integers(WORDS, (5, LENGTH))
    targets = stream.integers(CLASSES, (5,)) if name == "bert" else stream.integers(WORDS, (5, LENGTH))
    return Network(_ready(module, name), inputs, targets, lambda call, x: call(input_ids=x).logits)


NETWORKS: dict[str, Callable[[], Network]] = {
    **{name: lambda name=name: _of_images(name) for name in ("mlp", "convnet", "resnet")},
    **{name: lambda name=name: _of_words(name) for name in ("decoder", "encoder")},
    **{
        f"{name}-{attention}": lambda name=name, attention=attention: _of_hugging_face(name, attention)
        for name in ("gpt2", "gpt-neox", "llama", "bert")
        for attention in ("sdpa", "eager")
    },
}
every = pytest.mark.parametrize("name", NETWORKS)


@every
def test_network__against_float64__finite_and_close(name: str) -> None:
    network = NETWORKS[name]()
    with exact():
        found, logits = network.gradients(network.inputs, network.targets), network.forward(network.inputs).detach()
    wide = Network(copy.deepcopy(network.module).double(), network.inputs, network.targets, network.logits)
    inputs = network.inputs.double() if network.inputs.is_floating_point() else network.inputs
    expected = wide.gradients(inputs, network.targets)
    largest = max(float(e.abs().max()) for e in expected.values())
    for key, value in found.items():
        assert value.isfinite().all(), key
        assert float((value.double() - expected[key]).abs().max()) <= 1e-5 * largest, key
    reference = wide.forward(inputs).detach()
    assert float((logits.double() - reference).abs().max()) <= 1e-5 * float(reference.abs().max())


@every
def test_network__batch_in_pieces__same_bits(name: str) -> None:
    network = NETWORKS[name]()
    with exact(), torch.no_grad():
        whole = network.forward(network.inputs)
        pieces = [network.forward(piece) for piece in network.inputs.split([1, 3, network.inputs.shape[0] - 4])]
    with exact(), torch.inference_mode():
        inferred = network.forward(network.inputs)
    assert torch.equal(torch.cat(pieces), whole)
    assert torch.equal(inferred, whole)


@every
def test_network__one_thread_or_two__same_bits(name: str, threads: Callable[[int], None]) -> None:
    network = NETWORKS[name]()
    found = []
    for number in (1, 2):
        threads(number)
        with exact():
            found.append(network.gradients(network.inputs, network.targets))
    assert all(torch.equal(found[0][key], found[1][key]) for key in found[0])


@every
def test_network__records_under_vmap__gradients_of_each_record_alone(name: str) -> None:
    network = NETWORKS[name]()
    state = {key: p.detach() for key, p in network.module.named_parameters()}

    def loss(p: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        return network.loss(p, x.unsqueeze(0), y.unsqueeze(0))

    with exact():
        together = vmap(grad(loss), in_dims=(None, 0, 0))(state, network.inputs, network.targets)
        for i in range(3):
            alone = network.gradients(network.inputs[i : i + 1], network.targets[i : i + 1])
            assert all(torch.equal(gradient[i], alone[key]) for key, gradient in together.items())


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("name", ["gpt2", "gpt-neox", "llama", "bert"])
def test_network__records_padded_to_one_length__bits_of_each_record_in_its_own_batch(name: str, attention: str) -> None:
    network = _of_hugging_face(name, attention)
    mask = (torch.arange(LENGTH) < torch.tensor([12, 7, 3, 9, 12]).unsqueeze(1)).long()
    with exact(), torch.no_grad():
        whole = network.module(input_ids=network.inputs, attention_mask=mask).logits
        alone = [
            network.module(input_ids=x, attention_mask=m).logits
            for x, m in zip(network.inputs.split(1), mask.split(1), strict=True)
        ]
    assert whole.isfinite().all()
    assert torch.equal(torch.cat(alone), whole)


def test_network__trained_with_adam_and_clipping__same_bits_from_the_same_start() -> None:
    networks = [NETWORKS["decoder"]() for _ in range(2)]
    for network, foreach in zip(networks, (True, False), strict=True):
        optimiser = torch.optim.AdamW(network.module.parameters(), lr=1e-2, foreach=foreach)
        with exact():
            for _ in range(3):
                optimiser.zero_grad()
                F.cross_entropy(network.forward(network.inputs).flatten(0, 1), network.targets.flatten()).backward()
                nn.utils.clip_grad_norm_(network.module.parameters(), 1.0)
                optimiser.step()
    first, second = (dict(network.module.named_parameters()) for network in networks)
    assert "head.weight" not in first
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert not torch.equal(
        first["embedding.weight"], dict(NETWORKS["decoder"]().module.named_parameters())["embedding.weight"]
    )


def test_network__blocks_computed_again_in_the_backward__same_bits() -> None:
    network = NETWORKS["resnet"]()
    again = copy.deepcopy(network.module)

    def rerun(x: Tensor) -> Tensor:
        for block in again:
            x = checkpoint(block, x, use_reentrant=False)
        return x

    with exact():
        for call, module in ((network.module, network.module), (rerun, again)):
            F.cross_entropy(call(network.inputs), network.targets).backward()
            assert all(p.grad.any() for p in module.parameters())
    pairs = zip(network.module.parameters(), again.parameters(), strict=True)
    assert all(torch.equal(a.grad, b.grad) for a, b in pairs)
