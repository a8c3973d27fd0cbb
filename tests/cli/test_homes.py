"""Homes, passwords, configuration and signing histories that are missing, damaged or in the way."""

from __future__ import annotations

import json
import os
import pty
import select
import shutil
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.commands import SECONDS, Zygote, command, environment
from validator.journal import SigningProtection
from validator.journal.protection import Slot

FORMAT = "poc-signing-protection/1"
ROUNDS, OPERATOR = "0x" + "01" * 20, "0x" + "02" * 20
ENTRY = {"chain_id": 1, "contract": ROUNDS, "validator": OPERATOR, "round": 1, "attempt": 1, "digest": "ab" * 32}


@pytest.fixture
def copy(home: Path, tmp_path: Path) -> Path:
    """A home with keys, to be broken."""
    return Path(shutil.copytree(home, tmp_path / "home"))


def history(**changes: object) -> bytes:
    return json.dumps({"format": FORMAT, "signatures": [{**ENTRY, **changes}]}).encode()


# Keys


def test_keys_create__new_home__makes_private_files_and_tells_the_public_halves(run: Zygote, tmp_path: Path):
    told = run("keys", "create", "--light", "--json", "--home", str(tmp_path / "new")).json()
    assert set(told) == {"address", "hpke_key", "home"}
    names = ("password", "keys/account.json", "keys/hpke.json", "protection.sqlite")
    modes = {name: stat.S_IMODE((tmp_path / "new" / name).stat().st_mode) for name in names}
    assert set(modes.values()) == {0o600}, modes
    shown = run("keys", "show", "--json", "--home", str(tmp_path / "new")).json()
    assert shown == {name: told[name] for name in ("address", "hpke_key")}


@pytest.mark.parametrize("name", ["keys/account.json", "keys/hpke.json", "protection.sqlite"])
def test_keys_create__something_is_there__refuses_and_leaves_all_as_it_was(run: Zygote, copy: Path, name: str):
    for other in {"keys/account.json", "keys/hpke.json", "protection.sqlite"} - {name}:
        (copy / other).unlink()
    before = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    assert f"{name} exists already" in run("keys", "create", "--light", "--home", str(copy)).refused()
    assert {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("words", ["keys create", "keys protection-create", "keys protection-import FILE"])
def test_keys__home_cannot_be_written__refuses_with_the_path(run: Zygote, file: str, words: str):
    sound = Path(file).with_name("sound.json")
    sound.write_bytes(history())
    arguments = [str(sound) if word == "FILE" else word for word in words.split()]
    assert file in run(*arguments, "--home", f"{file}/below").refused()


@pytest.mark.parametrize("words", ["keys show", "keys protection-export", "join 1", "claim", "dao rotate-key"])
def test_command__home_without_keys__says_how_to_make_them(run: Zygote, tmp_path: Path, words: str):
    told = run(*words.split(), "--home", str(tmp_path)).refused()
    assert str(tmp_path) in told
    assert "validator keys" in told


def test_keys_show__home_by_environment__is_taken(run: Zygote, home: Path):
    assert run("keys", "show", "--json", env={"VALIDATOR_HOME": str(home)}).json()["address"].startswith("0x")


@pytest.mark.parametrize(
    ("content", "mode", "named"),
    [
        (b"ab" * 32, 0o644, "chmod 600"),
        (b"", 0o600, "no private key"),
        (b"ab" * 31, 0o600, "no private key"),
        (b"zz" * 32, 0o600, "no private key"),
        (b"\xff" * 64, 0o600, "no private key"),
        (b"00" * 32, 0o600, "secp256k1"),
    ],
)
def test_keys_import__file_holds_no_key_of_ours_alone__makes_no_home(
    run: Zygote, tmp_path: Path, content: bytes, mode: int, named: str
):
    source = tmp_path / "source"
    source.write_bytes(content)
    source.chmod(mode)
    assert named in run("keys", "import", str(source), "--home", str(tmp_path / "home")).refused()
    assert not list(tmp_path.rglob("account.json"))


def test_keys_import__account_exists__is_refused(run: Zygote, file: str, copy: Path):
    assert "exists already" in run("keys", "import", file, "--home", str(copy)).refused()


# Passwords


def wrong(home: Path) -> dict[str, str]:
    (home / "password").write_text("guess\n")
    return {}


def empty(home: Path) -> dict[str, str]:
    (home / "password").write_text("\n")
    return {}


def binary(home: Path) -> dict[str, str]:
    (home / "password").write_bytes(b"\xff\xfe\x00")
    return {}


def gone(home: Path) -> dict[str, str]:
    (home / "password").unlink()
    return {}


def elsewhere(home: Path) -> dict[str, str]:
    return {"VALIDATOR_PASSWORD_FILE": str(home / "no-such-file")}


def folder_instead(home: Path) -> dict[str, str]:
    return {"VALIDATOR_PASSWORD_FILE": str(home)}


@pytest.mark.parametrize("words", ["keys show", "join 1"])
@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        (wrong, "password for the keystore"),
        (empty, "password file is empty"),
        (binary, "not UTF-8"),
        (gone, "VALIDATOR_PASSWORD_FILE"),
        (elsewhere, "no-such-file"),
        (folder_instead, "Is a directory"),
    ],
)
def test_command__password_is_of_no_use__says_why(
    run: Zygote, copy: Path, spoil: Callable[[Path], dict[str, str]], named: str, words: str
):
    environment = spoil(copy)
    assert named in run(*words.split(), "--home", str(copy), env=environment).refused()


