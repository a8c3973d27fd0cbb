"""The contributor guide's section on preparing data, run as written: each command, and what it is said to print."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.cli.commands import Zygote
from validator.payload import Parsed, classification
from validator.payload.jsonl import parse_jsonl
from validator.payload.safetensors_format import parse_safetensors

GUIDE = (Path(__file__).parents[2] / "docs/contributor-guide.md").read_text()
SECTION = GUIDE.partition("## Prepare your data\n")[2].partition("\n## ")[0]
DIGITS = classification((64,), 10, max_records=128, max_bytes=1 << 20)
LIMITS = "[limits]\nenvelope_bytes = 65536\nmin_records = 1\nmax_records = 128\n"
NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
WORDS = {"<unk>": 0, "the": 1, "more": 2, "data": 3}


def blocks(language: str) -> list[str]:
    """The section's blocks of code."""
    return re.findall(rf"^```{language}\n(.*?)^```$", SECTION, re.MULTILINE | re.DOTALL)


def commands() -> list[tuple[str, str]]:
    """Every command of the section, and the output that is shown after it, if any."""
    shown = "".join(blocks("console"))
    return [(first, rest) for first, _, rest in (part.partition("\n") for part in shown.split("$ ")[1:])]


def language_rules(classes: int, form: str) -> str:
    payload = f'task = "next_token"\nformat = "{form}"\ndtype = "int64"\nshape = [16]\nminimum = "0"\n'
    return f'[payload]\n{payload}maximum = "{classes - 1}"\nclasses = {classes}\n{LIMITS}'


@pytest.fixture(scope="module")
def desk(folder: Path) -> Path:
    """What a contributor's folder holds before the section is read."""
    random = np.random.default_rng(0)
    pixels, labels = random.integers(0, 17, (40, 64)), np.arange(40) % 10
    pixels[39], labels[39] = pixels[9], labels[9]
    np.savez(folder / "pixels.npz", inputs=pixels / 16, targets=labels)
    np.save(folder / "pixels.npy", pixels)
    np.save(folder / "labels.npy", labels)
    rows = [[f"p{number}" for number in range(64)] + ["digit"]]
    rows += [[*map(str, row / 16), str(label)] for row, label in zip(pixels, labels, strict=True)]
    rows.insert(11, ["7", *rows[1][1:]])
    rows.insert(30, ["-0.5", *rows[1][1:]])
    rows.insert(41, [*rows[1][:-1], "seven"])
    (folder / "digits.csv").write_text("".join(",".join(row) + "\n" for row in rows))
    for number, name in enumerate(NAMES):
        (folder / "photos" / name).mkdir(parents=True)
        Image.new("L", (20, 30), 25 * number).save(folder / "photos" / name / "1.png")
    (folder / "essays.txt").write_text("The more data the more the data says.\n\nThe end\n")
    (folder / "language.toml").write_text(language_rules(256, "jsonl"))
    (folder / "words.toml").write_text(language_rules(4, "safetensors"))
    model = {"type": "WordLevel", "vocab": WORDS, "unk_token": "<unk>"}
    tokenizer = {"version": "1.0", "added_tokens": [], "pre_tokenizer": {"type": "Whitespace"}, "model": model}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    return folder


def test_guide__has_commands__and_all_are_ours():
    assert len(commands()) >= 7
    assert all(command.startswith("validator c") for command, _ in commands())


@pytest.mark.parametrize(("command", "shown"), commands(), ids=[command[:60] for command, _ in commands()])
def test_guide__command__does_and_says_what_is_written(
    run: Zygote, places: dict[str, str], desk: Path, command: str, shown: str
):
    told = run(*shlex.split(command)[1:], env={"VALIDATOR_HOME": places["auditor"]}).answered()

    assert shown in ("", told)
    if "--out" in command:
        assert (desk / command.split()[-1]).exists()


def test_guide__program__writes_a_payload(desk: Path, monkeypatch: pytest.MonkeyPatch):
    (program,) = blocks("python")
    monkeypatch.chdir(desk)

    exec(compile(program, "contributor-guide.md", "exec"), {})

    parsed: Parsed = parse_safetensors((desk / "mine.safetensors").read_bytes(), DIGITS)
    assert parsed.records == 40


def test_guide__lines_of_json__are_records():
    with_class, tokens = re.findall(r'`(\{"inputs".*?\})`', SECTION)

    assert parse_jsonl(with_class.encode(), classification((3,), 4, max_records=1, max_bytes=99)).records == 1
    assert json.loads(tokens)["inputs"] == [17, 4, 211]
