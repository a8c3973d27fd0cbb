"""What can go wrong with workers."""

from __future__ import annotations

from validator.errors import ValidatorError


class EngineError(ValidatorError):
    """Workers cannot be had, or a shard cannot be computed on any of them."""


class UntrustedWorker(EngineError):
    """A worker gives other bits, or runs other code; the message names it."""


class WorkerLost(EngineError):
    """A worker died, hung or stumbled in the middle of its work: another one may do it."""
