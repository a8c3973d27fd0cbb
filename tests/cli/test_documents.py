"""Against a live DAO: documents that a steward publishes and payloads that a contributor offers, and that cannot be."""

from __future__ import annotations

import re
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
        ("epochs = 10 ", "epochs = 0 ", "epochs must be an integer"),
        ("epochs = 10 ", "eras = 5 ", "unknown parameter eras"),
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

PICTURE = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010800000000"
    "3a7e9b550000000a49444154789c636000000002000148afa4710000000049454e44ae426082"
)
"""A PNG of one black pixel."""


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


def table(rows: int = 9, cell: str = "0.5", label: str = "3") -> str:
    header = ",".join([*(f"p{number}" for number in range(64)), "digit"])
    return "\n".join([header, *[",".join([cell] * 63 + [f"0.{row + 1}", label]) for row in range(rows)]]) + "\n"


def test_convert__table_by_the_open_round_s_manifest__is_a_payload_that_may_be_sent(
    ask: Ask, world: World, tmp_path: Path
):
    (tmp_path / "a.csv").write_text(table() + table(1).split("\n")[1].replace("0.5", "2", 1) + "\n")
    out = tmp_path / "a.safetensors"

    told = ask("convert", f"{tmp_path}/a.csv", "--label", "digit", "--out", str(out), "--home", "{auditor}").answered()

    assert told.splitlines() == [
        f"records: 9, classes: 1, bytes: {out.stat().st_size:,}",
        "left out 1: a value lies outside 0 to 1 (line 11)",
        f"written to {out}",
    ]
    before = world.w3.eth.get_transaction_count(world.keys["auditor"].address)
    dry = ask("contribute --dry-run --json", str(out), "--home", "{auditor}").json()
    told_cost = {"size", "key_epoch", "round", "deposit", "gas_limit", "most_fee", "not_now"}
    assert {name: value for name, value in dry.items() if name not in told_cost} == {
        "records": 9,
        "classes": 1,
        "tokens": 0,
        "bytes": out.stat().st_size,
        "repeats": 0,
        "dropped": [],
    }
    dry = ask("contribute --dry-run", f"{tmp_path}/a.csv", "--label", "digit", "--home", "{auditor}").answered()
    lines = dry.splitlines()
    assert [*lines[:2], lines[-1]] == [*told.splitlines()[:2], "dry run: nothing was sent"]
    assert re.fullmatch(r"to be sent: [\d,]+ bytes, sealed for key epoch 1, in round 2", lines[2])
    assert re.fullmatch(r"cost: a deposit of 0.001 coin, .*, and gas of at most [\d.e-]+ coin \([\d,]+ gas\)", lines[3])
    assert world.w3.eth.get_transaction_count(world.keys["auditor"].address) == before


def test_convert__records_that_repeat_another__are_warned_about(ask: Ask, places: dict[str, str], tmp_path: Path):
    (tmp_path / "a.csv").write_text(table() + table(2).split("\n", 1)[1])
    manifest = f"{places['dao']}/manifest.toml"

    told = ask("convert --label digit --manifest", manifest, f"{tmp_path}/a.csv", "--out", f"{tmp_path}/out").answered()

    assert "warning: exact repeats of a record within this source: 2; they earn nothing" in told


BAD_TABLES = [
    ([], table(), "--label"),
    (["--label", "kind"], table(), "no column 'kind'"),
    (["--label", "digit"], "", "no header"),
    (["--label", "digit"], "\0\0", "a.csv"),
    (["--label", "digit"], table(7), "at least 8"),
    (["--label", "digit"], table(129), "more than 128 records"),
    (["--label", "digit"], table(label="ten"), "name the classes"),
    (["--label", "digit"], table(cell="nan"), "9 of 9 records"),
    (["--label", "digit", "--columns", "p0,p1"], table(), "2 columns"),
    (["--label", "digit", "--columns", ","], table(), "no column ''"),
    (["--label", "digit", "--classes", "a,b"], table(), "2 names"),
    (["--label", "digit", "--classes", "@no-such-file"], table(), "no-such-file"),
    (["--label", "digit", "--skip", "99"], table(), "--skip leaves none"),
    (["--label", "digit", "--documents", "lines"], table(), "--documents says nothing"),
]


