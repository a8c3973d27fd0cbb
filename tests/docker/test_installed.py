"""What the operator guide has root type under systemd, typed: on a machine of its own, in order, as it stands there.

Only pip is spared the index in every run: it takes what this environment has. A campaign installs from the index.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import sysconfig
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docker.files import ROOT
from tests.docker.machine import PATH, Machine, missing
from tests.faults.anvil import Anvil
from tests.integration.gateway import gateway
from tests.support import CLEAN, COIN, NOISE, World
from validator.actions.steward import admit, grant
from validator.demo.dao import STAKE
from validator.demo.processes import free_port

SECTION = (ROOT / "docs/operator-guide.md").read_text().partition("## Under systemd")[2].partition("\n## ")[0]
COMMANDS = re.findall(r"^\$ (.*)$", SECTION, re.MULTILINE)
HOME = "/var/lib/poc-validator"
AS_THE_SERVICE = f"sudo -u validator env VALIDATOR_HOME={HOME} VALIDATOR_PASSWORD_FILE=/run/password"
PROGRAM = "/opt/poc-validator/bin/validator"
LONG = {"report_seconds": 3_600, "commit_seconds": 3_600, "attest_seconds": 3_600, "exit_seconds": 40_000}
PATIENCE = 300

needed = pytest.mark.skipif(bool(missing()), reason=missing() or "all is there")
pytestmark = [needed, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    with Machine(tmp_path_factory.mktemp("machine")) as made:
        yield made


@pytest.fixture(scope="module")
def installed(machine: Machine) -> Machine:
    """The machine after all of the section's commands."""
    for command in COMMANDS:
        prepare(machine, command)
        if command.startswith("systemctl enable --now"):
            refused(machine, command)
            continue
        machine.type(command, PATIENCE, **offline(command))
        if command.startswith("python3 -m venv"):
            lend(machine)
    return machine


def refused(machine: Machine, command: str) -> None:
    """Nobody answers at the guide's endpoint, which whoever starts the service is told."""
    done = machine.run(command, PATIENCE)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Job for poc-validator.service failed" in done.stderr


def prepare(machine: Machine, command: str) -> None:
    """What a reader has at hand: the password in a file, and sudo, which Debian does not begin with."""
    if " password " in command:
        machine.type("test -e password || echo 'a password of some length' > password")
    if command.startswith("sudo ") and machine.run("command -v sudo").returncode:
        get = "DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet=2 --no-install-recommends sudo"
        machine.type(f"{get} || {{ apt-get update --quiet=2 && {get}; }}", PATIENCE)


def lend(machine: Machine) -> None:
    """The new environment finds this one's packages, where the service's user may read them."""
    system = machine.type("python3 -c 'import sysconfig; print(sysconfig.get_python_version())'").strip()
    if system != sysconfig.get_python_version():
        pytest.skip(f"the system's Python is {system}, and cannot use the packages of {sys.version.split()[0]}")
    machine.type(f"mkdir /opt/lent && mount --bind {sysconfig.get_path('purelib')} /opt/lent")
    machine.type(f"echo /opt/lent > /opt/poc-validator/lib/python{system}/site-packages/lent.pth")


def offline(command: str) -> dict[str, str]:
    """pip's settings that keep it from the index; its 0 means that there is no isolated build."""
    if "/pip install " not in command:
        return {}
    return {"PIP_NO_INDEX": "1", "PIP_NO_BUILD_ISOLATION": "0", "PYTHONPATH": "/opt/lent"}


def shown(machine: Machine, *names: str) -> dict[str, str]:
    """Properties of the service."""
    told = machine.type(f"systemctl show poc-validator --property={','.join(names)}")
    return dict(line.partition("=")[::2] for line in told.splitlines())


def modes(machine: Machine, *paths: str) -> list[str]:
    return machine.type(f"stat --format='%U %G %a' {' '.join(paths)}").splitlines()


