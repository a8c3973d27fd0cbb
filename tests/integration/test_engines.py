"""Real workers: Ray actors and processes, that die for real."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.influence.tiny import new_records, tiny_problem
from validator.engines import EngineSpec, OpenEngine, open_engine
from validator.engines.pool import Pool
from validator.engines.ray_crew import RayCrew, _folder
from validator.influence import Problem, fit
from validator.influence.engine import Engine
from validator.influence.response import Response

# On a starved machine two workers may take minutes to import torch and pass the self-test.
pytestmark = pytest.mark.timeout(600)
WIDTH = 2


def ancestry(pid: int) -> list[int]:
    """The process and its ancestors."""
    found = []
    while pid > 1:
        found.append(pid)
        try:
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            return []
    return found


def descendants(pid: int) -> list[int]:
    others = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
    return [other for other in others if pid in ancestry(other)[1:]]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_until(said: str, condition: Any, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, said
        time.sleep(0.05)


@pytest.fixture(scope="module")
def problem() -> Problem:
    return tiny_problem()


@pytest.fixture(scope="module")
def ray_engine() -> Iterator[OpenEngine]:
    opened = open_engine(EngineSpec(engine="ray", workers=WIDTH, store_mib=80))
    yield opened
    opened.close()


def judged(problem: Problem, **more: Any) -> tuple[bytes, list[float], list[float]]:
    found = fit(problem, "response", seed=9, epochs=4, replicas=4, settle=2, **more)
    assert isinstance(found, Response)
    data = new_records()
    parts = [data.select(torch.arange(start, start + 5)) for start in range(0, 25, 5)]
    scores = found.in_order(parts, lambda raw, stderr: raw > -8_000_000, **more)
    return found.to_bytes(), scores.values.tolist(), scores.stderr.tolist()


def killing_one(engine: Engine) -> tuple[Engine, list[int]]:
    """The engine, but when the first shard is done, the worker of the other one is killed in the middle of it."""
    assert isinstance(engine, Pool)
    killed: list[int] = []

    class Killing:
        width = engine.width

        def map(self, task: Any, shared: Any, shards: Any, done: Any = None) -> list[Any]:
            def then(position: int, found: Any) -> None:
                if not killed:
                    # Slots are filled in order, and shards 0 and 1 are the first of slots 0 and 1.
                    killed.append(engine.certificates()[1 - position].pid)
                    os.kill(killed[0], signal.SIGKILL)
                if done is not None:
                    done(position, found)

            return engine.map(task, shared, shards, then if len(shards) > 1 else done)

    return Killing(), killed


def test_ray__fit_and_score__bits_of_one_process(ray_engine: OpenEngine, problem: Problem) -> None:
    assert len({worker.pid for worker in ray_engine.workers}) == WIDTH
    assert os.getpid() not in {worker.pid for worker in ray_engine.workers}
    assert judged(problem, engine=ray_engine.engine) == judged(problem)
    probes = fit(problem, "classical", seed=9, iterations=2, engine=ray_engine.engine)
    alone = fit(problem, "classical", seed=9, iterations=2)
    assert probes.to_bytes() == alone.to_bytes()
    assert torch.equal(probes.score(new_records(), engine=ray_engine.engine).values, alone.score(new_records()).values)


def test_ray__worker_killed_in_the_middle__another_does_its_shard_and_the_bits_are_the_same(
    ray_engine: OpenEngine, problem: Problem
) -> None:
    before = {worker.pid for worker in ray_engine.workers}
    engine, killed = killing_one(ray_engine.engine)
    assert judged(problem, engine=engine) == judged(problem)
    assert isinstance(ray_engine.engine, Pool)
    after = {worker.pid for worker in ray_engine.engine.certificates()}
    assert killed
    assert not alive(killed[0])
    assert before - after == set(killed)
    assert len(after) == WIDTH


def test_ray__object_store__holds_ciphertext_only(ray_engine: OpenEngine) -> None:
    import ray

    crew = RayCrew(ray, "cpu", 1)
    secret = b"plaintext of a contributor " * 10_000
    (ref,) = crew.put({"0": secret})
    assert crew.put({"0": secret}) == [ref]
    stored = ray.get(ref)
    assert len(stored) > len(secret)
    assert b"plaintext" not in stored
    assert crew.sealer.open(stored, "value 0") == secret


def test_ray__its_processes__listen_on_loopback_only_and_keep_their_files_to_themselves(ray_engine: OpenEngine) -> None:
    inodes = set()
    for pid in descendants(os.getpid()):
        for link in Path(f"/proc/{pid}/fd").glob("*"):
            try:
                inodes.add(str(link.readlink()))
            except OSError:
                continue
    open_to_others, seen = [], 0
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in inodes:
                seen += 1
                address = fields[1].partition(":")[0]
                if address not in ("0100007F", "00000000000000000000000001000000", "0000000000000000FFFF00000100007F"):
                    open_to_others.append(line)
    assert seen >= 3
    assert open_to_others == []
    folders = [path for path in Path("/tmp").glob("poc-ray-*") if path.stat().st_uid == os.getuid()]
    assert folders
    assert all(path.stat().st_mode & 0o077 == 0 for path in folders)


@pytest.mark.slow
def test_processes__fit_score_and_a_kill__bits_of_one_process(problem: Problem) -> None:
    opened = open_engine(EngineSpec(devices="cpu,cpu"))
    try:
        assert judged(problem, engine=opened.engine) == judged(problem)
        engine, killed = killing_one(opened.engine)
        assert judged(problem, engine=engine) == judged(problem)
        assert killed
    finally:
        opened.close()


PROGRAM = """
import sys, time
from validator.engines import EngineSpec, open_engine
if __name__ == "__main__":
    opened = open_engine(EngineSpec(engine=sys.argv[1], devices="cpu,cpu", workers=2, store_mib=80))
    print(*(worker.pid for worker in opened.workers), flush=True)
    time.sleep(600)
"""


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["local", "ray"])
def test_node_killed__its_workers__are_gone_with_it(engine: str, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    with subprocess.Popen([sys.executable, str(program), engine], stdout=subprocess.PIPE, text=True) as node:
        assert node.stdout is not None
        workers = [int(word) for word in node.stdout.readline().split()]
        others = descendants(node.pid)
        assert len(workers) == WIDTH
        node.kill()
        wait_until("workers outlive their node", lambda: not any(alive(pid) for pid in {*workers, *others}), 150)


def test_folder__of_a_killed_node__goes_when_the_next_one_makes_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    mine, held = _folder()
    program = (
        "import os, signal; from validator.engines.ray_crew import _folder; x = _folder(); print(x[0], flush=True)"
    )
    program += "; os.kill(os.getpid(), signal.SIGKILL)"
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    killed = Path(
        subprocess.run(
            [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, env=environment
        ).stdout.strip()
    )
    assert killed.parent == tmp_path
    assert (killed / "held").exists()
    theirs, also_held = _folder()
    assert not killed.exists()
    assert mine.exists()
    assert theirs.exists()
    held.close()
    also_held.close()
