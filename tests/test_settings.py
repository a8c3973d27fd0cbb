from __future__ import annotations

from pathlib import Path

import pytest

from validator.settings import SettingsError, load_settings


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in [name for name in os.environ if name.startswith("VALIDATOR_")]:
        monkeypatch.delenv(name)


def test_load__argument_environment_file__win_in_that_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "validator.toml").write_text('rpc = "http://file"\nport = 1\nhost = "file"\n')
    monkeypatch.setenv("VALIDATOR_RPC", "http://environment")
    monkeypatch.setenv("VALIDATOR_PORT", "2")
    settings = load_settings(tmp_path, rpc="http://argument", host=None)
    assert (settings.rpc, settings.port, settings.host) == ("http://argument", 2, "file")


def test_load__home_from_the_environment__names_the_file_to_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "validator.toml").write_text('rpc = "http://file"\n')
    monkeypatch.setenv("VALIDATOR_HOME", str(tmp_path))
    assert load_settings().rpc == "http://file"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("rpc = ", "not TOML"),
        ("nonsense = 1\n", "nonsense"),
        ('port = "many"\n', "port"),
        ("poll_seconds = 0\n", "poll_seconds"),
        ('contract = "0x12"\n', "contract"),
        ('finality = "soon"\n', "finality"),
    ],
)
def test_load__broken_file__names_the_option_in_one_line(tmp_path: Path, text: str, words: str):
    (tmp_path / "validator.toml").write_text(text)
    with pytest.raises(SettingsError, match=words) as caught:
        load_settings(tmp_path)
    assert "\n" not in str(caught.value)


def test_load__misspelt_name_in_the_environment__is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("VALIDATOR_CONTRAKT", "0x")
    with pytest.raises(SettingsError, match="VALIDATOR_CONTRAKT"):
        load_settings(tmp_path)


def test_load__empty_value_in_the_environment__counts_as_not_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("VALIDATOR_PORT", "")
    assert load_settings(tmp_path).port == 0


def test_password__from_a_file__without_its_newline(tmp_path: Path):
    (tmp_path / "secret").write_text("correct horse \n")
    assert load_settings(tmp_path, password_file=tmp_path / "secret").password() == "correct horse "


def test_password__missing_file__says_which(tmp_path: Path):
    with pytest.raises(SettingsError, match="password"):
        load_settings(tmp_path).password()


@pytest.mark.parametrize(
    ("spec", "expected"),
    [("local:store", "local:{}/store"), ("local:/abs", "local:/abs"), ("kubo:http://x", "kubo:http://x")],
)
def test_content_spec__relative_local_path__is_under_the_home(tmp_path: Path, spec: str, expected: str):
    assert load_settings(tmp_path, content=spec).content_spec() == expected.format(tmp_path)


def test_entry__no_contract__says_what_to_set(tmp_path: Path):
    with pytest.raises(SettingsError, match="VALIDATOR_CONTRACT"):
        load_settings(tmp_path).entry()


@pytest.mark.parametrize("written", ['rpc = ["http://a", "http://b"]', 'rpc = "http://a, http://b"'])
def test_load__several_endpoints__are_a_list_or_separated_by_commas(tmp_path: Path, written: str):
    (tmp_path / "validator.toml").write_text(written)
    assert load_settings(tmp_path).rpc_urls() == ["http://a", "http://b"]


def test_rpc_urls__from_a_file__one_a_line_and_their_keys_are_secrets(tmp_path: Path):
    (tmp_path / "rpc").write_text("https://a/v3/0123456789abcdef0123\n\nhttp://b, http://c\n")
    settings = load_settings(tmp_path, rpc_file=tmp_path / "rpc")
    assert settings.rpc_urls() == ["https://a/v3/0123456789abcdef0123", "http://b", "http://c"]
    assert "0123456789abcdef0123" in settings.secrets()


def test_rpc_urls__argument_beside_a_file__wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "rpc").write_text("http://file")
    monkeypatch.setenv("VALIDATOR_RPC_FILE", str(tmp_path / "rpc"))
    assert load_settings(tmp_path).rpc_urls() == ["http://file"]
    assert load_settings(tmp_path, rpc="http://argument").rpc_urls() == ["http://argument"]


@pytest.mark.parametrize("content", [None, b"\xff"])
def test_rpc_urls__file_cannot_be_read__says_which(tmp_path: Path, content: bytes | None):
    if content is not None:
        (tmp_path / "rpc").write_bytes(content)
    with pytest.raises(SettingsError, match=r"rpc: .*VALIDATOR_RPC_FILE"):
        load_settings(tmp_path, rpc_file=tmp_path / "rpc").rpc_urls()
