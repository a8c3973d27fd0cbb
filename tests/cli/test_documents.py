"""Against a live DAO: documents that a steward publishes and payloads that a contributor offers, and that cannot be."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.cli.commands import Ask
from tests.support import World
from validator.payload import encode_safetensors

# Publishing what no validator could score with


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ('name = "digits"', "name =", "is not TOML"),
        ('name = "digits"', 'name = ""', "manifest refused: name"),
        ('name = "digits"', "", "manifest refused: name"),
        ('name = "digits"', 'name = "digits"\ncolour = 1', "manifest refused: colour"),
        ("[model]", "[mode]", "manifest refused"),
        ('family = "mlp"', 'family = "oracle"', "model.family"),
        ("hidden = [64]", "hidden = [32]", "1.weight"),
        ("inputs = 64", "inputs = 0", "'inputs' must be an integer"),
        ('name = "response"', 'name = "guess"', "estimator.name"),
        ("epochs = 10", "epochs = 0", "epochs must be an integer"),
        ("epochs = 10", "eras = 10", "unknown parameter eras"),
        ("shape = [64]", "shape = [8, 8]", "payload asks for"),
        ('dtype = "float32"', 'dtype = "int64"', "payload asks for"),
        ('minimum = "0"', 'minimum = "2"', "minimum and maximum"),
        ("classes = 10\n\n[limits]", "classes = 9\n\n[limits]", "payload.classes is 9"),
        ("min_records = 8", "min_records = 129", "min_records exceeds max_records"),
    ],
)
def test_publish__rules_do_not_hold_together__are_refused(
    ask: Ask, places: dict[str, str], tmp_path: Path, old: str, new: str, named: str
):
    folder = Path(shutil.copytree(places["dao"], tmp_path / "dao"))
    text = (folder / "manifest.toml").read_text()
    assert text.count(old) == 1
    (folder / "manifest.toml").write_text(text.replace(old, new))
    assert named in ask("dao publish", str(folder), "--light", "--home", "{steward}").refused()


@pytest.mark.parametrize(
    ("name", "content", "named"),
    [
        ("manifest.toml", None, "manifest.toml: No such file"),
        ("weights.safetensors", None, "weights.safetensors: No such file"),
        ("weights.safetensors", b"", "not a safetensors file"),
        ("anchor.safetensors", b"nonsense", "anchor.safetensors: not a safetensors file"),
        ("queries.safetensors", encode_safetensors(np.zeros((3, 63), np.float32), np.arange(3)), "queries"),
        ("queries.safetensors", encode_safetensors(np.zeros((0, 64), np.float32), np.arange(0)), "empty"),
        ("queries.safetensors", encode_safetensors(np.zeros((1, 64), np.float32), np.array([10])), "class 10"),
    ],
)
def test_publish__file_does_not_fit__is_refused(
    ask: Ask, places: dict[str, str], tmp_path: Path, name: str, content: bytes | None, named: str
):
    folder = Path(shutil.copytree(places["dao"], tmp_path / "dao"))
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_bytes(content)
    assert named in ask("dao publish", str(folder), "--light", "--home", "{steward}").refused()


# Contributing what the DAO does not take


def records(count: int = 9, width: int = 64, value: float = 0.5, target: int = 3) -> bytes:
    return encode_safetensors(np.full((count, width), value, np.float32), np.full(count, target, np.int64))


@pytest.mark.parametrize(
    ("payload", "named"),
    [
        (b"", "not safetensors"),
        (b"x" * 100, "not safetensors"),
        (b"x" * 70_000, "a payload of 70000 bytes"),
        ((2**40).to_bytes(8, "little") + b"{}", "not safetensors"),
        (records()[:-1], "2376 bytes"),
        (records(count=7), "at least 8"),
        (records(count=129), "129 records"),
        (records(width=63), "shape"),
        (records(value=1.5), "outside"),
        (records(value=float("nan")), "NaN"),
        (records(target=10), "targets"),
        (records(target=-1), "targets"),
    ],
)
def test_contribute__payload_breaks_the_schema__is_refused_before_it_costs_anything(
    ask: Ask, world: World, tmp_path: Path, payload: bytes, named: str
):
    address = world.keys["auditor"].address
    before = world.w3.eth.get_transaction_count(address)
    path = tmp_path / "payload"
    path.write_bytes(payload)
    assert named in ask("contribute", str(path), "--home", "{auditor}").refused()
    assert world.w3.eth.get_transaction_count(address) == before


def test_contribute__account_without_coin__is_refused(ask: Ask, tmp_path: Path):
    path = tmp_path / "payload"
    path.write_bytes(records())
    assert "does not hold" in ask("contribute", str(path), "--home", "{poor}").refused()
