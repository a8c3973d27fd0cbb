"""Every command that a document shows is one that the program has, with options it takes, and a test runs it."""

from __future__ import annotations

import ast
import re
import shlex

import pytest

from tests.cli.test_guide import commands as prepared
from tests.cli.tree import commands
from tests.documented import DOCUMENTS, ROOT, shown, typed

ELSEWHERE = {
    "./scripts/demo": "tests/e2e/test_demo.py",
    "./scripts/test": "scripts/test",
    "./scripts/bench influence": "tests/benchmarks/test_influence_commands.py",
    "source .venv/bin/activate": "scripts/environment",
    "export VALIDATOR_HOME=": "tests/cli/test_documented.py",
    "python scripts/verify.py ": "tests/integration/test_second_verifier.py",
    "docker compose --file docker/compose.operator.yml ": "tests/docker/test_compose.py",
    "useradd ": "tests/docker/test_installed.py",
    "python3 -m venv /opt/poc-validator": "tests/docker/test_installed.py",
    "/opt/poc-validator/bin/pip install ": "tests/docker/test_installed.py",
    "install ": "tests/docker/test_installed.py",
    "sudo -u validator ": "tests/docker/test_installed.py",
    "systemctl enable ": "tests/docker/test_installed.py",
}
"""Commands of other programs, by how they begin, and what runs them, or holds them to what they set up where only a
machine with a container engine could."""


@pytest.mark.parametrize(("document", "words"), sorted(set(shown())), ids=lambda text: text[:60])
def test_document__each_command__exists_with_its_options(document: str, words: str) -> None:
    given = shlex.split(words.split(" > ")[0].split(" | ")[0], comments=True)
    known = commands()
    named = ("audit", "round") if given[0] == "audit" and ("audit", given[1]) not in known else None
    path = named or next((tuple(given[:size]) for size in (2, 1) if tuple(given[:size]) in known), None)
    assert path is not None, f"{document} shows a command that there is not: {words}"
    options = {option for parameter in known[path].params for option in (*parameter.opts, *parameter.secondary_opts)}
    used = {word.split("=")[0] for word in given if word.startswith("--")}
    assert used <= options | {"--help"}, f"{document} shows options that there are not: {words}"


def test_documents__every_command__is_run_by_a_test() -> None:
    run = {command.removeprefix("validator ") for command, _ in prepared()}
    for file in (ROOT / "tests").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "said":
                assert isinstance(node.args[0], ast.Constant), f"{file.name}: said() takes the command itself"
                run.add(str(node.args[0].value))
    assert sorted({words for _, words in shown()} - run) == []


def test_documents__commands_of_other_programs__are_known_with_what_runs_them() -> None:
    others = {words for _, words in typed() if not words.startswith("validator ")}
    assert {words for words in others if not words.startswith(tuple(ELSEWHERE))} == set()
    assert {start for start in ELSEWHERE if not any(words.startswith(start) for words in others)} == set()
    assert all((ROOT / place).is_file() for place in ELSEWHERE.values())


def test_documents__links_to_each_other__lead_somewhere() -> None:
    for document in DOCUMENTS:
        for target in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name} links to {target}"


def test_documents__what_is_typed_in_a_shell__stands_in_console_blocks_which_are_checked() -> None:
    for document in DOCUMENTS:
        shells = re.findall(r"^```(bash|sh|shell|zsh)$", document.read_text(), re.MULTILINE)
        assert shells == [], f"{document.name} shows commands that nothing checks: make it a console block, with $"
