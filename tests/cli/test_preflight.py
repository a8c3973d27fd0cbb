"""`validator check`: what it says of a sound home beside its running node, and of everything that can be wrong."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cli.commands import Outcome, Zygote
from tests.cli.conftest import ADMITTED
from tests.support import World
from validator.chain.signer import create_keystore
from validator.journal import SigningProtection
from validator.journal.interchange import FORMAT, UNKNOWN
from validator.stages.round import tick

NAME = "validator-1"


def lines(outcome: Outcome, code: int) -> dict[str, dict[str, str]]:
    """The lines of a `--json` run by name."""
    assert outcome.code == code, outcome
    assert outcome.err == ""
    answer = json.loads(outcome.out)
    assert answer["ok"] is (code == 0)
    assert answer["fail"] == sum(line["state"] == "fail" for line in answer["lines"])
    for line in answer["lines"]:
        assert bool(line["cure"]) is (line["state"] != "pass"), line
    return {line["check"]: line for line in answer["lines"]}


def failures(outcome: Outcome) -> dict[str, str]:
    return {name: line["found"] for name, line in lines(outcome, 1).items() if line["state"] == "fail"}


@pytest.fixture
def copy(world: World, tmp_path: Path) -> Path:
    """The validator's home, to be broken."""
    return Path(shutil.copytree(world.folder / NAME, tmp_path / "home"))


@pytest.fixture
def check(run: Zygote, copy: Path) -> Callable[..., Outcome]:
    def ask(*more: str, **env: str) -> Outcome:
        return run("check", "--json", "--home", str(copy), *more, env=env)

    return ask


@pytest.fixture
def running(world: World) -> Iterator[None]:
    """The validator's node holds its home open, and works."""
    node = world.node(NAME)
    tick(node)
    yield
    node.close()


def test_check__home_of_a_running_node__passes_and_tells_everything(run: Zygote, world: World, running: None):
    said = lines(run("check", "--json", "--home", str(world.folder / NAME)), 0)
    warned = {name for name, line in said.items() if line["state"] == "warn"}
    assert warned <= {"RPC", "disk of home", "disk of content"}
    expected = {
        "account key": world.keys[NAME].address,
        "HPKE key": world.keys[NAME].hpke_key.hex(),
        "content store": "keeps and returns",
        "exact self-test": "certified",
        "contracts": world.wallet.deployment.rounds,
        "manifest": "version 1: exact",
        "membership": "",
        "keys and chain": "this home's",
        "stake": "weight",
        "gas": "enough for about",
        "key grants": "key epoch 1 opens",
        "signing history": "sound: 1 entries",
        "signing history and chain": "all 1 attestations",
        "clock": "evenly",
        "clock and chain": "newest block",
        "GPU": "",
        "memory": "GiB",
        "transactions": "under way",
    }
    for name, words in expected.items():
        if words:
            assert words in said[name]["found"], said[name]
    assert "chain 1337" in next(line["found"] for name, line in said.items() if name.startswith("RPC 0"))


def test_check__for_people__is_one_line_a_question_and_a_sum(run: Zygote, world: World):
    out = run("check", "--home", str(world.folder / NAME)).answered().splitlines()
    assert out[0].startswith("pass  account key: 0x")
    assert out[-1].endswith("0 failed")


def lose_history(home: Path, world: World) -> None:
    (home / "protection.sqlite").unlink()


def empty_history(home: Path, world: World) -> None:
    (home / "protection.sqlite").unlink()
    SigningProtection(home / "protection.sqlite", create=True).close()


def damaged_history(home: Path, world: World) -> None:
    (home / "protection.sqlite").write_bytes(b"no database" * 500)


def wrong_password(home: Path, world: World) -> None:
    (home / "password").write_text("guess\n")


def other_signing_key(home: Path, world: World) -> None:
    create_keystore(home / "keys/signing.json", b"\x07" * 32, (home / "password").read_text().strip(), light=True)


def other_hpke_key(home: Path, world: World) -> None:
    (home / "keys/hpke.json").unlink()
    create_keystore(home / "keys/hpke.json", b"\x07" * 32, (home / "password").read_text().strip(), light=True)


# Several things at once: each run tests the whole machine, which takes its time. They must not hide each other.
@pytest.mark.parametrize(
    ("spoil", "environment", "told"),
    [
        (
            [wrong_password, lose_history],
            {"VALIDATOR_CONTENT": "gateway:http://127.0.0.1:9"},
            {
                "keys": "password for the keystore",
                "signing history": "is missing",
                "content store": "gateway:http://127.0.0.1:9",
            },
        ),
        (
            [empty_history, other_signing_key],
            {"VALIDATOR_CONTENT": "local:/dev/null"},
            {
                "signing history and chain": "1 attestations that it does not know, first round 1",
                "keys and chain": "this home signs as",
                "content store": "cannot use /dev/null",
            },
        ),
        (
            [damaged_history, other_hpke_key],
            {},
            {"signing history": "is damaged", "keys and chain": "another one than this home's"},
        ),
        (
            [],
            {"VALIDATOR_SIGNER_URL": "http://127.0.0.1:9", "VALIDATOR_SIGNER_ADDRESS": "0x" + "5" * 40},
            {"keys": "connection refused"},
        ),
        (
            [],
            {
                "VALIDATOR_SIGNING_ADDRESS": "0x" + "5" * 40,
                "VALIDATOR_RPC": "http://127.0.0.1:9/v3/secret-key-0123456789",
            },
            {
                "keys": "a remote signer needs signer_url",
                "RPC 0 http://127.0.0.1:9/…": "connection refused",
                "contracts": "connection refused",
            },
        ),
    ],
)
def test_check__what_is_wrong__fails_with_the_cure_and_hides_nothing_else(
    check: Callable[..., Outcome],
    copy: Path,
    world: World,
    places: dict[str, str],
    spoil: list[Callable[[Path, World], None]],
    environment: dict[str, str],
    told: dict[str, str],
):
    for damage in spoil:
        damage(copy, world)
    found = failures(check(**environment))
    for name, words in told.items():
        assert words in found[name]
    assert set(found) == set(told)
    assert "secret-key" not in str(found)


def test_check__admitted_but_not_joined__is_a_warning_with_the_command(run: Zygote, places: dict[str, str]):
    said = lines(run("check", "--json", "--home", places[ADMITTED]), 0)
    assert said["membership"]["cure"] == "`validator join STAKE`"
    assert said["key grants"]["state"] == "warn"


def test_check__home_without_anything__warns_of_keys_and_fails_without_a_dao(run: Zygote, tmp_path: Path):
    said = lines(run("check", "--json", "--home", str(tmp_path), "--rpc", "http://127.0.0.1:9"), 1)
    assert said["keys"]["state"] == "warn"
    assert "no DAO is configured" in said["DAO"]["found"]


def test_check__attempts_are_blocked__are_counted(check: Callable[..., Outcome], copy: Path, world: World):
    history = SigningProtection(copy / "protection.sqlite")
    document = json.loads(history.export())
    entry = {**document["signatures"][0], "round": 9, "digest": None}
    history.merge(json.dumps({"format": FORMAT, "signatures": [entry]}).encode())
    history.close()
    assert bytes(32) == UNKNOWN
    assert "2 entries, 1 of them blocked" in lines(check(), 0)["signing history"]["found"]