@pytest.mark.slow
def test_guide__commands_under_systemd__install_a_home_and_a_service_that_starts(installed: Machine):
    assert modes(installed, "/etc/poc-validator/password", "/etc/systemd/system/poc-validator.service") == [
        "root root 400",
        "root root 644",
    ]
    assert modes(installed, HOME, f"{HOME}/keys/account.json", f"{HOME}/keys/hpke.json", f"{HOME}/validator.toml") == [
        "validator validator 700",
        *["validator validator 600"] * 3,
    ]
    assert installed.type("systemctl is-enabled poc-validator") == "enabled\n"
    assert "executable" not in installed.type("journalctl --output=cat --no-pager"), "systemd minds a mode"
    # Nobody answers at https://first.example, so it says so and is started again and again, which stopping ends.
    installed.until("it says what is wrong, twice", lambda: journal(installed).count("first.example") > 1, PATIENCE)
    assert "Started poc-validator.service" not in journal(installed)
    assert "Traceback" not in journal(installed)
    installed.type("systemctl stop poc-validator")
    assert shown(installed, "ActiveState", "User") == {"ActiveState": "inactive", "User": "validator"}


def journal(machine: Machine) -> str:
    return machine.type("journalctl --unit=poc-validator --output=cat --no-pager")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    chain = Anvil(tmp_path)
    try:
        yield World(tmp_path, validators=0, capacity=2, chain=chain, **LONG)
    finally:
        chain.stop()


def joined(machine: Machine, world: World, options: dict[str, str]) -> str:
    """The home's account is admitted, has stake and holds the key; returns its address."""
    given = " ".join(f"{name}={value}" for name, value in options.items())
    keys = json.loads(machine.type(f"{AS_THE_SERVICE} {PROGRAM} keys show --json"))
    world.pay(keys["address"], 10 * COIN)
    token = world.wallet.token(world.wallet.deployment.stake_token)
    world.wallet.sender.send(token.mint(keys["address"], STAKE), intent="mint-stake/machine")
    admit(world.wallet, keys["address"])
    machine.type(f"{AS_THE_SERVICE} {given} {PROGRAM} join {STAKE}", PATIENCE)
    grant(world.wallet, world.steward, keys["address"], bytes.fromhex(keys["hpke_key"][2:]), [1])
    return str(keys["address"])


def ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


@pytest.mark.slow
def test_service__on_a_chain_with_all_its_hardening__plays_a_round_comes_back_when_killed_and_stops(
    installed: Machine, world: World
):
    port = free_port()
    with gateway(world.folder / "store") as content:
        options = {
            "VALIDATOR_RPC": world.chain.url,
            "VALIDATOR_CONTRACT": world.wallet.deployment.rounds,
            "VALIDATOR_CONTENT": f"local:{HOME}/store,gateway:{content}",
            "VALIDATOR_POLL_SECONDS": "0.2",
            "VALIDATOR_STAGGER_SECONDS": "0",
            "VALIDATOR_PORT": str(port),
        }
        address = joined(installed, world, options)
        lines = "\n".join(f"{name}={value}" for name, value in options.items())
        installed.type(f"cat > /etc/poc-validator/options <<'END'\n{lines}\nEND")
        # As the guide says, so that the password can come from the credential alone.
        assert installed.type(f"grep --count ^password_file {HOME}/validator.toml") == "1\n"
        installed.type(f"sed --in-place /^password_file/d {HOME}/validator.toml && rm /run/password")

        installed.type("systemctl start poc-validator", PATIENCE)
        assert "Started poc-validator.service" in journal(installed)
        installed.until("it is ready", lambda: ready(port), PATIENCE)
        pid = shown(installed, "MainPID")["MainPID"]
        hardened(installed, pid)
        compiled = kernels(installed)
        assert compiled, "the kernels are compiled at each start"
        world.contribute(CLEAN, NOISE)
        installed.until("round 1 is final", lambda: world.is_final(1), PATIENCE)
        assert [one.lower() for one in world.round(1).attestations] == [address.lower()]

        installed.type(f"kill -KILL {pid}")
        installed.until("it is started again", lambda: shown(installed, "NRestarts")["NRestarts"] == "1", PATIENCE)
        installed.until("it is ready again", lambda: ready(port), PATIENCE)
        assert shown(installed, "MainPID")["MainPID"] not in ("0", pid)
        assert kernels(installed) >= compiled
        installed.until("it says how it is", lambda: "ticks" in shown(installed, "StatusText")["StatusText"], PATIENCE)
        revived(installed, port)

        installed.type("systemctl stop poc-validator")
        assert shown(installed, "ActiveState", "Result", "ExecMainStatus") == {
            "ActiveState": "inactive",
            "Result": "success",
            "ExecMainStatus": "0",
        }
        assert "Traceback" not in journal(installed)


