"""What the containers start, started here: with their very commands and environment, on loopback, in this folder.

Of compose.local.yml everything runs but Kubo and Grafana, whose programs are not to be had here: content is a shared
folder in Kubo's place. What stands where in a container is mapped to a folder, and each port to a free one.
"""

from __future__ import annotations

import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.cli.commands import environment
from tests.docker.files import DOCKER, Service, services
from tests.integration.test_anvil import binary
from validator.actions.connect import open_view
from validator.chain.devchain import DevChain
from validator.demo.crowd import Crowd, load_digits, split
from validator.payload import encode_safetensors
from validator.settings import load_settings

LOCAL = services("compose.local.yml")
SECONDS = 150
PORTS = ("8545", "8780", "8781", "8782", "8783", "9090")


class Machine:
    """Containers as processes: `folder` stands for their disks, `ports` for the network that they share."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with ExitStack() as stack:  # all at once, so that all differ
            taken = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in PORTS]
            self.ports = dict(zip(PORTS, (str(each.getsockname()[1]) for each in taken), strict=True))
        (folder / "secrets").mkdir()
        (folder / "secrets" / "password").write_text("a password for everybody\n")
        self.places = {
            "/run/secrets": str(folder / "secrets"),
            "/homes": str(folder / "homes"),
            "/opt": str(DOCKER),
            "/etc/prometheus": str(folder / "prometheus"),
            "/prometheus": str(folder / "series"),
            "kubo:http://127.0.0.1:5001": f"local:{folder / 'store'}",
            "0.0.0.0": "127.0.0.1",
        }

    def here(self, word: str) -> str:
        """What a word of a compose file is on this machine."""
        for place in sorted(self.places, key=len, reverse=True):
            if re.search(rf"(?<![\w/.]){re.escape(place)}(?!\w)", word):
                return self._port(word.replace(place, self.places[place], 1))
        return self._port(word)

    def _port(self, word: str) -> str:
        return re.sub(r"(?<!\d)(" + "|".join(PORTS) + r")(?!\d)", lambda found: self.ports[found[1]], word)

    def line(self, service: Service, program: list[str] | None = None) -> list[str]:
        """The command line of a service; `program` in place of its image's entrypoint."""
        entry = program or service.get("entrypoint") or ["validator"]
        known = {"python": [sys.executable], "validator": [sys.executable, "-m", "validator"]}
        first = [str(binary())] if entry[0] == "anvil" else known.get(entry[0], [entry[0]])
        return [*first, *(self.here(word) for word in (*entry[1:], *service["command"]))]

    def environment(self, service: Service) -> dict[str, str]:
        given = {name: self.here(value) for name, value in service.get("environment", {}).items()}
        return environment(self.folder, {"PYTHONPATH": str(DOCKER.parent), **given})

    def once(self, service: Service, *instead: str) -> subprocess.CompletedProcess[str]:
        """Run a service to its end, `instead` of its command."""
        chosen = {**service, "command": list(instead) or service["command"]}
        return subprocess.run(
            self.line(chosen),
            env=self.environment(service),
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS,
        )

    @contextmanager
    def running(self, name: str, program: list[str] | None = None) -> Iterator[subprocess.Popen[str]]:
        """A service while the block lasts; its output goes to a file, and it is stopped as an engine would."""
        log = self.folder / f"{name}.log"
        with log.open("w") as output:
            process = subprocess.Popen(
                self.line(LOCAL[name], program),
                env=self.environment(LOCAL[name]),
                cwd=self.folder,
                stdout=output,
                stderr=subprocess.STDOUT,
                text=True,
            )
        try:
            yield process
            process.send_signal(signal.SIGTERM)
            code = process.wait(20)
            assert code in (0, 143, -signal.SIGTERM), log.read_text()[-2000:]
        finally:
            process.kill()
            process.wait()

    def ask(self, port: str, path: str) -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.ports[port]}{path}", timeout=10) as answer:
            return answer.read().decode()

    def until(self, what: Callable[[], bool], seconds: float = SECONDS) -> None:
        """Wait for something that may fail until it comes about."""
        deadline, last = time.monotonic() + seconds, "it was false"
        while True:
            try:
                if what():
                    return
            except (OSError, ValueError, KeyError) as error:
                last = repr(error)
            assert time.monotonic() < deadline, f"the condition did not come about in time: {last}"
            threading.Event().wait(0.2)

    def healthy(self, service: Service) -> bool:
        """As the image's HEALTHCHECK finds it, with the service's environment."""
        done = subprocess.run(
            [sys.executable, str(DOCKER / "health.py")], env=self.environment(service), capture_output=True, check=False
        )
        return done.returncode == 0