@pytest.mark.parametrize("spoil", [empty, binary])
def test_keys_create__password_is_of_no_use__makes_no_key(
    run: Zygote, tmp_path: Path, spoil: Callable[[Path], dict[str, str]]
):
    spoil(tmp_path)
    assert "password" in run("keys", "create", "--light", "--home", str(tmp_path)).refused()
    assert not list(tmp_path.rglob("*.json"))


@pytest.mark.parametrize("name", ["account.json", "hpke.json"])
@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", b"[]", b'{"version": 3}', b"x" * 100_000])
def test_keys_show__keystore_is_damaged__names_the_file(run: Zygote, copy: Path, name: str, content: bytes):
    (copy / "keys" / name).write_bytes(content)
    assert name in run("keys", "show", "--home", str(copy)).refused()


# Configuration


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (b"what is this", "validator.toml is not TOML"),
        (b"\xff", "validator.toml is not TOML"),
        (b"colour = 1", "option colour"),
        (b"port = 'http'", "option port"),
        (b"port = 70000", "option port"),
        (b"finality = 'latest'", "option finality"),
        (b"finality = -1", "option finality"),
        (b"contract = 5", "option contract"),
        (b"contract = '0x12'", "option contract"),
        (b"rpc = 5", "option rpc"),
        (b"poll_seconds = 0", "option poll_seconds"),
        (b"threads = 0", "option threads"),
        (b"log_level = 'loud'", "option log_level"),
        (b"[rpc]\nurl = 'x'", "option rpc"),
    ],
)
def test_configuration__option_makes_no_sense__is_named(run: Zygote, tmp_path: Path, text: bytes, named: str):
    (tmp_path / "validator.toml").write_bytes(text)
    assert named in run("keys", "show", "--home", str(tmp_path)).refused()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "http"),
        ("FINALITY", "latest"),
        ("CONTRACT", "0x12"),
        ("POLL_SECONDS", "nan"),
        ("RPC_TIMEOUT", "-1"),
        ("STAGGER_SECONDS", "long"),
        ("THREADS", "many"),
        ("MAX_FEE_GWEI", "0"),
        ("LOG_FORMAT", "xml"),
        ("LOG_LEVEL", "loud"),
    ],
)
def test_environment__option_makes_no_sense__is_named(run: Zygote, home: Path, name: str, value: str):
    told = run("keys", "show", "--home", str(home), env={f"VALIDATOR_{name}": value}).refused()
    assert f"option {name.lower()}" in told


# Signing histories


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff",
        b"{}",
        b"[]",
        b"[" * 50_000,
        b'{"format": "other/1", "signatures": []}',
        history(digest="00"),
        history(digest="zz" * 32),
        history(digest=5),
        history(digest="00" * 32),
        history(contract="0x01"),
        history(validator="02" * 20),
        history(round=-1),
        history(round=True),
        history(surplus=1),
        b'{"format": "poc-signing-protection/1", "signatures": [], "signatures": []}',
        history(round="first"),
        history(chain_id=2**70),
        history(attempt=-(2**70)),
    ],
)
def test_protection_import__not_a_history__leaves_no_history_behind(run: Zygote, tmp_path: Path, content: bytes):
    source = tmp_path / "source"
    source.write_bytes(content)
    home = tmp_path / "home"
    told = run("keys", "protection-import", str(source), "--home", str(home)).refused()
    assert "not a signing history" in told
    assert not home.exists() or not list(home.iterdir())


