from __future__ import annotations

import pytest
import torch
from safetensors.torch import save
from torch import nn

from validator.exact.digest import digest
from validator.exact.random import Stream
from validator.influence import InfluenceError
from validator.influence.models import build, dump_weights, initialise, load_weights, read_tensors

MLP = {"inputs": 6, "hidden": [5, 4], "classes": 3, "activation": "relu"}
CONVNET = {"channels": 1, "height": 8, "width": 5, "filters": [2, 3], "classes": 4, "activation": "tanh"}


def made(family: str = "mlp", config: dict[str, object] = MLP, name: str = "a") -> nn.Module:
    module = build(family, config)
    initialise(module, Stream(b"seed", name))
    return module


def test_build__mlp__maps_flattened_inputs_to_logits() -> None:
    assert made()(torch.zeros(7, 2, 3)).shape == (7, 3)


def test_build__convnet_of_odd_width__maps_images_to_logits() -> None:
    assert made("convnet", CONVNET)(torch.zeros(7, 1, 8, 5)).shape == (7, 4)


def test_build__no_hidden_layer__is_a_linear_model() -> None:
    module = build("mlp", {**MLP, "hidden": []})
    assert [tuple(p.shape) for p in module.parameters()] == [(3, 6), (3,)]


@pytest.mark.parametrize(
    ("family", "config", "words"),
    [
        ("resnet", MLP, "convnet, gpt, mlp"),
        ("mlp", {"inputs": 6}, "exactly the keys"),
        ("mlp", {**MLP, "dropout": 1}, "exactly the keys"),
        ("mlp", {**MLP, "inputs": 0}, "'inputs' must be an integer in 1"),
        ("mlp", {**MLP, "inputs": "6"}, "'inputs'"),
        ("mlp", {**MLP, "classes": True}, "'classes'"),
        ("mlp", {**MLP, "hidden": 5}, "'hidden' must be a list"),
        ("mlp", {**MLP, "hidden": [1] * 65}, "'hidden' must be a list"),
        ("mlp", {**MLP, "hidden": [2**21]}, "'hidden'"),
        ("mlp", {**MLP, "inputs": 2**20, "hidden": [2**20]}, "bytes, at most"),
        ("convnet", {**CONVNET, "channels": 2**20, "height": 2**20, "width": 2**20, "filters": []}, "too large"),
        ("mlp", {**MLP, "activation": "swish"}, "relu, tanh, gelu"),
        ("mlp", {**MLP, "activation": ["relu"]}, "relu, tanh, gelu"),
    ],
)
def test_build__bad_configuration__is_refused_by_name(family: str, config: dict[str, object], words: str) -> None:
    with pytest.raises(InfluenceError, match=words):
        build(family, config)


def test_initialise__same_stream__same_bits_and_another_stream_others() -> None:
    first, again, other = (digest(dict(made(name=name).state_dict())) for name in ("a", "a", "b"))
    assert first == again
    assert first != other


def test_initialise__weights__have_variance_of_one_over_fan_in() -> None:
    module = made("mlp", {"inputs": 100, "hidden": [200], "classes": 2, "activation": "relu"})
    first, bias = list(module.parameters())[:2]
    assert float(first.detach().var()) == pytest.approx(1 / 100, rel=0.05)
    assert not bool(bias.any())


def test_load_weights__what_dump_wrote__comes_back() -> None:
    source, target = made(name="a"), made(name="b")
    load_weights(target, dump_weights(source))
    assert digest(dict(target.state_dict())) == digest(dict(source.state_dict()))


def test_load_weights__another_shape__names_the_tensor() -> None:
    with pytest.raises(InfluenceError, match=r"1\.weight"):
        load_weights(made(), dump_weights(made("mlp", {**MLP, "inputs": 7})))


def test_load_weights__missing_tensor__is_refused() -> None:
    with pytest.raises(InfluenceError, match="do not fit"):
        load_weights(made(), save({"1.weight": torch.zeros(5, 6)}))


def test_load_weights__nan__is_refused() -> None:
    module = made()
    state = {name: torch.full_like(tensor, float("nan")) for name, tensor in module.state_dict().items()}
    with pytest.raises(InfluenceError, match="NaN"):
        load_weights(module, save(state))


class Tied(nn.Module):
    """One matrix under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.head = nn.Embedding(3, 2), nn.Linear(2, 3, bias=False)
        self.head.weight = self.embedding.weight


@pytest.mark.parametrize("names", [["embedding.weight"], ["embedding.weight", "head.weight"]], ids=len)
def test_load_weights__tied_tensor__is_given_once_or_twice(names: list[str]) -> None:
    module, values = Tied(), torch.arange(6.0).reshape(3, 2)
    load_weights(module, save({name: values.clone() for name in names}))
    assert torch.equal(module.head.weight, values)
    assert module.head.weight is module.embedding.weight


def test_load_weights__tied_tensor_given_twice_and_not_alike__is_refused() -> None:
    with pytest.raises(InfluenceError, match=r"'head.weight' must equal 'embedding.weight'"):
        load_weights(Tied(), save({"embedding.weight": torch.zeros(3, 2), "head.weight": torch.ones(3, 2)}))


def test_dump_weights__tied_tensor__is_written_under_its_first_name() -> None:
    assert set(read_tensors(dump_weights(Tied()))) == {"embedding.weight"}


@pytest.mark.parametrize("data", [b"", b"\x00" * 8, b"\xff" * 64, b"not safetensors at all"])
def test_load_weights__garbage__is_refused(data: bytes) -> None:
    with pytest.raises(InfluenceError, match="not a safetensors file"):
        load_weights(made(), data)
