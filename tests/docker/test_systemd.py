"""The systemd unit: verified and rated by systemd itself where it is installed, and its ExecStart run as it stands."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.commands import Zygote, environment
from tests.docker.files import DOCKER, OPTIONS, ROOT
from validator.daemon import EXIT_HUNG, EXIT_MEMORY, STOP_SECONDS

UNIT = DOCKER / "systemd" / "poc-validator.service"
GUIDE = (ROOT / "docs/operator-guide.md").read_text()
EXPOSURE = 2.5
"""systemd-analyze's own measure, 0 to 10; without hardening a service has 9.6."""


def settings(path: Path = UNIT) -> dict[str, list[str]]:
    """Values by key, of all sections."""
    found: dict[str, list[str]] = {}
    for line in path.read_text().splitlines():
        if line and line[0] not in "#[":
            key, _, value = line.partition("=")
            found.setdefault(key, []).append(value)
    return found


def installed(tmp_path: Path) -> Path:
    """The unit with a program that exists."""
    unit = tmp_path / UNIT.name
    program = str(Path(sys.executable).with_name("validator"))
    unit.write_text(UNIT.read_text().replace("/opt/poc-validator/bin/validator", program))
    return unit


def systemd(*words: str) -> subprocess.CompletedProcess[str] | None:
    """systemd-analyze's answer; None without it."""
    program = shutil.which("systemd-analyze")
    if program is None:
        return None
    return subprocess.run([program, *words], capture_output=True, text=True, check=False, timeout=60)


def test_unit__systemd__takes_every_line(tmp_path: Path):
    done = systemd("verify", str(installed(tmp_path)))
    if done is None:
        assert settings()["ExecStart"], "systemd is not installed; the tests below hold the unit to its text"
        return
    said = [line for line in done.stderr.splitlines() if UNIT.name in line]  # others' units are not ours to mend
    assert said == []


def test_unit__systemd__rates_its_exposure_low(tmp_path: Path):
    done = systemd("security", "--offline=true", "--no-pager", str(installed(tmp_path)))
    if done is None:
        assert settings()["NoNewPrivileges"] == ["yes"]
        return
    rated = re.search(r"Overall exposure level for \S+: ([0-9.]+)", done.stdout)
    assert rated, done.stdout + done.stderr
    assert float(rated[1]) <= EXPOSURE


def test_unit__hardening__is_there_and_nothing_runs_as_root():
    said = settings()
    assert said["User"] == said["Group"] == ["validator"]
    for key in (
        "NoNewPrivileges",
        "ProtectHome",
        "PrivateTmp",
        "PrivateDevices",
        "ProtectKernelModules",
        "RestrictSUIDSGID",
    ):
        assert said[key] == ["yes"], key
    assert said["ProtectSystem"] == ["strict"]
    assert said["CapabilityBoundingSet"] == [""]
    assert set(said["RestrictNamespaces"][0].split()) == {"user", "net", "ipc"}  # what the parser's sandbox needs
    assert "landlock_create_ruleset" in said["SystemCallFilter"][0]


def test_unit__options_in_its_environment__exist():
    for path in (UNIT, UNIT.with_name("gpu.conf")):
        named = {value.partition("=")[0] for value in settings(path)["Environment"]}
        assert named <= OPTIONS | {"NUMBA_CACHE_DIR"}  # numba's own


def test_unit__restarts_and_stops__as_the_program_does():
    said = settings()
    assert said["Restart"] == ["always"]
    assert str(EXIT_HUNG) in UNIT.read_text()
    assert str(EXIT_MEMORY) in UNIT.read_text()
    assert said["Type"] == ["notify"]  # what the process says is tried below
    assert int(said["TimeoutStopSec"][0].rstrip("s")) > STOP_SECONDS + 2


def test_unit__guide__says_where_its_files_go():
    section = GUIDE.partition("## Under systemd")[2].partition("\n## ")[0]
    for place in re.findall(r"^#   (/\S+)", UNIT.read_text(), re.MULTILINE):
        assert place in section, place


def test_exec_start__as_systemd_would_start_it__runs_and_stops_on_sigterm(run: Zygote, tmp_path: Path):
    """Specifiers filled in as systemd fills them: %S the state's folder, %d that of the credentials."""
    state, credentials = tmp_path / "lib", tmp_path / "credentials"
    (state / "poc-validator").mkdir(parents=True, mode=0o700)
    credentials.mkdir()
    (credentials / "password").write_text("a password\n")
    said = settings()
    places = {"%S": str(state), "%d": str(credentials)}

    def filled(text: str) -> str:
        return re.sub("%[Sd]", lambda found: places[found[0]], text)

    given = dict(filled(value).partition("=")[::2] for value in said["Environment"])
    command = shlex.split(said["ExecStart"][0])
    assert command[0] == "/opt/poc-validator/bin/validator"
    command[0] = str(Path(sys.executable).with_name("validator"))
    place = filled(said["WorkingDirectory"][0])

    run("keys", "create", "--light", env=given).answered()
    assert not (state / "poc-validator/password").exists()  # it was the credential's
    (state / "poc-validator/keys/account.json").unlink()  # without keys, it starts before its chain does
    options = {
        "VALIDATOR_CONTRACT": ",".join(f"0x{digit * 40}" for digit in "12"),
        "VALIDATOR_RPC": "http://127.0.0.1:9",
    }
    told_to = {"NOTIFY_SOCKET": f"@poc-validator-{os.getpid()}", "WATCHDOG_USEC": "1000000"}
    started = environment(tmp_path, {**given, **options, **told_to})
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard,
        subprocess.Popen(command, env=started, cwd=place, stderr=subprocess.PIPE, text=True) as process,
    ):
        heard.bind("\0" + told_to["NOTIFY_SOCKET"][1:])
        assert process.stderr is not None
        told = next(line for line in process.stderr if "tick failed" in line)
        assert "connection refused" in json.loads(told)["error"]
        heard.settimeout(20)
        assert heard.recv(4096) == b"READY=1"
        while heard.recv(4096) != b"WATCHDOG=1":
            pass
        os.kill(process.pid, signal.SIGTERM)
        rest = process.stderr.read()
        assert process.wait(20) == 0
        while heard.recv(4096) != b"STOPPING=1":
            pass
    assert "stopped" in rest


@pytest.mark.parametrize("name", ["poc-validator.service", "gpu.conf"])
def test_unit__keys__stand_in_no_section_twice_but_for_lists(name: str):
    said = settings(UNIT.with_name(name))
    assert {key for key, values in said.items() if len(values) > 1} <= {"Environment", "DeviceAllow"}