def revived(machine: Machine, port: int) -> None:
    """A process that stands still is ended and started again: here after ten seconds, not after two minutes."""
    folder = "/etc/systemd/system/poc-validator.service.d"
    machine.type(f"mkdir {folder} && printf '[Service]\\nWatchdogSec=10s\\n' > {folder}/soon.conf")
    machine.type("systemctl daemon-reload && systemctl restart poc-validator", PATIENCE)
    pid = shown(machine, "MainPID")["MainPID"]
    machine.until("it is ready", lambda: ready(port), PATIENCE)
    machine.type("sleep 15")
    assert shown(machine, "MainPID", "NRestarts") == {"MainPID": pid, "NRestarts": "0"}
    machine.type(f"kill -STOP {pid}")
    machine.until("it is started again", lambda: shown(machine, "NRestarts")["NRestarts"] == "1", PATIENCE)
    machine.until("it is ready once more", lambda: ready(port), PATIENCE)
    assert "Watchdog timeout" in journal(machine)


def kernels(machine: Machine) -> set[str]:
    return set(machine.type("find /var/cache/poc-validator -name '*.nbc'").split())


def hardened(machine: Machine, pid: str) -> None:
    """What the kernel says of the process, and what it can reach."""
    status = dict(re.findall(r"^(\w+):\s*(\S+)", machine.type(f"cat /proc/{pid}/status"), re.MULTILINE))
    assert machine.type("id --user validator").strip() == status["Uid"]
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    assert {int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {0}
    inside = f"nsenter --target {pid} --mount"
    for place in ("/etc", "/opt/poc-validator", "/usr"):
        assert "Read-only file system" in machine.run(f"{inside} touch {place}/written").stderr
    said = machine.run(f"{inside} touch {ROOT}/written").stderr
    assert "Read-only file system" in said or "No such file" in said  # it has a /tmp of its own
    assert machine.type(f"{inside} find /root /home -mindepth 1 -maxdepth 1") == ""
    assert "No such file" in machine.run(f"{inside} stat /dev/tty0").stderr


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_guide__installed_from_the_index__is_whole(tmp_path: Path):
    """The first commands without any help: everything is brought and built as on a new machine."""
    (tmp_path / "machine").mkdir()
    with Machine(tmp_path / "machine") as made:
        for command in COMMANDS[:3]:
            made.type(command, 1500)
        made.type("/opt/poc-validator/bin/pip check")
        assert "poc-validator" in made.type(f"cd / && {PROGRAM} version")


def test_machine__what_is_written_there__is_not_here(machine: Machine):
    machine.type("echo written > /etc/written && echo written > written")
    assert not Path("/etc/written").exists()
    assert not (ROOT / "written").exists()
    assert "Read-only" in machine.run("echo other > /proc/sys/kernel/hostname").stderr


def test_machine__its_programs__are_those_of_the_system():
    assert not PATH.startswith(sys.prefix)
    assert subprocess.run(["sh", "-c", "command -v python3"], env={"PATH": PATH}, check=False).returncode == 0
