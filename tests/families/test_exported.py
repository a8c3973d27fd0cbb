"""Exported programs as data: the model's own bits, and refusals of whatever a hostile file could say."""

from __future__ import annotations

import json
import os
import struct
import zipfile
from collections.abc import Callable
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor, nn
from torch.export import Dim, export

from validator.exact import exact
from validator.exact.random import Stream
from validator.families import check_apart
from validator.families.exported import Program, open_model
from validator.families.exported_write import save_program
from validator.families.operators import operator
from validator.families.program import PROGRAM
from validator.influence import InfluenceError, Problem, Records, fit
from validator.influence.models import build, initialise

WORDS, LENGTH = 11, 5
TOKENS = {"vocabulary": WORDS, "context": LENGTH}


def ready(module: nn.Module, name: str) -> nn.Module:
    initialise(module, Stream(b"exported", name))
    return module.eval()


def perceptron() -> nn.Module:
    layers = (nn.Linear(4, 6), nn.GELU(), nn.LayerNorm(6), nn.Dropout(0.1), nn.Linear(6, 3))
    return ready(nn.Sequential(*layers), "perceptron")


def gpt() -> nn.Module:
    return ready(build("gpt", {**TOKENS, "width": 8, "heads": 2, "layers": 1}), "gpt")


def images() -> nn.Module:
    layers = (nn.Conv2d(1, 3, 3, 2, 1), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 3))
    return ready(nn.Sequential(*layers), "images")


def written(module: nn.Module, example: Tensor) -> bytes:
    return save_program(export(module, (example[:2],), dynamic_shapes=({0: Dim("n")},)))


def numbers(count: int = 6) -> Tensor:
    return Stream(b"exported", "numbers").uniform((count, 4))


def tokens(count: int = 6) -> Tensor:
    return Stream(b"exported", "tokens").integers(WORDS, (count, LENGTH))


def pictures(count: int = 6) -> Tensor:
    return Stream(b"exported", "pictures").uniform((count, 1, 8, 8))


CASES: dict[str, tuple[Callable[[], nn.Module], Callable[..., Tensor], dict[str, int]]] = {
    "perceptron": (perceptron, numbers, {}),
    "gpt": (gpt, tokens, TOKENS),
    "images": (images, pictures, {}),
}
every = pytest.mark.parametrize("name", CASES)


def of(name: str, given: Tensor) -> Records:
    """Records with some target or other."""
    return Records(given, given if name == "gpt" else torch.arange(len(given)) % 3)


@pytest.fixture(scope="module")
def plain() -> bytes:
    return written(perceptron(), numbers())


def edited(data: bytes, change: Callable[[dict[str, Any]], object]) -> bytes:
    """The file with its program changed."""
    document = program_of(data)
    change(document)
    return save(load(data), metadata={PROGRAM: json.dumps(document)})


def program_of(data: bytes) -> dict[str, Any]:
    (length,) = struct.unpack("<Q", data[:8])
    return json.loads(json.loads(data[8 : 8 + length])["__metadata__"][PROGRAM])  # type: ignore[no-any-return]


# What it computes


@every
def test_open_model__written_program__has_the_bits_of_the_model(name: str) -> None:
    make, inputs, config = CASES[name]
    module, given = make(), inputs()
    program = open_model(config, written(module, given))
    with exact(), torch.no_grad():
        expected, found = module(given), program(given)
    assert torch.equal(found, expected)
    assert [tuple(p.shape) for p in program.parameters()] == [tuple(p.shape) for p in module.parameters()]
    check_apart(program, given)


@pytest.mark.parametrize("name", ["perceptron", "gpt"])
def test_fit__written_program__scores_as_the_model_does(name: str) -> None:
    make, inputs, config = CASES[name]
    module, given = make(), inputs()
    records = of(name, given)
    expected, found = (
        fit(Problem(model, records, records), "response", seed=1, epochs=1, replicas=1, rows=2).score(records)
        for model in (module, open_model(config, written(module, given)))
    )
    assert torch.equal(found.values, expected.values)
    assert bool((found.values != 0).any())


@pytest.mark.parametrize("name", ["perceptron", "gpt"])
def test_fit__written_program_with_curvature__scores_alike_in_any_chunk(name: str) -> None:
    """Not to the model's bits: a conditioner that looks for linear layers finds none in a graph."""
    make, inputs, config = CASES[name]
    given = inputs()
    records = of(name, given)
    program = open_model(config, written(make(), given))
    fitted = fit(Problem(program, records, records), "classical", seed=1, iterations=2, folds=2)
    whole = fitted.score(records)
    assert torch.equal(whole.values, fitted.score(records, chunk=1).values)
    assert bool((whole.values != 0).any())


def test_save_program__tied_and_unused_weights__are_written_once_and_not_at_all() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding, self.head = nn.Embedding(WORDS, 4), nn.Linear(4, WORDS, bias=False)
            self.head.weight, self.idle = self.embedding.weight, nn.Parameter(torch.zeros(3))

        def forward(self, given: Tensor) -> Tensor:
            return self.head(self.embedding(given))  # type: ignore[no-any-return]

    (only,) = load(written(Tied(), tokens())).values()
    assert only.shape == (WORDS, 4)


