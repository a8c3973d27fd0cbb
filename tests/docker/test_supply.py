"""What is shipped: lock files that follow from the constraints, and nothing that fetches anything behind pip's back."""

from __future__ import annotations

import ast
import importlib.machinery
import importlib.util
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.docker.files import DOCKER, ROOT

SCRIPT = ROOT / "scripts" / "supply-chain"
LOCKS = ("requirements.lock", "demo.lock")
ENTRY = re.compile(r"^([a-z0-9-]+)==(\S+) \\\n    --hash=sha256:([0-9a-f]{64})$", re.MULTILINE)
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())


@pytest.fixture(scope="module")
def script() -> ModuleType:
    loader = importlib.machinery.SourceFileLoader("supply_chain", str(SCRIPT))
    spec = importlib.util.spec_from_loader("supply_chain", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def locked(name: str) -> dict[str, str]:
    return {package: version for package, version, _ in ENTRY.findall((DOCKER / name).read_text())}


@pytest.mark.parametrize("name", LOCKS)
def test_lock__every_entry__has_the_constraint_s_version_and_a_hash(script: ModuleType, name: str):
    text = (DOCKER / name).read_text()
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert len(lines) == 2 * len(ENTRY.findall(text)) > 0
    pins = script.pins()
    assert {package: pins[package] for package in locked(name)} == locked(name), "run `scripts/supply-chain lock`"


def test_lock__both__are_the_closure_of_what_the_project_declares(script: ModuleType):
    node = (script.closure() | {script.BUILD}) - {script.APART}
    assert locked("requirements.lock").keys() == node, "run `scripts/supply-chain lock`"
    assert locked("demo.lock").keys() == script.closure("demo") - node - {script.APART}


def test_constraints__every_declared_dependency__is_pinned(script: ModuleType):
    declared = [*PROJECT["project"]["dependencies"]]
    declared += [each for part in PROJECT["project"]["optional-dependencies"].values() for each in part]
    names = {script.canonical(re.split(r"[<>=!\[ ]", each)[0]) for each in declared} - {script.PROJECT}
    assert names - script.pins().keys() == set()


def test_install__nothing_of_ours__runs_then():
    """No setup.py, no build step, no custom command: installing is unpacking."""
    assert PROJECT["build-system"] == {"requires": ["setuptools>=77"], "build-backend": "setuptools.build_meta"}
    assert not (ROOT / "setup.py").exists()
    assert not (ROOT / "setup.cfg").exists()
    assert set(PROJECT["tool"]["setuptools"]) == {"packages", "package-data"}


FETCHERS = {"from_pretrained", "hf_hub_download", "snapshot_download", "load_state_dict_from_url", "urlretrieve"}


def calls(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            found.add(name)
    return found


def test_run_time__no_file_of_ours__downloads_models_or_data_or_starts_a_package_manager():
    for path in sorted((ROOT / "validator").rglob("*.py")):
        assert not calls(path) & FETCHERS, path
        words = {node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant)}
        assert not words & {"pip", "npm", "curl", "wget", "apt-get"}, path


WATCHED = """
import socket, sys
def refuse(event, args):
    if event in ("socket.connect", "socket.getaddrinfo"):
        raise SystemExit(f"went to the network: {event} {args}")
sys.addaudithook(refuse)
sys.argv = ["validator", *sys.argv[1:]]
from validator.cli import main
main()
"""


@pytest.mark.parametrize("words", [["version", "--json"], ["keys", "create", "--light"]], ids=" ".join)
def test_run_time__commands_that_need_no_chain__touch_no_network(words: list[str], tmp_path: Path):
    home = ["--home", str(tmp_path / "home")] if words[0] == "keys" else []
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, *words, *home], capture_output=True, text=True, check=False, timeout=150
    )
    assert done.returncode == 0, done.stderr


def test_run_time__the_watch_itself__sees_a_connection():
    opened = WATCHED.replace("from validator.cli import main\nmain()", "socket.create_connection(('127.0.0.1', 9))")
    done = subprocess.run([sys.executable, "-c", opened], capture_output=True, text=True, check=False, timeout=60)
    assert "went to the network" in done.stderr


# The tools: they make an environment of their own, so only with --full


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_sbom__of_this_environment__is_valid_cyclonedx_and_names_what_is_installed(tmp_path: Path):
    target = tmp_path / "sbom.json"
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "sbom", str(target), "--python", sys.executable],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    bill = json.loads(target.read_text())
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    assert bill["metadata"]["component"]["name"] == "poc-validator"
    names = {re.sub(r"[-_.]+", "-", each["name"]).lower() for each in bill["components"]}
    assert locked("requirements.lock").keys() <= names
    assert "torch" in names


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_audit__databases_reached_or_not__never_calls_what_it_could_not_ask_clear():
    done = subprocess.run([sys.executable, str(SCRIPT), "audit"], capture_output=True, text=True, check=False)
    if done.returncode == 3:
        assert "NOT audited" in done.stdout
        assert "no all-clear" in done.stdout
        assert "none of them known" not in done.stdout
    else:
        assert done.returncode in (0, 1), done.stderr
        assert ("none of them known to be vulnerable" in done.stdout) is (done.returncode == 0)


def test_audit__answers_of_a_database__become_findings_and_gaps(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """What the tool answers, in its own format; which packages are asked about is ours."""
    everything = list(script.wanted())
    monkeypatch.setattr(script, "install", lambda: None)

    def ask(clear: list[str], bad: dict[str, list[dict[str, Any]]]) -> int:
        monkeypatch.setattr(script, "asked", lambda service: iter([(name, bad.get(name, [])) for name in clear]))
        code = script.audit()
        assert isinstance(code, int)
        return code

    assert ask(everything, {}) == 0
    assert "none of them known" in capsys.readouterr().out
    assert ask(everything, {"rlp": [{"id": "PYSEC-1", "fix_versions": ["9"]}]}) == 1
    assert "vulnerable: rlp PYSEC-1 (fixed in 9)" in capsys.readouterr().out
    assert ask(everything[1:], {}) == 3
    assert f"NOT audited: 1 of {len(everything)} packages ({everything[0]})" in capsys.readouterr().out