def test_protection_import__conflicts_with_ours__is_refused_whole(run: Zygote, tmp_path: Path):
    ours = SigningProtection(tmp_path / "protection.sqlite", create=True)
    ours.register(Slot(1, ROUNDS, OPERATOR, 1, 1), b"7" * 32)
    before = ours.export()
    ours.close()
    source = tmp_path / "source"
    signatures = [{**ENTRY, "round": 7}, ENTRY]
    source.write_text(json.dumps({"format": FORMAT, "signatures": signatures}))
    assert "contradict each other" in run("keys", "protection-import", str(source), "--home", str(tmp_path)).refused()
    assert run("keys", "protection-export", "--home", str(tmp_path)).answered() == before + "\n"


def test_protection__exported_and_imported__is_the_same_history(run: Zygote, tmp_path: Path):
    source = tmp_path / "source"
    source.write_bytes(history())
    for _ in range(2):
        told = run("keys", "protection-import", str(source), "--home", str(tmp_path / "home")).answered()
        assert told == "1 signatures imported\n"
    exported = run("keys", "protection-export", "--home", str(tmp_path / "home")).answered()
    assert json.loads(exported) == json.loads(source.read_bytes())


@pytest.mark.parametrize("words", ["keys protection-export", "keys protection-import SOURCE"])
def test_protection__file_is_damaged__is_refused(run: Zygote, tmp_path: Path, words: str):
    (tmp_path / "protection.sqlite").write_bytes(b"no database" * 500)
    source = tmp_path / "source"
    source.write_bytes(history())
    arguments = [str(source) if word == "SOURCE" else word for word in words.split()]
    assert "protection.sqlite" in run(*arguments, "--home", str(tmp_path)).refused()


def test_protection_create__history_exists__is_refused(run: Zygote, copy: Path):
    assert "exists already" in run("keys", "protection-create", "--home", str(copy)).refused()


# A password that is kept nowhere


def on_terminal(folder: Path, arguments: list[str], typed: list[str]) -> tuple[int, str]:
    """Run `validator ARGUMENTS` on a terminal, and type a line whenever something is asked: exit code and output."""
    child, terminal = pty.fork()
    if child == 0:  # pragma: no cover - the program itself
        os.execve(sys.executable, command(*arguments), environment(folder))
    lines, seen = iter(typed), ""
    try:
        while True:
            ready, _, _ = select.select([terminal], [], [], SECONDS)
            assert ready, f"nothing happens any more after {seen!r}"
            try:
                part = os.read(terminal, 4096).decode()
            except OSError:  # the program has ended, and its terminal with it
                break
            seen += part
            if part.endswith(": "):
                os.write(terminal, next(lines).encode() + b"\n")
    finally:
        os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), seen


def test_keys__password_on_a_terminal__is_asked_for_and_kept_nowhere(folder: Path, run: Zygote, tmp_path: Path):
    home = str(tmp_path / "home")
    create = ["keys", "create", "--light", "--ask-password", "--home", home]
    code, seen = on_terminal(folder, create, ["correct horse", "correct house"])
    assert (code, "the two passwords differ; nothing was made" in seen) == (1, True)
    assert not list((tmp_path / "home").rglob("*.json"))
    code, seen = on_terminal(folder, create, ["correct horse", "correct horse"])
    assert code == 0
    assert "correct" not in seen
    assert not (tmp_path / "home" / "password").exists()
    assert on_terminal(folder, ["keys", "show", "--home", home], ["correct horse"])[0] == 0
    code, seen = on_terminal(folder, ["keys", "show", "--home", home], ["battery staple"])
    assert (code, "password for the keystore" in seen) == (1, True)
    assert "VALIDATOR_PASSWORD_FILE" in run("keys", "show", "--home", home).refused()  # no terminal: it must not hang
    assert "only be asked for on a terminal" in run(*create[:-1], str(tmp_path / "other")).refused()