# Why a .pt2 file is never opened


class Evil:
    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self._path),)


def test_torch_export_load__sample_inputs_of_a_stranger__run_code(tmp_path: Path) -> None:
    """The evidence for ADR 12. Should torch mend this one day, the family can be reconsidered."""
    sound, evil, payload = tmp_path / "sound.pt2", tmp_path / "evil.pt2", BytesIO()
    torch.export.save(export(perceptron(), (numbers(2),)), sound)
    torch.save(Evil(tmp_path / "ran"), payload)
    with zipfile.ZipFile(sound) as source, zipfile.ZipFile(evil, "w") as target:
        for entry in source.namelist():
            target.writestr(entry, payload.getvalue() if "sample_inputs" in entry else source.read(entry))
    with suppress(Exception):  # what it says after the fact does not matter
        torch.export.load(evil)
    assert (tmp_path / "ran").exists()


def test_open_model__pt2_file__is_no_safetensors(tmp_path: Path) -> None:
    torch.export.save(export(perceptron(), (numbers(2),)), tmp_path / "a.pt2")
    with pytest.raises(InfluenceError, match="not a safetensors file"):
        open_model({}, (tmp_path / "a.pt2").read_bytes())


# Hostile programs


def first(document: dict[str, Any]) -> dict[str, Any]:
    return document["nodes"][0]  # type: ignore[no-any-return]


def append(op: str, *args: object, **kwargs: object) -> Callable[[dict[str, Any]], object]:
    """One more step behind the output, which becomes the output."""

    def change(document: dict[str, Any]) -> None:
        document["nodes"].append({"name": "more", "op": op, "args": list(args), "kwargs": kwargs})
        document["output"] = "more"

    return change


OUT = {"node": "linear_1"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d.update(format="poc-program/2"), "not of format"),
        (lambda d: d.update(extra=1), "not of format"),
        (lambda d: d.update(nodes={}), "lists of at most"),
        (lambda d: d.update(nodes=[first(d)] * 20_001), "lists of at most 20000"),
        (lambda d: d.update(parameters=[]), "are not the tensors of the file"),
        (lambda d: d["parameters"].append({}), "are not the tensors of the file"),
        (lambda d: d.update(shape=[2**20] * 4), "at most 4 positive sizes"),
        (lambda d: d.update(shape=[4.0]), "at most 4 positive sizes"),
        (lambda d: d.update(dtype="object"), "must have a dtype"),
        (lambda d: d.update(dtype="int64"), "states vocabulary and context"),
        (lambda d: d.update(output="nowhere"), "output 'nowhere' is not there"),
        (lambda d: d.update(output=5), "a name that is none"),
        (lambda d: d["nodes"].append(first(d)), "two steps called"),
        (lambda d: d["nodes"].reverse(), "which is not there"),
        (lambda d: first(d).update(op="os.system"), "may not use the operator 'os.system'"),
        (lambda d: first(d).update(op="aten.from_file.default"), "may not use the operator"),
        (lambda d: first(d).update(op="aten.add_.Tensor"), "may not use the operator"),
        (lambda d: first(d).update(op="aten.linear.out"), "may not use the operator"),
        (lambda d: first(d).update(op="aten.linear.__class__"), "may not use the operator"),
        (lambda d: first(d).update(op="aten.rand.default"), "may not use the operator"),
        (lambda d: first(d).update(op="aten.index.Tensor"), "may not use the operator"),
        (lambda d: first(d).update(op="aten.to.device"), "may not use the operator"),
        (lambda d: first(d).update(args=[{"code": "x"}]), "an argument of no known kind"),
        (lambda d: first(d).update(args=[1.5]), "an argument of no known kind"),
        (lambda d: first(d).update(args=[{"real": "__import__"}]), "a number that is none"),
        (lambda d: first(d).update(args=[{"weight": "forward"}]), "which is not there"),
        (lambda d: first(d).update(args=5), "args are a list"),
        (lambda d: first(d).update(kwargs={"device": {"text": "cuda"}}), "does not choose device"),
        (lambda d: first(d).update(name="x" * 257), "a name that is none"),
        (append("aten.sum.default", OUT), "must give logits of each record"),
        (append("aten.linear.default", OUT, OUT), "must give logits of each record"),
        (append("aten.mm.default", OUT, OUT), "does not run"),
        (append("aten.repeat.default", OUT, [1, 2**40]), "values a record, at most"),
        (append("aten.full.default", [2**20, 2**20], 1), "values a record, at most"),
        (append("aten.unbind.int", OUT), "no tensor"),
        (append("getitem", OUT, OUT), "only one of several results"),
        (append("mul", OUT, 2), "takes integers"),
        (append("mul", 2**40, 2**40), "is none"),
    ],
)
def test_open_model__hostile_program__is_refused_in_one_line(
    plain: bytes, change: Callable[[dict[str, Any]], object], words: str
) -> None:
    with pytest.raises(InfluenceError, match=words) as caught:
        open_model({}, edited(plain, change))
    assert "\n" not in str(caught.value)