# The health check by itself


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


# The network


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_local__founded_on_an_empty_chain__a_validator_runs_and_the_explorer_answers(machine: Machine):
    with DevChain(port=int(machine.ports["8545"]), block_seconds=0.2), ExitStack() as stack:
        done = machine.once(LOCAL["found"])
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        assert "founded: ScoringRounds is 0x" in done.stdout
        assert "founded before" in machine.once(LOCAL["found"]).stdout
        view = open_view(load_settings(machine.folder / "homes" / "auditor"))
        assert len(view.contracts.validators.operators()) == 3
        for name in ("validator-2", "explorer"):
            stack.enter_context(machine.running(name))
        machine.until(lambda: json.loads(machine.ask("8782", "/ready"))["ok"])
        machine.until(lambda: json.loads(machine.ask("8780", "/ready"))["ok"])
        assert machine.healthy(LOCAL["validator-2"])
        assert machine.healthy(LOCAL["explorer"])
        assert "poc_ready" in machine.ask("8782", "/metrics")
        refused = machine.once(LOCAL["auditor"])
        assert (refused.returncode, "is not finalised" in refused.stderr) == (1, True)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_local__whole_network_on_anvil__scores_a_round_is_audited_and_watched(machine: Machine):
    """Everything of compose.local.yml but Kubo and Grafana, by its own commands; Prometheus where it is installed."""
    shutil.copytree(DOCKER / "prometheus", machine.folder / "prometheus")
    config = machine.folder / "prometheus" / "prometheus.yml"
    config.write_text(machine._port(config.read_text()))
    with ExitStack() as stack:
        chain = stack.enter_context(machine.running("chain"))
        test = LOCAL["chain"]["healthcheck"]["test"][1:]
        probe = [sys.executable if word == "python" else machine.here(word) for word in test]
        machine.until(lambda: subprocess.run(probe, capture_output=True, check=False).returncode == 0, 30)
        assert chain.poll() is None
        done = machine.once(LOCAL["found"])
        assert done.returncode == 0, done.stderr
        for name in ("validator-1", "validator-2", "validator-3", "explorer"):
            stack.enter_context(machine.running(name))
        watched = shutil.which("prometheus") is not None
        if watched:
            stack.enter_context(machine.running("prometheus", ["prometheus"]))

        steward = {"environment": {"VALIDATOR_HOME": "/homes/steward", **LOCAL["found"]["environment"]}, "command": []}
        records = Crowd(split(load_digits(), 0), 0).clean()
        (machine.folder / "mine.safetensors").write_bytes(encode_safetensors(records.inputs, records.targets))
        sent = machine.once(steward, "contribute", str(machine.folder / "mine.safetensors"), "--json")
        assert sent.returncode == 0, sent.stderr
        machine.until(lambda: json.loads(machine.ask("8780", "/api/rounds/1"))["phase"] == "finalised", 400)

        judged = json.loads(machine.ask("8780", "/api/rounds/1"))
        assert judged["attestations"] == 3
        audited = machine.once(LOCAL["auditor"], *LOCAL["auditor"]["command"], "--json")
        assert audited.returncode == 0, audited.stderr
        assert json.loads(audited.stdout)["match"] is True
        if watched:
            watch(machine)


def watch(machine: Machine) -> None:
    """Prometheus scrapes all of them, takes the rules, and answers every expression of the dashboard."""
    from tests.docker.test_dashboard import TARGETS

    def query(expression: str) -> list[dict[str, Any]]:
        answer = json.loads(machine.ask("9090", f"/api/v1/query?query={urllib.parse.quote(expression)}"))
        assert answer["status"] == "success", expression
        found = answer["data"]["result"]
        assert isinstance(found, list)
        return found

    machine.until(lambda: len(query('up{job="validator"} == 1')) == 3, 60)
    machine.until(lambda: len(query("poc_ready == 1")) == 3, 60)
    assert len(json.loads(machine.ask("9090", "/api/v1/rules"))["data"]["groups"][0]["rules"]) > 10
    silent = [target["expr"] for target in TARGETS if not query(target["expr"])]
    assert silent == []
    assert [each["metric"]["alertname"] for each in query('ALERTS{alertstate="firing"}')] == []
