"""`validator check`: what it says of a sound home beside its running node, and of everything that can be wrong."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.cli.commands import Outcome, Zygote
from tests.cli.conftest import ADMITTED
from tests.support import World
from validator.actions.connect import open_view
from validator.actions.preflight import State
from validator.actions.preflight.chain import matching
from validator.actions.preflight.keys import Keys, keys, protection
from validator.actions.preflight.line import answered
from validator.actions.preflight.machine import chain_clock
from validator.actions.preflight.run import _daos, _keys
from validator.chain.signer import LocalSigner, create_keystore
from validator.journal import SigningProtection
from validator.journal.interchange import FORMAT
from validator.settings import load_settings
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
    assert "chain 31337" in next(line["found"] for name, line in said.items() if name.startswith("RPC 0"))


def empty_history(home: Path, world: World) -> None:
    (home / "protection.sqlite").unlink()
    SigningProtection(home / "protection.sqlite", create=True).close()


def damaged_history(home: Path, world: World) -> None:
    (home / "protection.sqlite").write_bytes(b"no database" * 500)


def wrong_password(home: Path, world: World) -> None:
    (home / "password").write_text("guess\n")


def other_signing_key(home: Path, world: World) -> None:
    create_keystore(home / "keys/signing.json", b"\x07" * 32, (home / "password").read_text().strip(), light=True)


# Several things at once: each run tests the whole machine, which takes its time. They must not hide each other.
@pytest.mark.parametrize(
    ("spoil", "environment", "told"),
    [
        (
            [wrong_password, damaged_history],
            {
                "VALIDATOR_CONTENT": "gateway:http://127.0.0.1:9",
                "VALIDATOR_RPC": "http://127.0.0.1:9/v3/secret-key-0123456789",
            },
            {
                "keys": "password for the keystore",
                "signing history": "is damaged",
                "content store": "gateway:127.0.0.1:9 can only be read",
                "RPC 0 http://127.0.0.1:9/…": "connection refused",
                "contracts": "connection refused",
            },
        ),
        (
            [empty_history, other_signing_key],
            {"VALIDATOR_CONTENT": "local:/dev/null"},
            {
                "signing history and chain": "1 attestations that it does not know, first round 1",
                "keys and chain": "this home signs as",
                "content store": "cannot use /dev/null",
                "manifest": "cannot use /dev/null",
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


def test_check__attempts_are_blocked__are_counted_and_people_get_a_line_a_question(
    run: Zygote, copy: Path, world: World
):
    history = SigningProtection(copy / "protection.sqlite")
    document = json.loads(history.export())
    entry = {**document["signatures"][0], "round": 9, "digest": None}
    history.merge(json.dumps({"format": FORMAT, "signatures": [entry]}).encode())
    history.close()
    out = run("check", "--home", str(copy)).answered().splitlines()
    assert out[0] == f"pass  account key: {world.keys[NAME].address} (keystore)"
    assert "pass  signing history: sound: 2 entries, 1 of them blocked" in out
    assert out[-1].endswith("0 failed")


# The questions by themselves


def test_keys__remote_signer_is_gone_or_named_by_half__is_said(world: World):
    options = {"signer_url": "http://127.0.0.1:9", "signer_address": world.keys[NAME].address}
    for chosen, told in (({**options}, "connection refused"), ({"signing_address": "0x" + "5" * 40}, "signer_url")):
        settings = world.home(NAME).model_copy(update=chosen)
        (line,) = (x for x in answered("keys", partial(keys, settings, Keys())) if x.state is State.FAIL)
        assert told in line.found


def test_protection__missing__names_the_ways_to_get_one(tmp_path: Path):
    (line,) = protection(tmp_path / "none.sqlite", Keys(), None, [])
    assert line.state is State.FAIL
    assert "protection-rebuild" in line.cure


@pytest.mark.parametrize(
    ("age", "state", "told"),
    [
        (0, State.PASS, "0 s old"),
        (300, State.PASS, "300 s old"),
        (301, State.FAIL, "301 s old by this machine's clock"),
        (-30, State.PASS, "0 s old"),
        (-31, State.FAIL, "31 s behind the chain's newest block"),
    ],
)
def test_chain_clock__age_of_the_newest_block__is_judged(age: int, state: State, told: str):
    (line,) = chain_clock(1_000_000, 300.0, 1_000_000.0 + age)
    assert (line.state, told in line.found) == (state, True)


def test_membership__other_hpke_key__fails(world: World):
    found = Keys(account=LocalSigner(b"\x01" * 32), attester=LocalSigner(b"\x01" * 32), hpke_secret=b"\x07" * 32)
    view = open_view(world.home(NAME))
    signer = view.contracts.validators.signer_of(world.keys[NAME].address)
    (told,) = matching(signer, world.keys[NAME].hpke_key, found)
    assert "expects signatures by" in told.found
    (told,) = matching(found.operator, world.keys[NAME].hpke_key, found)
    assert "HPKE key on chain is another" in told.found


def test_home__without_anything__warns_of_keys_and_fails_without_a_dao(tmp_path: Path):
    settings = load_settings(tmp_path)
    assert [line.state for line in _keys(settings, Keys())] == [State.WARN]
    (line,) = answered("DAO", partial(_daos, settings, Keys()))
    assert "no DAO is configured" in line.found
