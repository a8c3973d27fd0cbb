"""Made-up contributions for `validator dao check`: records of the anchor, as a contributor would bring them."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import torch

from validator.errors import ValidatorError
from validator.exact.random import Stream
from validator.influence import Records
from validator.influence.records import NO_TARGET
from validator.manifest import Manifest
from validator.payload import Malformed, encode_jsonl, encode_safetensors, parse
from validator.payload.safetensors_format import parse_safetensors
from validator.payload.schema import PADDING, Array
from validator.stages.open import payload_schema


class CheckError(ValidatorError):
    """The folder is whole, and cannot be scored with all the same."""


def draw(anchor: Records, contributions: int, size: int, seed: bytes) -> Records:
    """`contributions * size` records of the anchor in an order of our own, over and over."""
    stream, wanted = Stream(seed, "crowd"), contributions * size
    orders = [stream.permutation(len(anchor)) for _ in range(-(-wanted // len(anchor)))]
    return anchor.select(torch.cat(orders)[:wanted])


def check_payload(name: str, records: Records, manifest: Manifest) -> None:
    """Raises CheckError unless a contributor could bring these very records, but for their number."""
    data = _payload(records, manifest)
    schema = replace(payload_schema(manifest), max_records=len(records), max_bytes=len(data))
    try:
        parse_safetensors(data, schema)
    except Malformed as error:
        raise CheckError(f"{name}: no contributor could bring such records: {error}") from None


def _payload(records: Records, manifest: Manifest) -> bytes:
    return encode_safetensors(*_arrays(records, manifest))


def _arrays(records: Records, manifest: Manifest) -> tuple[Array, Array | None]:
    """Inputs and targets as a contributor has them: sequences as tokens padded with -1, without targets."""
    inputs = records.inputs
    if records.targets.dim() == 2:
        ends = torch.cat([torch.zeros_like(inputs[:, :1], dtype=torch.bool), records.targets[:, :-1] == NO_TARGET], 1)
        return torch.where(ends, PADDING, inputs).numpy(), None
    pixels = manifest.payload.dtype == "uint8" and bool((inputs == inputs.to(torch.uint8)).all())
    return (inputs.to(torch.uint8) if pixels else inputs).numpy(), records.targets.numpy().astype(np.int64)


def opening_seconds(records: Records, manifest: Manifest) -> float:
    """Seconds to parse a contribution in its worker. Raises CheckError when the manifest's own limits refuse it."""
    text = manifest.payload.format == "jsonl"
    data = encode_jsonl(*_arrays(records, manifest)) if text else _payload(records, manifest)
    started = time.perf_counter()
    try:
        parse(data, manifest.payload.format, payload_schema(manifest))
    except Malformed as error:
        raise CheckError(f"a contribution of {len(records)} records is refused by limits: {error}") from None
    return time.perf_counter() - started
