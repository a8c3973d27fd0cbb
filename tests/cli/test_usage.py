"""Words that make no sense to any command are refused in one line, before anything is opened."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.cli.commands import Zygote, command, environment, validator
from tests.cli.tree import ADDRESS, OR_AN_OPTION, POSITIONS, commands, groups, line, valued

BAD_VALUES = [
    (["devchain", "--port", "http"], "--port"),
    (["devchain", "--port", "65536"], "--port"),
    (["devchain", "--port", "-1"], "--port"),
    (["devchain", "--block-seconds", "soon"], "--block-seconds"),
    (["devchain", "--block-seconds", "0"], "--block-seconds"),
    (["devchain", "--block-seconds", "nan"], "--block-seconds"),
    (["demo", "--seed", "-1"], "--seed"),
    (["demo", "--seed", "4294967296"], "--seed"),
    (["demo", "--seed", "1.5"], "--seed"),
    (["exact", "self-test", "--device", "tpu"], "--device"),
    (["exact", "self-test", "--device", "cuda:x"], "--device"),
    (["content", "gc", "--grace", "-1"], "--grace"),
    (["content", "gc", "--grace", "soon"], "--grace"),
    (["init", "--set", "port"], "NAME=VALUE"),
    (["init", "--set", "home=/"], "--set home=/"),
    (["init", "--set", "prot=1"], "--set prot=1"),
    (["restore", "no-such-folder"], "no-such-folder"),
    (["restore", __file__], "is a file"),
    (["join", "0"], "stake"),
    (["join", "much"], "stake"),
    (["join", "1e18"], "stake"),
    (["join", str(2**128)], "stake"),
    (["run", "--port", "65536"], "--port"),
    (["run", "--port", "x"], "--port"),
    (["web", "--port", "0"], "--port"),
    (["contribute", "no-such-file"], "no-such-file"),
    (["contribute", ".", "--skip", "-1"], "--skip"),
    (["contribute", ".", "--take", "0"], "--take"),
    (["contribute", ".", "--documents", "pages"], "--documents"),
    (["contribute", ".", "--tokenizer", "no-such-file"], "no-such-file"),
    (["convert", "no-such-file", "--out", "out"], "no-such-file"),
    (["convert", "."], "--out"),
    (["convert", ".", "--out", "out", "--skip", "-1"], "--skip"),
    (["convert", ".", "--out", "out", "--take", "0"], "--take"),
    (["convert", ".", "--out", "out", "--take", "all"], "--take"),
    (["convert", ".", "--out", "out", "--documents", "pages"], "--documents"),
    (["convert", ".", "--out", "out", "--tokenizer", "no-such-file"], "no-such-file"),
    (["convert", ".", "--out", "out", "--tokenizer", "."], "directory"),
    (["convert", ".", "--out", "out", "--manifest", "no-such-file"], "no-such-file"),
    (["convert", ".", "--out", "out", "--manifest", "."], "directory"),
    (["convert", ".", "--out", "."], "--out"),
    (["score", "0"], "contribution"),
    (["score", "-1"], "-1"),
    (["score", "first"], "contribution"),
    (["score"], "--mine"),
    (["score", "1", "--mine"], "--mine"),
    (["score", "--account", "me"], "'me' is not an address"),
    (["claim", "me"], "'me' is not an address"),
    (["claim", ADDRESS[:-1]], "not an address"),
    (["claim", ADDRESS[2:]], "not an address"),
    (["claim", ADDRESS[:-1] + "b"], "not an address"),  # one digit off: the checksum tells
    (["claim", "0x" + "0" * 40], "zero address"),
    (["audit", "0"], "ROUND"),
    (["audit", "last"], "'last'"),
    (["audit", "round", "last"], "ROUND"),
    (["audit", "--level", "1"], "ROUND"),
    (["audit", "-1"], "-1"),
    (["audit", "grant", "1", "--out", "out", "--hpke-key", "0x12"], "no HPKE key"),
    (["audit", "1", "--grant", "no-such-file"], "no-such-file"),
    (["audit", "5-1"], "ROUND"),
    (["audit", "1,,2"], "ROUND"),
    (["audit", "1", "--all"], "--all"),
    (["audit", "1-2", "--grant", __file__], "--grant"),
    (["audit", "1", "--from-chain"], "--from-chain"),
    (["audit", "verify-report", "no-such-file"], "no-such-file"),
    (["audit", "1", "--level", "0"], "--level"),
    (["audit", "1", "--level", "5"], "--level"),
    (["audit", "1", "--level", "deep"], "--level"),
    (["dao", "init"], "--dev-tokens"),
    (["dao", "init", "--stake-token", ADDRESS], "--reward-token"),
    (["dao", "init", "--stake-token", ADDRESS, "--dev-tokens"], "--dev-tokens"),
    (["dao", "init", "--stake-token", ADDRESS, "--reward-token", ADDRESS, "--dev-tokens"], "--dev-tokens"),
    (["dao", "init", "--stake-token", "STK", "--reward-token", ADDRESS], "'STK' is not an address"),
    (["dao", "init", "--stake-token", ADDRESS, "--reward-token", "0x"], "'0x' is not an address"),
    (["dao", "init", "--dev-tokens", "--parameters", "no-such-file"], "no-such-file"),
    (["dao", "init", "--dev-tokens", "--parameters", "."], "directory"),
    (["dao", "publish", "no-such-folder"], "no-such-folder"),
    (["dao", "check", "no-such-folder"], "no-such-folder"),
    (["dao", "check", ".", "--contributions", "0"], "--contributions"),
    (["dao", "check", ".", "--contributions", "many"], "--contributions"),
    (["dao", "check", ".", "--records", "0"], "--records"),
    (["dao", "check", ".", "--threads", "0"], "--threads"),
    (["dao", "admit", "validator-1"], "'validator-1' is not an address"),
    (["dao", "admit", "0x" + "g" * 40], "not an address"),
    (["dao", "admit", "0x" + "0" * 40], "zero address"),
    (["dao", "grant", "auditor"], "'auditor' is not an address"),
    (["dao", "grant", ADDRESS, "--hpke-key", "0x11"], "64 hex digits"),
    (["dao", "grant", ADDRESS, "--hpke-key", ""], "64 hex digits"),
    (["dao", "grant", ADDRESS, "--hpke-key", "0x" + "11" * 33], "64 hex digits"),
    (["dao", "grant", ADDRESS, "--hpke-key", "zz" * 32], "64 hex digits"),
    (["dao", "grant", ADDRESS, "--epoch", "0"], "--epoch"),
    (["dao", "grant", ADDRESS, "--epoch", "all"], "--epoch"),
    (["dao", "fund", "0"], "amount"),
    (["dao", "fund", "-5"], "-5"),
    (["dao", "fund", "1.5"], "amount"),
    (["dao", "fund", str(2**128)], "amount"),
    (["dao", "collect", "0"], "ROUND"),
    (["dao", "mint", ADDRESS, "1"], "--token"),
    (["dao", "mint", ADDRESS, "1", "--token", "gold"], "--token"),
    (["dao", "mint", ADDRESS, "0", "--token", "stake"], "amount"),
    (["dao", "mint", "me", "1", "--token", "stake"], "'me' is not an address"),
    (["dao", "set-parameters", "no-such-file"], "no-such-file"),
    (["top-up", "0"], "amount"),
    (["settle", "0"], "contribution"),
    (["charge-unrevealed", "0"], "ROUND"),
    (["prove-equivocation", "no-such-file", "no-such-file"], "no-such-file"),
    (["keys", "import", "no-such-file"], "no-such-file"),
    (["keys", "protection-import", "no-such-file"], "no-such-file"),
    (["keys", "protection-import", "."], "directory"),
    (["keys", "protection-rebuild"], "--no-other-machine"),
    (["vana", "score", "0"], "FILE"),
    (["vana", "score", "first"], "FILE"),
    (["vana", "reward", str(2**63)], "FILE"),
    (["vana", "rebuild-history"], "--no-other-machine"),
]


def test_commands__required_arguments__are_those_the_tests_know():
    required = {
        words
        for words, found in commands().items()
        if any(parameter.param_type_name == "argument" and parameter.required for parameter in found.params)
    }
    assert required | OR_AN_OPTION == POSITIONS.keys()


@pytest.mark.parametrize("words", groups(), ids=" ".join)
def test_group__alone__shows_its_commands_and_fails(run: Zygote, words: tuple[str, ...]):
    outcome = run(*words)
    assert outcome.code == 2
    assert outcome.err == ""
    assert all(known[len(words)] in outcome.out for known in commands() if known[: len(words)] == words)


@pytest.mark.parametrize("words", groups(), ids=" ".join)
def test_group__unknown_command__is_refused(run: Zygote, words: tuple[str, ...]):
    assert "'frobnicate'" in run(*words, "frobnicate").refused(2)


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_command__unknown_option__is_refused(run: Zygote, file: str, folder: Path, words: tuple[str, ...]):
    assert "--frobnicate" in run(*line(words, "--frobnicate", file=file, folder=str(folder))).refused(2)


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_command__one_argument_too_many__is_refused(run: Zygote, file: str, folder: Path, words: tuple[str, ...]):
    more = [ADDRESS] if words == ("claim",) else []  # which takes one, if it is given one
    assert "surplus" in run(*line(words, *more, "surplus", file=file, folder=str(folder))).refused(2)


@pytest.mark.parametrize("words", sorted(POSITIONS.keys() - OR_AN_OPTION), ids=" ".join)
def test_command__required_argument_missing__is_refused(run: Zygote, words: tuple[str, ...]):
    assert "Missing argument" in run(*words).refused(2)


@pytest.mark.parametrize(("words", "option"), valued(), ids=lambda part: part if isinstance(part, str) else None)
def test_option__value_missing__is_refused(run: Zygote, file: str, folder: Path, words: tuple[str, ...], option: str):
    assert option in run(*line(words, option, file=file, folder=str(folder))).refused(2)


@pytest.mark.parametrize(
    ("arguments", "named"), BAD_VALUES, ids=lambda part: " ".join(part)[:50] if isinstance(part, list) else ""
)
def test_value__makes_no_sense__is_refused_by_name(run: Zygote, arguments: list[str], named: str):
    assert named in run(*arguments).refused(2)


@pytest.mark.parametrize("arguments", [["frobnicate"], ["score", "first"], ["keys", "show"]], ids=" ".join)
def test_validator__as_a_shell_starts_it__refuses_in_one_line(folder: Path, arguments: list[str]):
    outcome = validator(folder, *arguments)
    outcome.refused(outcome.code)
    assert outcome.code in (1, 2)


def test_help__of_the_whole__names_every_command(run: Zygote):
    told = run("--help").answered()
    assert all(words[0] in told for words in commands())


def test_output__reader_goes_away__ends_without_a_traceback(folder: Path):
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        command("--help"), stdout=writer, stderr=subprocess.PIPE, cwd=folder, env=environment(folder), check=False
    )
    os.close(writer)
    assert b"Traceback" not in done.stderr
    assert done.returncode != 0
