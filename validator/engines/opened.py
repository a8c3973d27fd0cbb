"""From words to an engine."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from validator.engines.bench import Certificate
from validator.engines.errors import EngineError
from validator.engines.pool import Pool
from validator.engines.processes import hire_on
from validator.influence.engine import IN_PROCESS, Engine

_DEVICE = re.compile(r"cpu|cuda(:[0-9]{1,3})?", re.ASCII)


@dataclass(frozen=True, slots=True)
class EngineSpec:
    """What an operator asks for. `devices`: one worker each, separated by commas; a Ray worker of any machine has one
    of the kind of the first. `workers` on Ray, 0 for as many as it has room for; `store_mib` of the object store of a
    Ray of our own; `address` of another.
    """

    engine: str = "local"
    devices: str = "cpu"
    threads: int = 1
    address: str = ""
    workers: int = 0
    store_mib: int = 256


@dataclass(frozen=True, slots=True)
class OpenEngine:
    """An engine, who works for it (nobody but this process: none), and how to close it."""

    engine: Engine
    workers: tuple[Certificate, ...] = ()
    close: Callable[[], None] = field(default=lambda: None)


def open_engine(spec: EngineSpec) -> OpenEngine:
    """The engine that `spec` asks for, each worker certified. To be called from the main thread. Raises EngineError in
    one line.
    """
    devices = devices_of(spec.devices)
    if spec.engine == "ray":
        from validator.engines.ray_crew import RayCrew

        return _staffed(*RayCrew.start(spec, devices))
    if devices == ["cpu"]:
        return OpenEngine(IN_PROCESS)
    return _staffed(Pool(hire_on(devices, spec.threads), len(devices)), lambda: None)


def _staffed(pool: Pool, close: Callable[[], None]) -> OpenEngine:
    def end() -> None:
        pool.close()
        close()

    return OpenEngine(pool, tuple(pool.certificates()), end)


def devices_of(text: str) -> list[str]:
    """The devices of a list such as `cpu` or `cuda:0,cuda:1`. Raises EngineError."""
    devices = [device.strip() for device in text.split(",")]
    for device in devices:
        if not _DEVICE.fullmatch(device):
            raise EngineError(f"{device[:40]!r} is no device: take cpu, cuda or cuda:N, several separated by commas")
    cuda = [device for device in devices if device != "cpu"]
    if len(cuda) > len(set(cuda)):
        raise EngineError(f"devices {text[:80]!r} name a GPU twice: one worker a GPU")
    return devices
