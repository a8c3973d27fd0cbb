"""Workers on a Ray cluster: one of our own on this machine, or that of `ray_address`.

Ours listens on a loopback address only, has no dashboard, reports nothing to anybody, asks for a token that is drawn
anew each time, keeps its logs in a private folder that goes when the node closes it, and never spills to a disk. Of
another cluster we know nothing; there, as everywhere, only ciphertext leaves the node (wire.py).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable
from concurrent.futures import Future
from importlib import import_module
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from validator.engines.bench import Certificate
from validator.engines.errors import EngineError, WorkerLost
from validator.engines.pool import Pool
from validator.engines.processes import START_SECONDS, in_one_line, translated
from validator.engines.ray_bench import RayBench, read_certificate, sealed_key
from validator.engines.wire import KEY_BYTES, Sealer

if TYPE_CHECKING:
    from validator.engines.opened import EngineSpec

LOOPBACK = "127.0.0.1"
LEAST_STORE_MIB = 80
_PREFIX, _HELD = "poc-ray-", "held"
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where Ray puts its object store
_SILENT = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_enable_metrics_collection": "0"}
_ALONE = {
    # Despite its name: without it every process of Ray's listens on 127.0.0.1 only, on Linux too.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_AUTH_MODE": "token",
}


class RayWorker:
    """One actor."""

    def __init__(self, crew: RayCrew) -> None:
        """Raises WorkerLost unless the actor comes up and answers in time."""
        self._crew, ray = crew, crew.ray
        self._actor = crew.actor.remote(crew.device, crew.threads)
        try:
            public = ray.get(self._actor.greet.remote(), timeout=START_SECONDS)
            sealed = self._actor.certify.remote(sealed_key(crew.key, public))
            self.certificate: Certificate = read_certificate(ray.get(sealed, timeout=START_SECONDS), crew.sealer)
        except Exception as error:  # noqa: BLE001 - whatever Ray or the actor stumbles over
            self.dismiss()
            raise WorkerLost(f"a Ray worker does not start: {in_one_line(error)}") from None

    def submit(self, job: bytes, shared: dict[str, bytes]) -> Future[bytes]:
        """See `Worker`."""
        try:
            tokens, refs = list(shared), self._crew.put(shared)
            ref = self._actor.work.remote(self._crew.sealer.seal(job, "job"), tokens, refs)
        except self._crew.ray.exceptions.RayError as error:
            failed: Future[bytes] = Future()
            failed.set_exception(error)
            return translated(failed)
        return self._opened(translated(ref.future()))

    def _opened(self, sealed: Future[bytes]) -> Future[bytes]:
        """The answer in the clear."""
        outcome: Future[bytes] = Future()

        def settle(done: Future[bytes]) -> None:
            try:
                outcome.set_result(self._crew.sealer.open(done.result(), "answer"))
            except (WorkerLost, EngineError) as error:
                outcome.set_exception(error)

        sealed.add_done_callback(settle)
        return outcome

    def dismiss(self) -> None:
        """See `Worker`."""
        with contextlib.suppress(Exception):  # the cluster may be gone, and the actor with it
            self._crew.ray.kill(self._actor, no_restart=True)


class RayCrew:
    """A connection to a cluster, and what all workers of one session share."""

    def __init__(self, ray: Any, device: str, threads: int) -> None:  # noqa: ANN401 - a module that need not be there
        self.ray, self.device, self.threads = ray, device, threads
        self.key = secrets.token_bytes(KEY_BYTES)
        self.sealer = Sealer(self.key)
        self._refs: dict[str, Any] = {}
        gpus = 0 if device == "cpu" else 1
        self.actor = ray.remote(RayBench).options(num_cpus=threads, num_gpus=gpus, max_restarts=0)

    @classmethod
    def start(cls, spec: EngineSpec, devices: list[str]) -> tuple[Pool, Callable[[], None]]:
        """A pool of certified Ray workers, and how to leave the cluster. Raises EngineError."""
        kinds = {device.partition(":")[0] for device in devices}
        if len(kinds) > 1:
            raise EngineError("with --engine ray all workers have devices of one kind: cpu or cuda")
        if "://" in spec.address:
            raise EngineError(
                "ray_address is the HOST:PORT of a cluster that this machine is part of, not a ray:// client"
            )
        ray = _library(_SILENT if spec.address else _SILENT | _ALONE | {"RAY_AUTH_TOKEN": secrets.token_hex(32)})
        leave = _join(ray, spec) if spec.address else _found(ray, spec)
        try:
            crew = cls(ray, kinds.pop(), spec.threads)
            return Pool(lambda slot: RayWorker(crew), spec.workers or crew.room()), leave
        except BaseException:
            leave()
            raise

    def room(self) -> int:
        """How many workers the cluster has resources for."""
        has = self.ray.cluster_resources()
        room = int(has.get("CPU", 0)) // self.threads
        room = room if self.device == "cpu" else min(room, int(has.get("GPU", 0)))
        if room < 1:
            raise EngineError(
                f"the Ray cluster has no room for a worker with {self.threads} threads on {self.device}: {has}"
            )
        return room

    def put(self, shared: dict[str, bytes]) -> list[Any]:
        """References to sealed values in the object store, each put there once; those of earlier jobs are let go."""
        self._refs = {token: self._refs[token] for token in shared if token in self._refs}
        for token, data in shared.items():
            if token not in self._refs:
                self._refs[token] = self.ray.put(self.sealer.seal(data, f"value {token}"))
        return [self._refs[token] for token in shared]


def _library(environment: dict[str, str]) -> Any:  # noqa: ANN401 - a module
    """Ray, which reads most of its environment when it is imported. Who joins a cluster brings its token along."""
    os.environ |= environment
    try:
        import ray

        raylet = import_module("ray._raylet")
    except ImportError:
        raise EngineError("--engine ray needs Ray 2.60 or newer: pip install 'poc-validator[ray]'") from None
    if ray.is_initialized():
        raise EngineError("this process has joined a Ray cluster already")
    # The rest it remembers from the last time that this process had a cluster.
    raylet.Config.initialize("")
    raylet.AuthenticationTokenLoader.instance().reset_cache()
    return ray


def _join(ray: Any, spec: EngineSpec) -> Callable[[], None]:  # noqa: ANN401
    _initialised(ray, address=spec.address)
    return lambda: ray.shutdown()


def _found(ray: Any, spec: EngineSpec) -> Callable[[], None]:  # noqa: ANN401
    """A cluster of our own, for as long as this process lives."""
    store = max(spec.store_mib, LEAST_STORE_MIB) << 20
    shared = shutil.disk_usage(_SHARED_MEMORY).free if _SHARED_MEMORY.exists() else 0
    if shared < store:
        raise EngineError(
            f"{_SHARED_MEMORY} has {shared >> 20} MiB free, the object store needs {store >> 20}: "
            "give it more (--shm-size in a container) or lower ray_store_mib"
        )
    folder, held = _folder()

    def leave() -> None:
        ray.shutdown()
        shutil.rmtree(folder, ignore_errors=True)
        held.close()

    try:
        _initialised(
            ray,
            address="local",
            num_cpus=max(1, spec.workers or os.cpu_count() or 1) * (spec.threads if spec.workers else 1),
            include_dashboard=False,
            object_store_memory=store,
            _temp_dir=str(folder / "ray"),  # Ray opens this one to everybody, but not the one around it
            _system_config={"automatic_object_spilling_enabled": False},
        )
        if (address := ray.util.get_node_ip_address()) != LOOPBACK:
            raise EngineError(f"Ray listens on {address}, not on {LOOPBACK} only")
    except EngineError:
        leave()
        raise
    return leave


def _folder() -> tuple[Path, IO[bytes]]:
    """A private folder, and what holds it while this process lives; those of processes that were killed are removed."""
    for old in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*/{_HELD}"):
        with contextlib.suppress(OSError), old.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if old.parent.stat().st_uid == os.getuid():
                shutil.rmtree(old.parent, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
    held = (folder / "new").open("wb")
    fcntl.flock(held, fcntl.LOCK_EX)
    (folder / "new").rename(folder / _HELD)  # nobody finds it before it is held
    return folder, held


def _initialised(ray: Any, **options: object) -> None:  # noqa: ANN401
    try:
        ray.init(log_to_driver=False, configure_logging=False, namespace=f"poc-{secrets.token_hex(8)}", **options)
    except Exception as error:  # noqa: BLE001 - Ray raises a dozen kinds
        raise EngineError(f"Ray does not start: {in_one_line(error)}") from None