def test_open_model__taking_a_tensor_apart_without_end__is_refused(plain: bytes) -> None:
    def change(document: dict[str, Any]) -> None:
        append("aten.expand.default", {"node": "input"}, [2**18, 64, 4])(document)
        document["nodes"].append({"name": "parts", "op": "aten.unbind.int", "args": [{"node": "more"}], "kwargs": {}})

    with pytest.raises(InfluenceError, match="takes tensors apart into too many"):
        open_model({}, edited(edited(plain, lambda d: d.update(shape=[64, 4])), change))


@pytest.mark.parametrize("text", ["", "{", "[" * 50, "0", "NaN", '{"format": "poc-program/1"}'])
def test_open_model__program_that_is_none__is_refused(plain: bytes, text: str) -> None:
    with pytest.raises(InfluenceError, match="program"):
        open_model({}, save(load(plain), metadata={PROGRAM: text}))


def test_open_model__weights_alone__says_how_to_write_them(plain: bytes) -> None:
    with pytest.raises(InfluenceError, match="save_program"):
        open_model({}, save(load(plain)))


def test_open_model__weights_not_finite__are_refused(plain: bytes) -> None:
    bad = {name: torch.full_like(tensor, float("inf")) for name, tensor in load(plain).items()}
    with pytest.raises(InfluenceError, match="must be finite"):
        open_model({}, save(bad, metadata={PROGRAM: json.dumps(program_of(plain))}))


# Tokens


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({}, "states vocabulary and context"),
        ({"vocabulary": WORDS}, "configuration of torch_export is empty"),
        ({"vocabulary": WORDS, "context": "5"}, "configuration of torch_export is empty"),
        ({"vocabulary": WORDS + 1, "context": LENGTH}, "a row for each of the vocabulary"),
        ({"vocabulary": WORDS, "context": LENGTH - 1}, "at most context of them"),
    ],
)
def test_open_model__tokens_beyond_the_embedding__are_refused(config: dict[str, Any], words: str) -> None:
    with pytest.raises(InfluenceError, match=words):
        open_model(config, written(gpt(), tokens()))


def test_open_model__embedding_of_computed_tokens__is_refused() -> None:
    class Shifted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = gpt()

        def forward(self, given: Tensor) -> Tensor:
            return self.inner(given + 1)  # type: ignore[no-any-return]

    with pytest.raises(InfluenceError, match="looked up by the tokens themselves"):
        open_model(TOKENS, written(Shifted(), tokens()))


# Records that meet


class Mixing(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, given: Tensor) -> Tensor:
        return self.layer(given - given.mean(0))  # type: ignore[no-any-return]


def test_check_apart__records_of_a_batch_mixed__is_refused() -> None:
    program = open_model({}, written(ready(Mixing(), "mixing"), numbers()))
    with pytest.raises(InfluenceError, match="mixes the records"):
        check_apart(program, numbers())


def test_check_apart__model_of_another_family__is_not_tried() -> None:
    check_apart(Mixing(), numbers())


def test_save_program__batch_norm_in_training__cannot_be_opened() -> None:
    data = written(images(), pictures())

    def train(document: dict[str, Any]) -> None:
        step = next(node for node in document["nodes"] if "batch_norm" in node["op"])
        step["args"][5] = True

    with pytest.raises(InfluenceError, match="must not be that of training"):
        open_model({}, edited(data, train))


def test_save_program__fixed_number_of_records__cannot_be_opened() -> None:
    class Fixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 3)

        def forward(self, given: Tensor) -> Tensor:
            return self.layer(given).reshape(2, 3)  # type: ignore[no-any-return]

    with pytest.raises(InfluenceError, match="does not run"):
        open_model({}, save_program(export(Fixed(), (numbers(2),))))


def test_save_program__operator_outside_the_list__is_named() -> None:
    class Sorting(nn.Module):
        def forward(self, given: Tensor) -> Tensor:
            return given.sort(-1).values

    with pytest.raises(InfluenceError, match=r"aten\.sort\.default"):
        written(Sorting(), numbers())


def test_operator__every_name_of_the_list__is_one_of_aten_and_writes_into_nothing() -> None:
    from validator.families.operators import NAMES

    for name in NAMES:
        forms = [form for form in getattr(torch.ops.aten, name).overloads() if form == "default" or "out" not in form]
        taken = [form for form in forms if not getattr(getattr(torch.ops.aten, name), form)._schema.is_mutable]
        assert taken, name
        assert any(callable(operator(f"aten.{name}.{form}")) for form in taken if form != "device")


def test_program__after_opening__has_no_attribute_named_by_the_file(plain: bytes) -> None:
    program = open_model({}, plain)
    assert isinstance(program, Program)
    assert [name for name, _ in program.named_parameters()] == [f"w{index}" for index in range(6)]
