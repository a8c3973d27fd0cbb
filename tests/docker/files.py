"""What the files under docker/ say, for the tests that hold them to the program."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from validator.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
DOCKER = ROOT / "docker"
OPTIONS = {f"VALIDATOR_{name.upper()}" for name in Settings.model_fields}
GIVEN = {"CONTRACT": "0x" + "12" * 20, "GATEWAY_URL": "https://gateway.example"}
"""What compose.operator.yml asks for."""
FILES = {"local": ["compose.local.yml"], "operator": ["compose.operator.yml"]}
FILES["gpu"] = [*FILES["operator"], "compose.gpu.yml"]

Service = dict[str, Any]


def tool(name: str) -> str:
    """A program that a development dependency brought into this environment."""
    return str(Path(sys.executable).with_name(name))


def compose(
    files: list[str], folder: Path, *more: str, given: Mapping[str, str] = GIVEN
) -> subprocess.CompletedProcess[str]:
    """Docker Compose itself, on copies of our files beside secrets that exist. No engine is asked for `config`."""
    words = [tool("docker-compose"), "--project-directory", str(folder)]
    words += [word for name in files for word in ("--file", str(folder / name))]
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return subprocess.run(
        [*words, *more], env={**kept, **given}, capture_output=True, text=True, check=False, timeout=60
    )


def instructions(text: str) -> list[tuple[str, str]]:
    """(instruction, rest) of a Dockerfile, continued lines joined, comments left out."""
    plain = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    lines = plain.replace("\\\n", " ").splitlines()
    return [(line.split()[0].upper(), line.split(maxsplit=1)[1].strip()) for line in lines if line.strip()]


DOCKERFILE = instructions((DOCKER / "Dockerfile").read_text())
ARGUMENTS = dict(rest.partition("=")[::2] for word, rest in DOCKERFILE if word == "ARG" and "=" in rest)


def filled(text: str, **arguments: str) -> str:
    """`${NAME}` replaced by the build arguments."""
    return re.sub(r"\$\{(\w+)\}", lambda found: {**ARGUMENTS, **arguments}[found[1]], text)


def stage(name: str, **arguments: str) -> list[tuple[str, str]]:
    """The instructions that make a stage, with those of the stages that it is built from."""
    starts = [index for index, (word, _) in enumerate(DOCKERFILE) if word == "FROM"]
    for start, end in zip(starts, [*starts[1:], len(DOCKERFILE)], strict=True):
        base, _, own = filled(DOCKERFILE[start][1], **arguments).partition(" AS ")
        if own == name:
            return [*stage(base, **arguments), *DOCKERFILE[start + 1 : end]]
    return []


def last_user(name: str) -> str:
    """Whom a stage runs as."""
    return [rest for word, rest in stage(name) if word == "USER"][-1]


def services(*names: str) -> dict[str, Service]:
    """The services of some files, later ones laid over earlier ones by their top-level keys alone."""
    found: dict[str, Service] = {}
    for name in names:
        for service, said in yaml.safe_load((DOCKER / name).read_text())["services"].items():
            found[service] = {**found.get(service, {}), **said}
    return found
