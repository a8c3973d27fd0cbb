"""What can be proven of the image without an engine: linted, pinned, and every name in it exists."""

from __future__ import annotations

import os
import re
import runpy
import shutil
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest
import torch

from tests.docker.files import ARGUMENTS, DOCKER, DOCKERFILE, OPTIONS, ROOT, filled, last_user, stage, tool

TARGETS = ("validator", "local")
BUILDS = ("build", "build-local", "anvil")


def test_dockerfile__hadolint__finds_nothing():
    done = subprocess.run([tool("hadolint"), str(DOCKER / "Dockerfile")], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_hadolint__a_bad_file__is_found():
    bad = "FROM python\nRUN cd /tmp && sudo apt-get install curl\n"
    done = subprocess.run([tool("hadolint"), "-"], input=bad, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "DL3006" in done.stdout


def test_dockerfile__base_images__are_pinned_by_tag_and_can_be_by_digest():
    stages = {filled(rest).partition(" AS ")[2] for word, rest in DOCKERFILE if word == "FROM"}
    bases = [rest.split()[0] for word, rest in DOCKERFILE if word == "FROM"]
    outside = {base for base in bases if filled(base) not in stages}
    assert outside == {"${PYTHON_IMAGE}", "${NODE_IMAGE}"}  # so that a build can name NAME:TAG@sha256:...
    assert ARGUMENTS["PYTHON_IMAGE"] == "python:3.11-slim-bookworm"
    assert ARGUMENTS["NODE_IMAGE"] == "node:24-bookworm-slim"
    assert "@sha256:..." in (DOCKER / "Dockerfile").read_text()  # which says how a digest is had


@pytest.mark.parametrize("name", TARGETS)
def test_dockerfile__what_runs__is_not_root_and_has_a_health_check(name: str):
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", last_user(name))
    words = [word for word, _ in stage(name)]
    assert "HEALTHCHECK" in words
    assert dict(stage(name))["STOPSIGNAL"] == "SIGTERM"
    assert words[-1] == "USER"  # nothing is done to the image as anybody else after it


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_dockerfile__device__chooses_the_last_stage(device: str):
    last = [rest for word, rest in DOCKERFILE if word == "FROM"][-1]
    assert filled(last, DEVICE=device) == f"runtime-{device} AS validator"
    environment = " ".join(rest for word, rest in stage("validator", DEVICE=device) if word == "ENV")
    assert ("NVIDIA_VISIBLE_DEVICES" in environment) is (device == "cuda")


def test_dockerfile__validator__has_no_tools_of_the_demonstration():
    copied = [rest for word, rest in stage("validator") if word == "COPY"]
    assert not any("build-local" in rest or "anvil" in rest or "found.py" in rest for rest in copied)


@pytest.mark.parametrize("wanted", ["cpu", "cuda", "tpu"])
def test_device__what_was_asked_for__is_what_came_or_the_build_fails_in_a_line(
    wanted: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(sys, "argv", ["device.py", wanted])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(DOCKER / "device.py"), run_name="__main__")
    here, told = "cpu" if torch.version.cuda is None else "cuda", capsys.readouterr().err
    assert ended.value.code == (0 if wanted == here else 1)
    assert told.count("\n") == (0 if wanted == here else 1)
    assert ("TORCH_INDEX" in told) is (wanted not in (here, "tpu"))


def test_dockerfile__copies_from_the_repository__exist_and_pass_the_ignore_file():
    patterns = [line for line in (DOCKER / "Dockerfile.dockerignore").read_text().splitlines() if line[:1] == "!"]
    copied = [rest.split()[:-1] for word, rest in DOCKERFILE if word == "COPY" and "--from" not in rest]
    sources = [source for group in copied for source in group]
    assert sources
    for source in sources:
        assert (ROOT / source).exists(), source
        assert any(fnmatch(source, pattern[1:]) for pattern in patterns), source
    assert {pattern[1:] for pattern in patterns} == set(sources)


def test_dockerfile__copies_between_stages__name_stages_and_what_they_make():
    stages = {rest.partition(" AS ")[2] for word, rest in DOCKERFILE if word == "FROM"}
    taken = re.findall(r"--from=(\S+) (\S+)", " ".join(rest for word, rest in DOCKERFILE if word == "COPY"))
    assert taken
    for source, path in taken:
        assert source in stages
        assert any(path in rest for word, rest in stage(source) if word == "RUN"), path


def test_dockerfile__packages__come_from_nowhere_in_particular_and_are_held_to_hashes():
    text = (DOCKER / "Dockerfile").read_text()
    assert not re.search(r"https?://", text)
    installs = [
        part
        for word, rest in DOCKERFILE
        if word == "RUN"
        for part in rest.split("&&")
        if "pip install" in part or "npm ci" in part
    ]
    assert len(installs) == 6
    for part in installs:
        held = "--require-hashes" in part or "npm ci --ignore-scripts" in part
        ours, torch_alone = "--no-index --no-deps" in part, "constraints.txt" in part and "^torch==" in part
        assert held or ours or torch_alone, part


@pytest.mark.parametrize("name", TARGETS)
def test_dockerfile__environment__names_options_that_exist(name: str):
    named = set(re.findall(r"\b(VALIDATOR_[A-Z_]+)=", " ".join(rest for word, rest in stage(name) if word == "ENV")))
    assert named
    assert named <= OPTIONS


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", ["build-local", "anvil"])
def test_dockerfile__what_its_builders_run__works_as_it_stands(name: str, tmp_path: Path):
    """Every RUN of the stages that fetch and install, with what they COPY; /opt and /usr/local are folders."""
    places = {"/opt/validator": str(tmp_path / "opt"), "/usr/local/bin": str(tmp_path / "bin")}
    (tmp_path / "bin").mkdir()
    work = tmp_path / "src"
    work.mkdir()
    variables = {**os.environ, "DEVICE": "cpu" if torch.version.cuda is None else "cuda", "TORCH_INDEX": ""}
    for word, rest in stage(name):
        if word == "COPY" and "--from" not in rest:
            *sources, target = rest.split()
            for source in sources:
                if (ROOT / source).is_dir():
                    shutil.copytree(ROOT / source, work / target, ignore=shutil.ignore_patterns("__pycache__"))
                else:
                    shutil.copy(ROOT / source, work)
        if word == "RUN":
            line = re.sub(r"--mount=\S+", "", rest)
            for place, here in places.items():
                line = line.replace(place, here)
            done = subprocess.run(
                ["/bin/sh", "-ec", line], cwd=work, env=variables, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, (line, done.stderr[-2000:])
    if name == "anvil":
        told = subprocess.run([tmp_path / "bin" / "anvil", "--version"], capture_output=True, text=True, check=True)
        assert told.stdout.startswith("anvil")
        return
    for words in (["validator", "version"], ["pip", "check"]):
        done = subprocess.run([tmp_path / "opt/bin" / words[0], words[1]], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
