"""Where scoring is computed when not in this process: workers on several devices, or on a Ray cluster.

`influence.engine` says what an engine is. A `Pool` hands shards to workers, hires new ones for those that are lost, and
trusts a worker only after the exact self-test; `processes` are workers on this machine, `ray_crew` workers anywhere.
The bits are those of one process (docs/decisions/0015-engines.md).
"""

from __future__ import annotations

from validator.engines.errors import EngineError, UntrustedWorker, WorkerLost
from validator.engines.opened import EngineSpec, OpenEngine, open_engine

__all__ = ["EngineError", "EngineSpec", "OpenEngine", "UntrustedWorker", "WorkerLost", "open_engine"]
