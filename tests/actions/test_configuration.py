"""The configuration file that `init` writes: it follows from the settings, and nothing in it can be wrong."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from validator.actions.configuration import SECTIONS, chosen, render, toml
from validator.settings import Settings, load_settings

GUIDE = (Path(__file__).parents[2] / "docs/operator-guide.md").read_text()
OPTIONS = {name: field for name, field in Settings.model_fields.items() if name != "home"}
UNITS = re.compile(r"seconds|GiB|MiB|gwei|blocks|TCP port|[Tt]hreads|workers|wei|Block at|id in", re.IGNORECASE)


def uncommented(text: str) -> str:
    """Every default taken for a choice."""
    return re.sub(r"^#(?=[a-z_]+ = )", "", text, flags=re.MULTILINE)


def test_render__nothing_chosen__changes_nothing(tmp_path: Path):
    (tmp_path / "validator.toml").write_text(render({}))
    assert load_settings(tmp_path) == load_settings(tmp_path / "none").model_copy(update={"home": tmp_path})
    assert tomllib.loads(render({})) == {}


def test_render__every_default_uncommented__is_every_option_with_its_default(tmp_path: Path):
    (tmp_path / "validator.toml").write_text(uncommented(render({})))
    settings = load_settings(tmp_path)
    assert settings.model_fields_set - {"home"} == OPTIONS.keys()
    for name, field in OPTIONS.items():
        if field.default is not None:
            assert getattr(settings, name) == field.default, name


def test_options__each__says_what_it_means_and_numbers_say_their_unit():
    for name, field in OPTIONS.items():
        assert field.description, name
        if field.annotation in (int, float, int | None):
            assert UNITS.search(field.description), f"{name} has no unit: {field.description}"


def test_sections__begin_with_options_that_exist():
    assert SECTIONS.keys() <= OPTIONS.keys()


def test_guide__table_of_options__has_them_all_and_no_other():
    table = GUIDE.partition("| option | default | meaning |")[2].partition("\n\n")[0]
    named = {
        name for row in table.splitlines() for name in re.findall(r"`(\w+)`", row.split("|")[1] if "|" in row else "")
    }
    assert named == Settings.model_fields.keys()


@pytest.mark.parametrize("value", [True, False, 0, 7, 2**53, 0.5, 36.0, "", "http://127.0.0.1:8545"])
def test_toml__a_value__is_read_back_as_it_was(value: object):
    assert tomllib.loads(f"value = {toml(value)}") == {"value": value}


@given(st.text())
def test_toml__any_text__is_read_back_as_it_was(text: str):
    assert tomllib.loads(f"value = {toml(text)}") == {"value": text}


def test_chosen__what_was_given__and_paths_are_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VALIDATOR_RPC", "http://one,http://two")
    settings = load_settings(tmp_path / "home", password_file=Path("secret"), contract=None)
    (tmp_path / "rpc").write_text("http://file")
    monkeypatch.setenv("VALIDATOR_RPC_FILE", "rpc")
    assert chosen(load_settings(tmp_path / "home", rpc="http://one")) == {"rpc": "http://one"}
    monkeypatch.delenv("VALIDATOR_RPC_FILE")
    assert chosen(settings) == {"rpc": "http://one,http://two", "password_file": str(tmp_path / "secret")}
