"""`validator init`: a home out of nothing, as a process, that `check` and `run` then take as it is."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import stat
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cli.commands import Zygote, command, environment, validator
from tests.cli.test_homes import on_terminal
from tests.documented import said
from validator.settings import load_settings

SECONDS = 90


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


@contextmanager
def running(folder: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        command(*arguments), cwd=folder, env=environment(folder), stderr=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def wait_ready(process: subprocess.Popen[str], port: int) -> None:
    deadline = time.monotonic() + SECONDS
    while True:
        assert process.poll() is None, process.communicate()[1]
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=5) as answer:
                assert answer.status == 200
                return
        except (urllib.error.URLError, OSError):
            assert time.monotonic() < deadline, "the node was not ready in time"


def test_init__from_nothing__makes_a_home_that_run_accepts(places: dict[str, str], folder: Path, tmp_path: Path):
    home, port = tmp_path / "home", free_port()
    given = ["--rpc", places["rpc"], "--contract", places["rounds"], "--content", places["store"]]
    told = validator(
        folder, "init", "--light", "--json", "--home", str(home), *given, "--set", f"port={port}", "--set", "threads=2"
    ).json()
    assert (told["new_config"], told["new_keys"]) == (True, True)
    assert told["check"]["fail"] == 1, told["check"]  # of everything: nobody has sent it coin yet
    assert [line["check"] for line in told["check"]["lines"] if line["state"] == "fail"] == ["gas"]
    modes = {
        path.name: stat.S_IMODE(path.stat().st_mode) for path in (home, home / "validator.toml", home / "password")
    }
    assert modes == {"home": 0o700, "validator.toml": 0o600, "password": 0o600}
    settings = load_settings(home)
    assert (settings.port, settings.threads, settings.entry()) == (port, 2, places["rounds"])

    with running(folder, "run", "--home", str(home)) as process:
        wait_ready(process, port)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


def files(home: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in home.rglob("*") if path.is_file() and "store" not in path.parts}


def test_init__keys_are_there__makes_the_configuration(run: Zygote, home: Path, tmp_path: Path):
    copy = Path(shutil.copytree(home, tmp_path / "home"))
    before = files(copy)
    told = run("init", "--json", "--set", "port=7", "--home", str(copy)).json()
    assert (told["new_config"], told["new_keys"], load_settings(copy).port) == (True, False, 7)
    assert before.items() <= files(copy).items()


def test_init__configuration_is_there__makes_keys_once_and_never_overwrites(run: Zygote, tmp_path: Path):
    home = tmp_path / "home"
    home.mkdir()
    (home / "validator.toml").write_text("port = 8\n")
    lines = run("init", "--light", "--home", str(home)).answered().splitlines()
    assert lines[0].endswith("validator.toml was there already, and is left as it was")
    assert any(line.startswith("pass  account key: ") for line in lines)
    assert lines[-1].startswith("the home is made; mend what failed")
    before = files(home)
    again = run("init", "--json", "--home", str(home)).json()
    assert (again["new_config"], again["new_keys"]) == (False, False)
    assert "is not overwritten" in run("init", "--home", str(home), "--set", "port=1").refused()
    assert files(home) == before


@pytest.mark.parametrize("name", ["keys/account.json", "keys/hpke.json"])
def test_init__a_part_of_the_keys_is_missing__refuses_and_makes_nothing(run: Zygote, tmp_path: Path, name: str):
    home = tmp_path / "home"
    run("keys", "create", "--light", "--home", str(home)).answered()
    (home / name).unlink()
    before = files(home)
    told = run("init", "--home", str(home)).refused()
    assert f"lacks {name}" in told
    assert files(home) == before


@pytest.mark.parametrize(("option", "named"), [("port=many", "option port"), ("contract=0x12", "option contract")])
def test_init__a_value_makes_no_sense__refuses_and_makes_nothing(run: Zygote, tmp_path: Path, option: str, named: str):
    home = tmp_path / "home"
    assert named in run("init", "--home", str(home), "--set", option).refused()
    assert not home.exists()


def test_init__password_on_a_terminal__is_asked_for_and_kept_nowhere(folder: Path, tmp_path: Path):
    home = tmp_path / "home"
    code, seen = on_terminal(
        folder, ["init", "--light", "--ask-password", "--home", str(home)], ["correct horse", "correct horse"]
    )
    assert code == 0, seen
    assert "pass  account key" in seen
    assert not (home / "password").exists()


def test_version__as_json__names_every_number_that_others_must_agree_with(run: Zygote):
    told = run("version", "--json").json()
    assert set(told) == {"program", "exact", "influence", "rounds", "schema", "protocol", "python", "torch"}
    assert all(isinstance(told[name], int) and told[name] > 0 for name in ("exact", "influence", "rounds", "schema"))
    assert all(value.rpartition("/")[2].isdigit() for value in told["protocol"].values())
    assert json.dumps(told["protocol"]).count("poc-") == 7
    assert run(*said("version")).answered().startswith(f"poc-validator {told['program']}\n")
