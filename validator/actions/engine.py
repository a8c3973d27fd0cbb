"""From settings to where scoring is computed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from validator.engines import EngineSpec, open_engine
from validator.influence.engine import Engine
from validator.settings import Settings

log = structlog.get_logger("engine")


@contextmanager
def engine_of(settings: Settings) -> Iterator[Engine]:
    """The engine that `settings` ask for, while it is needed. To be entered in the main thread. Raises EngineError when
    a worker does not come up or gives other bits.
    """
    spec = EngineSpec(
        engine=settings.engine,
        devices=settings.devices,
        threads=settings.threads,
        address=settings.ray_address,
        workers=settings.ray_workers,
        store_mib=settings.ray_store_mib,
    )
    opened = open_engine(spec)
    try:
        for worker in opened.workers:
            log.info("worker", host=worker.host, pid=worker.pid, device=worker.device, self_test=worker.verdict)
        yield opened.engine
    finally:
        opened.close()
