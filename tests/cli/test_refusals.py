"""Against a live DAO: commands that ask for what cannot be had, are not allowed, or are pointed to the wrong place."""

from __future__ import annotations

import shutil
import socket
import sqlite3
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from tests.cli.commands import Outcome, Zygote
from tests.cli.tree import ADDRESS, line, valued
from tests.support import World
from validator.actions.steward import admit
from validator.payload import encode_safetensors

Ask = Callable[..., Outcome]

AUDITOR, ADMITTED, POOR = "auditor", "admitted", "poor"
DEAD = "http://127.0.0.1:1"


@pytest.fixture(scope="session")
def places(world: World, run: Zygote, folder: Path, file: str) -> Iterator[dict[str, str]]:
    """Names that command lines here use in braces."""
    world.add_home(AUDITOR)
    admit(world.wallet, world.add_home(ADMITTED).address)
    token = world.wallet.token(world.wallet.deployment.stake_token)
    world.wallet.sender.send(token.mint(world.keys[ADMITTED].address, 5), intent="mint-five")
    run("keys", "create", "--light", "--home", str(world.folder / POOR)).answered()
    shutil.copy(world.folder / AUDITOR / "validator.toml", world.folder / POOR)
    with socket.create_server(("127.0.0.1", 0)) as taken, NoRpc() as chatter:
        yield {
            **{name: str(world.folder / name) for name in (AUDITOR, ADMITTED, POOR, "steward", "validator-1", "dao")},
            "rpc": world.chain.url,
            "rounds": world.wallet.deployment.rounds,
            "store": f"local:{world.folder / 'store'}",
            "other": world.wallet.deployment.dao,
            "file": file,
            "taken": str(taken.getsockname()[1]),
            "chatter": chatter,
            "none": str(folder / "none"),
        }


class NoRpc:
    """A web server that is no JSON-RPC endpoint."""

    def __enter__(self) -> str:
        class Hello(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.send_response(200)
                self.end_headers()
                self.wfile.write(b"<h1>hello</h1>")

            def log_message(self, format: str, *args: object) -> None:
                """Quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Hello)
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return f"http://127.0.0.1:{self._server.server_port}"

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def ask(run: Zygote, places: dict[str, str]) -> Ask:
    """`ask("score 1 --home {auditor}")`."""

    def call(words: str, *more: str, **env: str) -> Outcome:
        arguments = [word.format_map(places) for word in words.split()]
        return run(*arguments, *(word.format_map(places) for word in more), env=env)

    return call


# Every command that looks at a chain


def complete(words: tuple[str, ...], *more: str) -> list[str]:
    extra = ["--dev-tokens", "--light"] if words == ("dao", "init") else []
    return line(words, *extra, "--home", "{auditor}", *more, file="{file}", folder="{dao}")


def cases(option: str, values: list[tuple[str, str]]) -> list[object]:
    return [
        pytest.param(" ".join(complete(words, option)), value, named, id=f"{' '.join(words)} {value or 'nothing'}")
        for words, _ in valued(option)
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
            ("", "not an http(s) URL"),
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


@pytest.mark.parametrize("words", [words for words, _ in valued("--contract")], ids=" ".join)
def test_contract__not_configured__says_how(ask: Ask, places: dict[str, str], home: Path, words: tuple[str, ...]):
    arguments = line(words, "--home", str(home), "--rpc", "{rpc}", file="{file}", folder="{dao}")
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
    ("audit 1 --level 1 --home {none} --rpc {rpc} --contract {rounds}", "does not have"),
    ("claim --home {auditor}", "nothing to claim"),
    (f"claim {ADDRESS} --home {{auditor}}", "nothing to claim"),
    ("join 1 --home {auditor}", "is not admitted"),
    ("join 6 --home {admitted}", "holds 5 units of the stake token, 6 are needed"),
    ("join 5 --home {admitted}", "stake more"),
    ("join 1 --home {validator-1}", "has joined already"),
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
    address = world.keys[AUDITOR].address
    before = world.w3.eth.get_transaction_count(address)
    path = tmp_path / "payload"
    path.write_bytes(payload)
    assert named in ask("contribute", str(path), "--home", "{auditor}").refused()
    assert world.w3.eth.get_transaction_count(address) == before


def test_contribute__account_without_coin__is_refused(ask: Ask, tmp_path: Path):
    path = tmp_path / "payload"
    path.write_bytes(records())
    assert "does not hold" in ask("contribute", str(path), "--home", "{poor}").refused()


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
