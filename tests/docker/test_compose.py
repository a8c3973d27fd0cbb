"""The compose files: taken by Docker Compose itself, fenced in, and every option, volume and secret in them exists."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cli.commands import Zygote
from tests.docker.files import DOCKER, FILES, GIVEN, OPTIONS, ROOT, Service, compose, last_user, services, stage
from validator.settings import Settings, load_settings

PROJECT: dict[str, Any] = yaml.safe_load((DOCKER / "compose.local.yml").read_text())
OPERATOR: dict[str, Any] = yaml.safe_load((DOCKER / "compose.operator.yml").read_text())
LOCAL = services("compose.local.yml")
EVERY: dict[str, Service] = {**LOCAL, "operator": OPERATOR["services"]["validator"]}
OURS = {name: service for name, service in EVERY.items() if "build" in service}
EACH = pytest.mark.parametrize("name", EVERY)
EACH_OF_OURS = pytest.mark.parametrize("name", OURS)
OF_A_FILE = re.compile(r"/run/secrets/(\w+)")


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """docker/ with secrets in place, inside a copy of what it is built from."""
    made = tmp_path / "docker"
    shutil.copytree(DOCKER, made)
    for name in ("password", "rpc"):
        (made / name).write_text("secret\n")
    return made


def environment(service: Service) -> Mapping[str, str]:
    return service.get("environment", {})


def project(name: str) -> dict[str, Any]:
    return OPERATOR if name == "operator" else PROJECT


# By Docker Compose


@pytest.mark.parametrize("files", FILES.values(), ids=FILES)
def test_compose__docker_compose__takes_it(files: list[str], copied: Path):
    done = compose(files, copied, "config", "--quiet")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("line", "added"), [("services:", "servces:"), ("    restart:", "    restart: [never]\n    xx:")]
)
def test_compose__what_its_schema_does_not_know__is_refused_by_it(copied: Path, line: str, added: str):
    path = copied / "compose.operator.yml"
    text = path.read_text()
    assert line in text
    path.write_text(text.replace(line, added, 1))
    assert compose(["compose.operator.yml"], copied, "config", "--quiet").returncode != 0


@pytest.mark.parametrize("lacking", GIVEN)
def test_operator__a_value_is_not_given__is_refused_with_what_to_set(copied: Path, lacking: str):
    given = {name: value for name, value in GIVEN.items() if name != lacking}
    done = compose(FILES["operator"], copied, "config", "--quiet", given=given)
    assert done.returncode != 0
    assert f"{lacking} is missing a value: set it to" in done.stderr


def test_operator__filled_in__makes_settings(copied: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    done = compose(FILES["gpu"], copied, "config", "--format", "json")
    said = json.loads(done.stdout)["services"]["validator"]
    for option, value in said["environment"].items():
        monkeypatch.setenv(option, value)
    monkeypatch.setenv("VALIDATOR_RPC_FILE", str(copied / "rpc"))
    settings = load_settings(tmp_path)
    assert settings.entry() == GIVEN["CONTRACT"]
    assert settings.content_spec() == f"local:/home/validator/home/store,gateway:{GIVEN['GATEWAY_URL']}"
    assert (settings.port, settings.devices, settings.rpc_urls()) == (8780, "cuda:0", ["secret"])
    assert said["build"]["args"] == {"DEVICE": "cuda"}


# By ourselves


@EACH
def test_service__every__is_fenced_in(name: str):
    service = EVERY[name]
    assert re.fullmatch(r"[1-9]\d*:\d+", service["user"])
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert service["pids_limit"] > 0
    assert service["tmpfs"][0].startswith("/tmp:")
    assert not {"privileged", "cap_add", "devices", "pid"} & service.keys()


@EACH
def test_service__what_it_names__is_declared(name: str):
    service, whole = EVERY[name], project(name)
    assert set(service.get("depends_on", ())) <= whole["services"].keys()
    assert set(service.get("secrets", ())) <= whole["secrets"].keys()
    for volume in service.get("volumes", ()):
        source = volume.split(":")[0]
        assert (DOCKER / source).is_dir() if source.startswith("./") else source in whole["volumes"]
    for value in environment(service).values():
        assert set(OF_A_FILE.findall(value)) <= set(service.get("secrets", ()))


@EACH_OF_OURS
def test_service__of_ours__is_built_and_configured_by_what_there_is(name: str):
    service = OURS[name]
    assert service["user"] == last_user(service["build"]["target"])
    assert {option for option in environment(service) if option != "HOME"} <= OPTIONS
    assert (DOCKER / service["build"]["context"]).resolve() == ROOT
    assert (ROOT / service["build"]["dockerfile"]).is_file()


@EACH_OF_OURS
def test_service__folders_that_it_mounts__belong_to_its_user_in_the_image(name: str):
    service = OURS[name]
    runs = [rest for word, rest in stage(service["build"]["target"]) if word == "RUN"]
    made = " ".join(rest for rest in runs if "install --directory" in rest).split()
    for volume in service.get("volumes", ()):
        assert volume.split(":")[1] in made


@pytest.mark.parametrize("name", [name for name in EVERY if name not in OURS])
def test_service__of_others__is_pinned_and_can_be_by_digest(name: str):
    assert re.fullmatch(r"\$\{[A-Z]+_IMAGE:-[\w./-]+:v?\d+\.\d+\.\d+\}", EVERY[name]["image"])


def test_volumes_and_secrets__are_all_used_and_no_secret_is_in_the_repository():
    for whole in (PROJECT, OPERATOR):
        each = whole["services"].values()
        used = {volume.split(":")[0] for service in each for volume in service.get("volumes", ())}
        assert {name for name in used if not name.startswith("./")} == whole["volumes"].keys()
        assert {secret for service in each for secret in service.get("secrets", ())} == whole["secrets"].keys()
        ignored = (DOCKER / ".gitignore").read_text().split()
        assert {Path(secret["file"]).name for secret in whole["secrets"].values()} <= set(ignored)


@EACH_OF_OURS
def test_service__environment__makes_settings(name: str, monkeypatch: pytest.MonkeyPatch):
    for option, value in environment(OURS[name]).items():
        if option in OPTIONS and "$" not in value:
            monkeypatch.setenv(option, value)
    load_settings()


@EACH_OF_OURS
def test_service__command__is_one_that_the_program_has(name: str, run: Zygote):
    service = OURS[name]
    if "entrypoint" in service:
        assert service["entrypoint"] in (["python", "/opt/found.py"], ["anvil"])  # test_network runs both
        return
    assert "Usage:" in run(*service["command"], "--help").answered()


def test_ports__are_published_on_loopback_for_who_listens_outside_it():
    published = [port for service in LOCAL.values() for port in service.get("ports", ())]
    assert all(port.startswith("127.0.0.1:") for port in published)
    listening = {e["VALIDATOR_PORT"] for e in map(environment, LOCAL.values()) if e.get("VALIDATOR_HOST") == "0.0.0.0"}
    assert {port.split(":")[-1] for port in published} == listening | {"3000", "9090"}  # Grafana's own, Prometheus's
    assert "--web.listen-address=0.0.0.0:9090" in LOCAL["prometheus"]["command"]
    (port,) = EVERY["operator"]["ports"]
    assert port == f"127.0.0.1:{environment(EVERY['operator'])['VALIDATOR_PORT']}:8780"


def test_local__content__is_a_kubo_that_is_reached_on_loopback_and_published_nowhere():
    content = LOCAL["found"]["command"][2]
    assert content == "kubo:http://127.0.0.1:5001"
    assert LOCAL["kubo"]["network_mode"] == LOCAL["found"]["network_mode"] == "service:chain"
    assert "--offline" in LOCAL["kubo"]["command"]
    assert not any("5001" in port for port in LOCAL["chain"]["ports"])
    assert Settings(content=content).content_spec() == content
