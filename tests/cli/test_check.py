"""`validator dao check` on the demonstration's folder: a table, JSON, and refusals in one line."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.cli.commands import Zygote
from tests.documented import said
from validator.demo.crowd import load_digits, split
from validator.demo.dao import write_folder


@pytest.fixture(scope="session")
def dao(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demonstration's folder, in a hurry: an estimator of few steps."""
    folder = tmp_path_factory.mktemp("check") / "dao"
    write_folder(folder, split(load_digits(), 0), 0, lambda done, total: None)
    text = (folder / "manifest.toml").read_text()
    (folder / "manifest.toml").write_text(text.replace("epochs = 10", "epochs = 1"))
    return folder


def edited(dao: Path, folder: Path, old: str, new: str) -> str:
    copy = Path(shutil.copytree(dao, folder / "dao"))
    text = (copy / "manifest.toml").read_text()
    assert text.count(old) == 1
    (copy / "manifest.toml").write_text(text.replace(old, new))
    return str(copy)


def test_check__demonstration__a_table_and_the_verdict(run: Zygote, dao: Path):
    told = run(*said("dao check manifest-folder", {"manifest-folder": dao})).answered()
    assert "mlp, 4,810 parameters" in told
    assert "round of 100 x 32 records" in told
    assert told.splitlines()[-1] == "a validator can score with this"


def test_check__json__one_object(run: Zygote, dao: Path):
    found = run(
        *said("dao check manifest-folder --contributions 1000 --records 64 --json", {"manifest-folder": dao})
    ).json()
    assert (found["ok"], found["refused"], found["contributions"], found["records"]) == (True, [], 1000, 64)
    assert 0 < found["anchor_present"] < found["present"] < 1
    assert set(found["cost"]) == {"fit", "forward", "gradient", "memory", "opening", "passes", "round", "score"}
    assert len(found["scored"]["raw"]) == 8


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ('family = "mlp"', 'family = "pickle"', "manifest refused: model.family"),
        ('family = "mlp"', 'family = "torch_export"', "the configuration of torch_export is empty"),
        ('family = "mlp"', 'family = "gpt"', "must have exactly the keys context, heads"),
        ("classes = 10\n\n[limits]", "classes = 9\n\n[limits]", "payload.classes is 9"),
        ('maximum = "1"', 'maximum = "0.5"', "anchor: no contributor could bring such records"),
    ],
)
def test_check__folder_that_nobody_could_score_with__is_refused_in_one_line(
    run: Zygote, dao: Path, tmp_path: Path, old: str, new: str, named: str
):
    assert named in run("dao", "check", edited(dao, tmp_path, old, new)).refused()


def test_check__training_ruins_the_model__is_warned_of(run: Zygote, dao: Path, tmp_path: Path):
    told = run("dao", "check", edited(dao, tmp_path, 'learning_rate = "0.1"', 'learning_rate = "0.00001"')).answered()
    assert "warning: training on the anchor alone worsens the objective" in told


def test_check__empty_folder__is_refused(run: Zygote, tmp_path: Path):
    assert "No such file" in run("dao", "check", str(tmp_path)).refused()


def test_check__more_records_than_allowed__are_refused(run: Zygote, dao: Path):
    assert "8 to 128 records, not 129" in run("dao", "check", str(dao), "--records", "129").refused()