@pytest.mark.parametrize(("options", "content", "named"), BAD_TABLES)
def test_convert__table_cannot_be_taken__is_refused_in_one_line(
    ask: Ask, places: dict[str, str], tmp_path: Path, options: list[str], content: str, named: str
):
    (tmp_path / "a.csv").write_text(content)
    rest = ["--manifest", f"{places['dao']}/manifest.toml", "--out", str(tmp_path / "out")]

    assert named in ask("convert", str(tmp_path / "a.csv"), *options, *rest).refused()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("options", "content", "named"), BAD_TABLES[::5])
def test_contribute__table_cannot_be_taken__is_refused_before_it_costs_anything(
    ask: Ask, world: World, tmp_path: Path, options: list[str], content: str, named: str
):
    before = world.w3.eth.get_transaction_count(world.keys["auditor"].address)
    (tmp_path / "a.csv").write_text(content)

    assert named in ask("contribute --home {auditor}", str(tmp_path / "a.csv"), *options).refused()
    assert world.w3.eth.get_transaction_count(world.keys["auditor"].address) == before


@pytest.mark.parametrize(
    ("name", "content", "named"),
    [
        ("a.npz", b"PK\x03\x04 no archive", "not an npz"),
        ("a.txt", b"a text", "is text"),
        ("a.jsonl", b"[" * 1000, "line 1"),
        ("a.safetensors", b"", "not safetensors"),
        ("folder/3/a.png", b"no picture", "PNG"),
        ("folder/a.txt", b"no picture", "1 of 1 records"),
    ],
)
def test_convert__source_of_another_kind_cannot_be_taken__is_refused_in_one_line(
    ask: Ask, places: dict[str, str], tmp_path: Path, name: str, content: bytes, named: str
):
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    source = tmp_path / name.split("/")[0]
    rest = ["--manifest", f"{places['dao']}/manifest.toml", "--out", str(tmp_path / "out")]

    assert named in ask("convert", str(source), *rest).refused()


@pytest.mark.parametrize(
    ("content", "named"), [(b"", "payload"), (b"\xff", "neither"), (b"{}", "manifest refused"), (b"a = [", "neither")]
)
def test_convert__manifest_is_none__is_refused(ask: Ask, file: str, tmp_path: Path, content: bytes, named: str):
    path = tmp_path / "manifest"
    path.write_bytes(content)
    assert named in ask("convert", file, "--manifest", str(path), "--out", str(tmp_path / "out")).refused()


def test_convert__onto_its_own_source__is_refused_and_leaves_it(ask: Ask, file: str):
    before = Path(file).read_bytes()
    assert "is the source itself" in ask("convert", file, "--out", file).refused(2)
    assert Path(file).read_bytes() == before


def test_convert__nowhere_to_write__is_refused(ask: Ask, places: dict[str, str], tmp_path: Path):
    (tmp_path / "a.csv").write_text(table())
    manifest = f"{places['dao']}/manifest.toml"
    words = "convert --label digit --manifest"
    told = ask(words, manifest, f"{tmp_path}/a.csv", "--out", f"{tmp_path}/none/out").refused()
    assert "No such file" in told


def test_convert__file_whose_name_is_no_text__is_told_without_a_traceback(
    ask: Ask, places: dict[str, str], tmp_path: Path
):
    manifest = Path(places["dao"], "manifest.toml").read_text().replace("min_records = 8", "min_records = 1")
    (tmp_path / "manifest.toml").write_text(manifest)
    (tmp_path / "in" / "3").mkdir(parents=True)
    (tmp_path / "in" / "3" / "a.png").write_bytes(PICTURE)
    (tmp_path / "in" / "3" / "\udcff\x1b[31m\n.png").write_bytes(b"")
    rest = ["--manifest", f"{tmp_path}/manifest.toml", "--out", f"{tmp_path}/out"]
    assert "3/??[31m?.png" in ask("convert", f"{tmp_path}/in", *rest).answered()


def test_contribute__account_without_coin__is_refused(ask: Ask, tmp_path: Path):
    path = tmp_path / "payload"
    path.write_bytes(records())
    assert "does not hold" in ask("contribute", str(path), "--home", "{poor}").refused()
