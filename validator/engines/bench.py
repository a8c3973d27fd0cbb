"""What a worker process does: prove that it computes the protocol's bits, then work off shards on its device."""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import resource
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch

from validator.engines.wire import Raised, pack, task_of, unpack
from validator.exact import ExactError
from validator.exact.conformance.check import self_test
from validator.influence import InfluenceError

_ROOMS = ("exact", "influence", "families")


@dataclass(frozen=True, slots=True)
class Certificate:
    """Who a worker is and what the self-test said of it. `code`: digest of the sources that decide about bits."""

    host: str
    pid: int
    device: str
    ok: bool
    verdict: str
    code: str


class Bench:
    """One worker: its device, and the shared values of its latest shard."""

    def __init__(self, device: str, threads: int) -> None:
        torch.set_num_threads(threads)
        # A core dump would put plaintext on a disk.
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        self._device, self._shared = torch.device(device), dict[str, object]()

    def certify(self, golden: Mapping[str, str] | None = None) -> Certificate:
        """Run the quick exact self-test on this worker's device. `golden`: other digests than the protocol's."""
        try:
            report = self_test(self._device, quick=True, golden=golden)
            ok, verdict = report.ok, report.verdict
        except ExactError as error:
            ok, verdict = False, str(error)
        return Certificate(platform.node(), os.getpid(), str(self._device), ok, verdict, code_digest())

    def holds(self, token: str) -> bool:
        """Whether a shared value is still here."""
        return token in self._shared

    def work(self, job: bytes, shared: Mapping[str, bytes]) -> bytes:
        """Do a job that `job_of` wrote; `shared` brings the values that are not here yet. What a task raises of exact
        arithmetic and influence is an answer too; anything else is the machine's trouble and is raised.
        """
        module, name, tokens, shard = unpack(job, self._device)
        self._shared = {
            token: self._shared[token] if token in self._shared else unpack(shared[token], self._device)
            for token in tokens
        }
        # Tensors that a task makes belong on the same device; the mode costs something at every call.
        place = contextlib.nullcontext() if self._device.type == "cpu" else self._device
        try:
            with place:
                found = task_of(module, name)(*(self._shared[token] for token in tokens), shard)
        except (ExactError, InfluenceError) as error:
            return pack(Raised.of(error))
        return pack((found,))


def job_of(task: tuple[str, str], tokens: list[str], shard: object) -> bytes:
    """A job as bytes."""
    return pack((*task, tokens, shard))


@cache
def code_digest() -> str:
    """SHA-256 over the sources of the rooms whose code decides about bits."""
    root, total = Path(__file__).parent.parent, hashlib.sha256()
    for path in sorted(path for room in _ROOMS for path in (root / room).rglob("*.py")):
        total.update(f"{path.relative_to(root).as_posix()}\0{path.stat().st_size}\0".encode() + path.read_bytes())
    return total.hexdigest()
