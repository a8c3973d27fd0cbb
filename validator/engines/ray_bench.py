"""A worker as a Ray actor. What it gets and gives are ciphertexts under the key of one session with one node."""

from __future__ import annotations

from typing import Any

from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from validator.engines.bench import Bench
from validator.engines.errors import EngineError
from validator.engines.wire import Sealer, pack, unpack

INFO = b"poc-engine/1 session key"


def suite() -> hpke.Suite:
    """How the session key travels: RFC 9180 base mode."""
    return hpke.Suite(hpke.KEM.X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)


def sealed_key(key: bytes, public: bytes) -> bytes:
    """The session key for the worker that greeted with `public`."""
    return suite().encrypt(key, X25519PublicKey.from_public_bytes(public), INFO)


class RayBench:
    """Made an actor by ray_crew. It greets, is given a key, shows its certificate, and works."""

    def __init__(self, device: str, threads: int) -> None:
        self._bench, self._own = Bench(device, threads), X25519PrivateKey.generate()
        self._sealer: Sealer | None = None

    def greet(self) -> bytes:
        """32 bytes to seal the session key to."""
        return self._own.public_key().public_bytes_raw()

    def certify(self, sealed: bytes) -> bytes:
        """Take the session key, and answer with the sealed certificate."""
        self._sealer = Sealer(suite().decrypt(sealed, self._own, INFO))
        return self._sealer.seal(pack(self._bench.certify()), "certificate")

    def work(self, job: bytes, tokens: list[str], refs: list[Any]) -> bytes:
        """A sealed job to a sealed answer; `refs` name the sealed shared values in the object store."""
        import ray

        if self._sealer is None:
            raise EngineError("internal error: a worker is asked to work before it was given a key")
        opened = self._sealer.open(job, "job")
        missing = [(token, ref) for token, ref in zip(tokens, refs, strict=True) if not self._bench.holds(token)]
        shared = {token: self._sealer.open(ray.get(ref), f"value {token}") for token, ref in missing}
        return self._sealer.seal(self._bench.work(opened, shared), "answer")


def read_certificate(sealed: bytes, sealer: Sealer) -> Any:  # noqa: ANN401 - a Certificate
    """The inverse of what `certify` gives."""
    return unpack(sealer.open(sealed, "certificate"))
