"""What can be proven of image and network without an engine: every name in them exists, every command runs."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from fnmatch import fnmatch
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cli.commands import environment, validator
from validator.actions.connect import open_node, open_view
from validator.chain.devchain import DevChain
from validator.content import open_store
from validator.settings import Settings, load_settings
from validator.stages.round import tick

ROOT = Path(__file__).resolve().parents[2]
DOCKER = ROOT / "docker"
COMPOSE: dict[str, Any] = yaml.safe_load((DOCKER / "compose.local.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OPTIONS = {f"VALIDATOR_{name.upper()}" for name in Settings.model_fields}
EACH_SERVICE = pytest.mark.parametrize("name", SERVICES)


def instructions(text: str) -> list[tuple[str, str]]:
    """(instruction, rest) of a Dockerfile, continued lines joined, comments left out."""
    plain = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    lines = plain.replace("\\\n", " ").splitlines()
    return [(line.split()[0].upper(), line.split(maxsplit=1)[1].strip()) for line in lines if line.strip()]


DOCKERFILE = instructions((DOCKER / "Dockerfile").read_text())


def stage(name: str) -> list[tuple[str, str]]:
    """The instructions that make a stage, with those of the stages that it is built from."""
    starts = [index for index, (word, _) in enumerate(DOCKERFILE) if word == "FROM"]
    for start, end in zip(starts, [*starts[1:], len(DOCKERFILE)], strict=True):
        base, _, own = DOCKERFILE[start][1].partition(" AS ")
        if own == name:
            return [*stage(base), *DOCKERFILE[start + 1 : end]]
    return []


def last_user(name: str) -> str:
    return [rest for word, rest in stage(name) if word == "USER"][-1]


# The image


def test_dockerfile__base_images__are_pinned_by_tag():
    stages = {rest.partition(" AS ")[2] for word, rest in DOCKERFILE if word == "FROM"}
    bases = {rest.split()[0] for word, rest in DOCKERFILE if word == "FROM"} - stages
    assert bases == {"python:3.11-slim-bookworm"}


@pytest.mark.parametrize("name", ["validator", "local"])
def test_dockerfile__what_runs__is_not_root_and_has_a_health_check(name: str):
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", last_user(name))
    words = [word for word, _ in stage(name)]
    assert "HEALTHCHECK" in words
    assert dict(stage(name))["STOPSIGNAL"] == "SIGTERM"


def test_dockerfile__last_stage__is_the_node_without_the_embedded_chain():
    last = [rest for word, rest in DOCKERFILE if word == "FROM"][-1]
    assert last.endswith(" AS validator")
    assert not any("[demo]" in rest for _, rest in stage("validator"))


def test_dockerfile__copies_from_the_repository__exist_and_pass_the_ignore_file():
    patterns = [line for line in (DOCKER / "Dockerfile.dockerignore").read_text().splitlines() if line[:1] == "!"]
    copied = [rest.split()[:-1] for word, rest in DOCKERFILE if word == "COPY" and "--from" not in rest]
    sources = [source for group in copied for source in group]
    assert sources
    for source in sources:
        assert (ROOT / source).exists(), source
        assert any(fnmatch(source, pattern[1:]) for pattern in patterns), source


def test_dockerfile__packages__come_from_nowhere_in_particular_and_are_pinned():
    text = (DOCKER / "Dockerfile").read_text()
    assert not re.search(r"https?://", text)
    installs = [rest for word, rest in DOCKERFILE if word == "RUN" and "pip install" in rest]
    assert len(installs) == 3
    assert all("constraints.txt" in rest and "type=secret,id=pip" in rest for rest in installs)


@pytest.mark.parametrize("name", ["validator", "local"])
def test_dockerfile__environment__names_options_that_exist(name: str):
    named = set(re.findall(r"\b(VALIDATOR_[A-Z_]+)=", " ".join(rest for word, rest in stage(name) if word == "ENV")))
    assert named
    assert named <= OPTIONS


# The local network


@EACH_SERVICE
def test_compose__every_service__is_fenced_in(name: str):
    service = SERVICES[name]
    assert service["user"] == last_user(service["build"]["target"])
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert service["tmpfs"][0].startswith("/tmp:")
    assert "privileged" not in service


@EACH_SERVICE
def test_compose__what_a_service_names__is_declared(name: str):
    service = SERVICES[name]
    assert set(service.get("depends_on", ())) <= SERVICES.keys()
    assert set(service.get("secrets", ())) <= COMPOSE["secrets"].keys()
    assert {volume.split(":")[0] for volume in service.get("volumes", ())} <= COMPOSE["volumes"].keys()
    assert set(service.get("environment", {})) <= OPTIONS
    secret = service.get("environment", {}).get("VALIDATOR_PASSWORD_FILE")
    assert (secret == "/run/secrets/password") == ("password" in service.get("secrets", ()))
    assert (DOCKER / service["build"]["context"]).resolve() == ROOT
    assert (ROOT / service["build"]["dockerfile"]).is_file()


def test_compose__volumes_and_secrets__are_all_used_and_no_secret_is_in_the_repository():
    used = {volume.split(":")[0] for service in SERVICES.values() for volume in service.get("volumes", ())}
    assert used == COMPOSE["volumes"].keys()
    assert {secret for service in SERVICES.values() for secret in service.get("secrets", ())} == {"password"}
    assert (DOCKER / ".gitignore").read_text().split() == [Path(COMPOSE["secrets"]["password"]["file"]).name]


@EACH_SERVICE
def test_compose__folders_that_a_service_mounts__belong_to_its_user_in_the_image(name: str):
    made = " ".join(rest for word, rest in stage("local") if word == "RUN" and "install --directory" in rest).split()
    for volume in SERVICES[name].get("volumes", ()):
        assert volume.split(":")[1] in made


@EACH_SERVICE
def test_compose__environment__makes_settings(name: str, monkeypatch: pytest.MonkeyPatch):
    for option, value in SERVICES[name].get("environment", {}).items():
        monkeypatch.setenv(option, value)
    load_settings()


@EACH_SERVICE
def test_compose__command__is_one_that_the_program_has(name: str, tmp_path: Path):
    service = SERVICES[name]
    if "entrypoint" in service:
        assert service["entrypoint"] == ["python", "/opt/found.py"]
        assert ("COPY", "docker/found.py /opt/found.py") in stage(service["build"]["target"])
        return
    assert "Usage:" in validator(tmp_path, *service["command"], "--help").answered()


def test_compose__ports__are_published_on_loopback_for_who_listens_outside_it():
    published = [port for service in SERVICES.values() for port in service.get("ports", ())]
    listening = {
        service["environment"]["VALIDATOR_PORT"]
        for service in SERVICES.values()
        if service.get("environment", {}).get("VALIDATOR_HOST") == "0.0.0.0"
    }
    assert all(port.startswith("127.0.0.1:") for port in published)
    assert {port.split(":")[-1] for port in published} == listening


# Laid over it: a Kubo daemon in place of the shared folder

OVERLAY: dict[str, Any] = yaml.safe_load((DOCKER / "compose.kubo.yml").read_text())


def test_kubo__daemon__is_pinned_fenced_in_and_published_nowhere():
    kubo = OVERLAY["services"]["kubo"]
    assert re.fullmatch(r"ipfs/kubo:v\d+\.\d+\.\d+", kubo["image"])
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", kubo["user"])
    assert (kubo["read_only"], kubo["cap_drop"], "ports" in kubo) == (True, ["ALL"], False)
    assert "no-new-privileges:true" in kubo["security_opt"]
    assert kubo["network_mode"] == SERVICES["found"]["network_mode"]
    assert [volume.split(":")[0] for volume in kubo["volumes"]] == list(OVERLAY["volumes"])


def test_kubo__network__is_founded_on_it_once_it_is_well():
    found = OVERLAY["services"]["found"]
    assert found["command"][:2] == SERVICES["found"]["command"][:2]
    assert found["depends_on"] == {"kubo": {"condition": "service_healthy"}}
    assert OVERLAY["services"].keys() == {"kubo", "found"}
    content = load_settings(content=found["command"][2]).content_spec()
    assert [source.name for source in open_store(content).status()] == ["kubo:127.0.0.1:5001"]


# What runs in it


class _Answer(BaseHTTPRequestHandler):
    status = 200

    def do_GET(self) -> None:
        self.send_response(self.status if self.path == "/live" else 404)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def answering() -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Answer)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def check_health(folder: Path, port: int | None) -> int:
    given = {} if port is None else {"VALIDATOR_PORT": str(port)}
    command = [sys.executable, str(DOCKER / "health.py")]
    return subprocess.run(command, env=environment(folder, given), capture_output=True, check=False).returncode


@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1)])
def test_health__as_the_node_says(
    answering: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, status: int, code: int
):
    monkeypatch.setattr(_Answer, "status", status)
    assert check_health(tmp_path, answering.server_port) == code


def test_health__no_port_is_well_and_no_answer_is_not(tmp_path: Path):
    assert check_health(tmp_path, None) == 0
    assert check_health(tmp_path, 1) == 1


def test_found__on_an_empty_chain__makes_a_network_whose_validators_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "password").write_text("a password for everybody\n")
    given = {"VALIDATOR_PASSWORD_FILE": str(tmp_path / "password")}
    homes, content = tmp_path / "homes", f"local:{tmp_path / 'store'}"
    with DevChain(block_seconds=0.2) as chain:
        words = [str(homes), chain.url, content]
        assert len(words) == len(SERVICES["found"]["command"])
        command = [sys.executable, str(DOCKER / "found.py"), *words]

        def found() -> str:
            done = subprocess.run(
                command, env=environment(tmp_path, given), capture_output=True, text=True, check=False, timeout=120
            )
            assert (done.returncode, done.stderr) == (0, ""), done.stderr
            return done.stdout

        assert "founded: ScoringRounds is 0x" in found()
        assert "founded before" in found()
        monkeypatch.setenv("VALIDATOR_PASSWORD_FILE", str(tmp_path / "password"))
        view = open_view(load_settings(homes / "auditor"))
        assert len(view.contracts.validators.operators()) == 3
        node = open_node(load_settings(homes / "validator-2"), dry_run=False)
        tick(node)
        node.journal.close()
        assert node.identity is not None
        node.identity.protection.close()
