"""What the model has not learnt yet: records that were paid in earlier rounds, while its weights stayed the same.

A keyed hash recognises a record to the last bit only. So that a near-copy of paid data adds nothing either, each round
leaves the records that it paid in a sealed file, and later rounds judge contributions by what they add to the anchor
and these. New weights end it: the DAO is expected to have trained on what it paid for.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from safetensors.torch import save

from validator.influence import InfluenceError, Records
from validator.influence.models import load_tensors
from validator.influence.records import concat
from validator.rounds.evidence import MEMORY_BYTES, EvidenceError

_FILE_BYTES = MEMORY_BYTES // 2


def pack(records: Records) -> bytes:
    """The file of the records paid in one round: safetensors."""
    return bytes(save({"inputs": records.inputs.contiguous(), "targets": records.targets.contiguous()}))


def unpack(data: bytes, count: int, like: Records) -> Records:
    """The inverse: `count` records of the kind of `like`. Raises EvidenceError when the file holds anything else."""
    kinds = {
        name: (tensor.dtype, (count, *tensor.shape[1:]))
        for name, tensor in (("inputs", like.inputs), ("targets", like.targets))
    }
    try:
        found = load_tensors(data, kinds)
        return Records(found["inputs"], found["targets"])
    except InfluenceError as error:
        raise EvidenceError(f"a file of paid records cannot be used: {error}") from None


def latest(parts: Iterable[Records], most: int) -> Records | None:
    """The last `most` records of all parts, oldest first, and no more than fit into a file; None when there is none."""
    kept = Latest(most)
    for part in parts:
        kept.add(part)
    return kept.records()


class Latest:
    """The last `most` records of all that are added, and no more than fit into a file; earlier ones are let go."""

    def __init__(self, most: int) -> None:
        self._most, self._parts, self._count = most, deque[Records](), 0

    def add(self, records: Records) -> None:
        """The next ones."""
        if self._most == 0:
            return
        self._parts.append(records)
        self._count += len(records)
        most = self._room(records)
        while self._count - len(self._parts[0]) >= most:
            self._count -= len(self._parts.popleft())

    def records(self) -> Records | None:
        """Those, oldest first; None when there is none."""
        if not self._parts:
            return None
        together = concat(self._parts)
        return together.between(max(0, len(together) - self._room(together)), len(together))

    def _room(self, like: Records) -> int:
        return max(1, min(self._most, _FILE_BYTES // _bytes_of_one(like)))


def _bytes_of_one(records: Records) -> int:
    return sum(tensor[:1].numel() * tensor.element_size() for tensor in (records.inputs, records.targets))
