"""Against a live DAO: commands that ask for what cannot be had, are not allowed, or are pointed to the wrong place."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.commands import Ask
from tests.cli.tree import ADDRESS, line, valued

DEAD = "http://127.0.0.1:1"


# Every command that looks at a chain


EXTRA = {
    ("dao", "init"): ("--dev-tokens", "--light"),
    ("keys", "protection-rebuild"): ("--no-other-machine",),
    ("vana", "rebuild-history"): ("--no-other-machine",),
}
PREFLIGHTS = {("check",), ("init",), ("vana", "check")}


def refusing(option: str) -> list[tuple[str, ...]]:
    """Commands with an option, but for the preflights: those go on, and tell in a line of their own."""
    return [words for words, _ in valued(option) if words not in PREFLIGHTS]


def complete(words: tuple[str, ...], *more: str) -> list[str]:
    return line(words, *EXTRA.get(words, ()), "--home", "{auditor}", *more, file="{file}", folder="{dao}")


def cases(option: str, values: list[tuple[str, str]]) -> list[object]:
    return [
        pytest.param(" ".join(complete(words, option)), value, named, id=f"{' '.join(words)} {value or 'nothing'}")
        for words in refusing(option)
        for value, named in values
    ]


@pytest.mark.parametrize(
    ("words", "value", "named"),
    cases(
        "--contract",
        [
            ("0x12", "option contract"),
            (ADDRESS, f"no contract at {ADDRESS}"),
            ("{other}", "is not ScoringRounds"),
        ],
    ),
)
def test_contract__is_not_the_one__is_refused(ask: Ask, words: str, value: str, named: str):
    assert named in ask(words, value).refused()


@pytest.mark.parametrize(
    ("words", "value", "named"),
    cases(
        "--rpc",
        [
            ("", "no RPC address is configured"),
            ("http://[", "not an http(s) URL"),
            ("http://127.0.0.1:99999", "not an http(s) URL"),
            (DEAD, "connection refused"),
        ],
    ),
)
def test_rpc__is_not_to_be_had__is_refused(ask: Ask, words: str, value: str, named: str):
    assert named in ask(words, value).refused()


@pytest.mark.parametrize(
    ("words", "value", "named"),
    cases(
        "--content",
        [
            ("store", "local:PATH, kubo:URL or gateway:URL"),
            ("gateway:nowhere", "not a URL"),
            ("local:{file}/below", "Not a directory"),
        ],
    ),
)
def test_content__is_not_to_be_had__is_refused(ask: Ask, words: str, value: str, named: str):
    assert named in ask(words, value).refused()


@pytest.mark.parametrize(
    ("rpc", "named"),
    [
        ("{chatter}", "not JSON"),
        ("{rpc},{chatter},nonsense", "not an http(s) URL"),
        ("http://somebody:secret@127.0.0.1:1/key/secret?key=secret", "connection refused"),
        ("http://name.invalid", "unknown host"),
    ],
)
def test_rpc__bad_endpoint__is_named_without_its_secrets(ask: Ask, rpc: str, named: str):
    told = ask("score 1 --home {auditor} --rpc", rpc).refused()
    assert named in told
    assert "secret" not in told


@pytest.mark.parametrize("words", refusing("--contract"), ids=" ".join)
def test_contract__not_configured__says_how(ask: Ask, places: dict[str, str], home: Path, words: tuple[str, ...]):
    arguments = line(words, *EXTRA.get(words, ()), "--home", str(home), "--rpc", "{rpc}", file="{file}", folder="{dao}")
    assert "VALIDATOR_CONTRACT" in ask(" ".join(arguments)).refused()


# One command at a time

REFUSALS = [
    ("score 99 --home {auditor}", "contribution 99 is not among"),
    (f"score {10**40} --home {{auditor}}", "is not among"),
    ("score 1 --home {none} --rpc {rpc} --contract {rounds}", "does not have"),
    ("score 1 --home {auditor} --content kubo:http://127.0.0.1:1", "did not answer"),
    ("audit 2 --home {auditor}", "round 2 is not finalised"),
    (f"audit {10**40} --home {{auditor}}", "is not finalised"),
    ("audit 1 --home {auditor} --level 3", "ask the DAO's steward for a grant"),
    ("audit 1 --home {auditor}", "ask the DAO's steward for a grant"),
    ("audit 1 --home {none} --rpc {rpc} --contract {rounds} --content {store}", "validator keys create"),
    ("audit 1 --level 1 --home {auditor} --report {file}", "exists already"),
    ("audit 1 --level 1 --home {none} --rpc {rpc} --contract {rounds} --content {store} --publish", "keys create"),
    ("audit 5-9 --level 1 --home {auditor}", "no such round is finalised; finalised rounds: 1"),
    ("audit verify-report {file} --offline", "the report is refused"),
    ("score --mine --home {auditor}", "has no finalised submission"),
    ("audit 1 --level 1 --home {none} --rpc {rpc} --contract {rounds}", "does not have"),
    ("claim --home {auditor}", "nothing to claim"),
    (f"claim {ADDRESS} --home {{auditor}}", "nothing to claim"),
    ("join 1 --home {auditor}", "is not admitted"),
    ("join 6 --home {admitted}", "holds 5 units of the stake token, 6 are needed"),
    ("join 5 --home {admitted}", "stake more"),
    ("join 1 --home {validator-1}", "has joined already"),
    ("announce https://validator.example.org --home {auditor}", "is not a validator: join first"),
    ("announce https://127.0.0.1:8790 --home {validator-1}", "public address"),
    ("announce http://validator.example.org --home {validator-1}", "must be https"),
    ("content gc --home {auditor}", "start `validator run` first"),
    ("top-up 1 --home {auditor}", "validator"),
    ("top-up 1 --home {validator-1}", "token"),
    ("exit --home {auditor}", "validator"),
    ("withdraw --home {auditor}", "validator"),
    ("withdraw --home {validator-1}", "exit"),
    ("settle 99 --home {auditor}", "99"),
    ("charge-unrevealed 9 --home {auditor}", "there is no round 9"),
    ("charge-unrevealed 1 --home {auditor}", "no commit that was not revealed"),
    ("prove-equivocation {file} {file} --home {auditor}", "{file} is not a signed attestation"),
    ("dao collect 9 --home {auditor}", "9"),
    ("dao set-parameters {file} --home {steward}", "{file} is not TOML"),
    ("dao pause --home {auditor}", "only the DAO's owner"),
    ("dao unpause --home {steward}", "not paused"),
    (f"dao admit {ADDRESS} --home {{auditor}}", "only the DAO's owner"),
    ("dao publish {dao} --light --home {auditor}", "only the DAO's owner"),
    (f"dao grant {ADDRESS} --home {{steward}}", "is no validator"),
    (f"dao grant {ADDRESS} --home {{steward}} --hpke-key 0x{'00' * 32}", "not an X25519 public key"),
    (f"dao grant {ADDRESS} --home {{steward}} --hpke-key 0x{'11' * 32} --epoch 7", "key epoch 7"),
    (f"dao grant {ADDRESS} --home {{auditor}} --hpke-key 0x{'11' * 32}", "key epoch 1"),
    ("dao fund 1 --home {steward}", "tokens"),
    ("dao init --dev-tokens --light --home {steward}", "has founded a DAO already"),
    ("dao init --dev-tokens --light --home {poor}", "send it the difference"),
    (f"dao init --stake-token {ADDRESS} --reward-token {ADDRESS} --home {{auditor}}", "holds no contract"),
    ("dao init --stake-token {other} --reward-token {other} --home {auditor}", "no ERC-20"),
    ("run --home {file}", "{file}"),
    ("run --home {auditor} --port {taken}", "port {taken}"),
    ("web --home {auditor} --port {taken}", "port {taken}"),
    ("web --home {auditor} --host name.invalid", "name.invalid"),
    ("web --home {auditor} --relay", "holds keys, and who signs takes no uploads"),
    ("devchain --port {taken}", "port {taken}"),
]


@pytest.mark.parametrize(("words", "named"), REFUSALS, ids=[words[:60] for words, _ in REFUSALS])
def test_command__asks_for_what_cannot_be__is_refused(ask: Ask, places: dict[str, str], words: str, named: str):
    if words.startswith("run --home {file}"):
        words += " --rpc {rpc} --contract {rounds}"
    assert named.format_map(places) in ask(words, VALIDATOR_LOG_LEVEL="error").refused()


def test_rotate_key__refused_by_the_chain__is_refused_the_same_way_again(ask: Ask):
    for _ in range(2):  # the secret that the first try saved is not in the way of the second
        assert "only the DAO's owner" in ask("dao rotate-key --light --home {auditor}").refused()


def test_score__finality_out_of_reach__knows_of_nothing(ask: Ask):
    assert "not among the finalised" in ask("score 1 --home {auditor}", VALIDATOR_FINALITY="9999").refused()


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("deposit", "is not TOML"),
        ("deposits = 1", "no parameter is called deposits"),
        ("deposit = -1", "deposit must be an integer"),
        ("deposit = 1.5", "deposit must be an integer"),
        ("deposit = true", "deposit must be an integer"),
        (f"deposit = {2**128}", "deposit must be an integer"),
        ("slash_bps = 65536", "slash_bps must be an integer"),
        ("exit_seconds = 1", "exitSeconds is out of its range"),
        ("max_contributions = 0", "maxContributions is out of its range"),
    ],
)
def test_dao_init__parameter_out_of_range__is_named(ask: Ask, tmp_path: Path, text: str, named: str):
    path = tmp_path / "parameters.toml"
    path.write_text(text)
    assert named in ask("dao init --dev-tokens --light --home {auditor} --parameters", str(path)).refused()


# A node that cannot start


def forget_history(home: Path) -> None:
    (home / "protection.sqlite").unlink()


def lose_key(home: Path) -> None:
    (home / "keys" / "hpke.json").unlink()


def mistype_password(home: Path) -> None:
    (home / "password").write_text("guess")


def damage_journal(home: Path) -> None:
    for path in home.glob("journal.sqlite*"):
        path.unlink()
    (home / "journal.sqlite").write_bytes(b"no database" * 500)


def block_journal(home: Path) -> None:
    for path in home.glob("journal.sqlite*"):
        path.unlink()
    (home / "journal.sqlite").mkdir()


def newer_journal(home: Path) -> None:
    with sqlite3.connect(home / "journal.sqlite") as journal:
        journal.execute("PRAGMA user_version = 1000")


@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        (forget_history, "protection.sqlite is missing"),
        (lose_key, "hpke.json is missing"),
        (mistype_password, "password for the keystore"),
        (damage_journal, "journal.sqlite"),
        (block_journal, "journal.sqlite"),
        (newer_journal, "newer release"),
    ],
)
def test_run__home_is_not_whole__does_not_start(
    ask: Ask, places: dict[str, str], tmp_path: Path, spoil: Callable[[Path], None], named: str
):
    home = Path(shutil.copytree(places["validator-1"], tmp_path / "home"))
    spoil(home)
    assert named in ask("run", "--home", str(home)).refused()


@pytest.mark.parametrize("spoil", [damage_journal, block_journal])
def test_wallet__journal_is_damaged__is_refused(
    ask: Ask, places: dict[str, str], tmp_path: Path, spoil: Callable[[Path], None]
):
    home = Path(shutil.copytree(places["auditor"], tmp_path / "home"))
    spoil(home)
    assert "journal.sqlite" in ask("claim", "--home", str(home)).refused()
