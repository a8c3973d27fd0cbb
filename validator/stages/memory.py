"""Records that earlier rounds paid for, from the sealed files that their bundles name.

They count for as long as the DAO publishes neither new weights nor another payload schema.
"""

from __future__ import annotations

from collections.abc import Iterator

from validator.content import ContentSource
from validator.influence import Records
from validator.manifest import Manifest
from validator.rounds.memory import latest, unpack
from validator.rounds.types import Carry, Remembered
from validator.stages.documents import file_digest, load_manifest, read_by_digest
from validator.stages.keyring import Keyring

MEMORY_INFO = b"poc-memory/1"


def seal_memory(keys: Keyring, plain: bytes, epoch: int) -> bytes:
    """The file as it is published: only holders of the key epoch can read it, and all of them write the same bytes."""
    return keys.seal_shared(epoch, plain, MEMORY_INFO)


def name_memory(keys: Keyring, plain: bytes, epoch: int) -> tuple[bytes, int]:
    """Digest and size of the sealed file."""
    sealed = seal_memory(keys, plain, epoch)
    return file_digest(sealed), len(sealed)


def epochs_of_memory(store: ContentSource, manifest: Manifest, carry: Carry) -> set[int]:
    """Key epochs that `load_memory` needs the secrets of."""
    return {item.epoch for item in files_of_memory(store, manifest, carry)}


def load_memory(store: ContentSource, manifest: Manifest, carry: Carry, keys: Keyring, like: Records) -> Records | None:
    """What a round under `manifest` judges contributions on top of, oldest first; None when there is nothing.

    `like`: the anchor, whose dtypes and shapes the records have. Raises ContentError, BadKey or EvidenceError when a
    file is not what its bundle says.
    """
    rounds = []
    for item in files_of_memory(store, manifest, carry):
        plain = keys.open_shared(item.epoch, read_by_digest(store, item.digest, item.size), MEMORY_INFO)
        rounds.append(unpack(plain, item.count, like))
    return latest(rounds[::-1], manifest.scoring.memory_records)


def files_of_memory(store: ContentSource, manifest: Manifest, carry: Carry) -> Iterator[Remembered]:
    """Files that hold the last `memory_records` records, newest first."""
    wanted = manifest.scoring.memory_records
    for item in reversed(carry.memory):
        earlier = load_manifest(store, item.manifest)
        if wanted <= 0 or (earlier.model.weights, earlier.payload) != (manifest.model.weights, manifest.payload):
            return
        if item.count:
            yield item
            wanted -= item.count
