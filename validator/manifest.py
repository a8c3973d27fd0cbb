"""The DAO's document: which model, which data it is judged on, how contributions are scored and what they may earn.

A manifest is canonical JSON (sorted keys, no white space, ASCII, integers and strings only: a subset of RFC 8785) of at
most 64 KiB, so it is one raw block. Its SHA-256 is at once the digest the chain publishes and the digest inside the CID
it is fetched by. Real numbers are written as decimal strings ("0.05"): decimal-to-binary conversion is correctly
rounded everywhere, float printing is not.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from validator import strict_json
from validator.errors import ValidatorError

MAX_BYTES = 64 * 1024
FORMAT = "poc-manifest/1"
MOST_ENTRIES, MOST_DEPTH, MOST_TEXT = 64, 3, 256
"""Bounds of a model's configuration: entries of one list or object, objects and lists within each other, characters."""

Decimal = Annotated[str, StringConstraints(pattern=r"^-?[0-9]{1,12}(\.[0-9]{1,12})?$")]
HexDigest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._-]{0,63}$")]
Count = Annotated[int, Field(ge=0, le=2**40)]


class ManifestError(ValidatorError):
    """The document is not a manifest that this version of the protocol accepts."""


class Part(BaseModel):
    """Base of every part: strict types, no unknown keys, immutable."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Versions(Part):
    """The arithmetic and the rules that a node must have to score under this manifest."""

    exact: Count
    influence: Count
    rounds: Count


class File(Part):
    """A file in the content store: multihash digest of its root (SHA-256, hex), codec, and exact size in bytes."""

    digest: HexDigest
    codec: Literal["raw", "dag-pb"]
    size: Count


def _is_flat(value: object) -> bool:
    """An entry of a built-in family."""
    if isinstance(value, list):
        return len(value) <= MOST_ENTRIES and all(type(item) is int and _is_plain(item, 0) for item in value)
    return type(value) is not bool and _is_plain(value, 0)


def _is_plain(value: object, depth: int) -> bool:
    """Whether canonical JSON can hold it, at most `depth` lists and objects within each other."""
    if isinstance(value, str):
        return len(value) <= MOST_TEXT
    if isinstance(value, bool | int):
        return abs(value) <= 2**53
    if not isinstance(value, list | dict) or depth < 1 or len(value) > MOST_ENTRIES:
        return False
    parts = [*value, *value.values()] if isinstance(value, dict) else value
    names = all(isinstance(key, str) for key in value) if isinstance(value, dict) else True
    return names and all(_is_plain(part, depth - 1) for part in parts)


class Model(Part):
    """A model family by name, its configuration, and its weights as safetensors.

    Entries are integers, texts and lists of integers. Those of `transformers` may also be true or false, lists of
    texts, and objects, MOST_DEPTH deep; real numbers are decimal strings there too. What each family makes of them is
    checked when the model is built.
    """

    family: Literal["mlp", "convnet", "gpt", "transformers", "torch_export"]
    config: dict[str, Any] = Field(max_length=MOST_ENTRIES)
    weights: File

    @model_validator(mode="after")
    def _plain(self) -> Self:
        nested = self.family == "transformers"
        for key, value in self.config.items():
            if not _is_plain(key, 0) or not (_is_plain(value, MOST_DEPTH) if nested else _is_flat(value)):
                kinds = "integers, texts, true, false, lists and objects" if nested else "integers, texts and lists"
                raise ValueError(f"config.{key[:MOST_TEXT]} must be made of {kinds}, within their limits")
        return self


class Sealed(Part):
    """Queries, anchor and the key of the record hash, in one envelope addressed to the DAO's key epoch."""

    file: File
    key_epoch: Count


class Estimator(Part):
    """Which estimator scores, and its parameters: integers as integers, real numbers as decimal strings."""

    name: Literal["response", "classical", "ekfac", "mirrored", "bayesian"]
    params: dict[str, int | Decimal] = Field(default_factory=dict, max_length=32)

    @model_validator(mode="after")
    def _own_names(self) -> Self:
        taken = sorted({"problem", "estimator", "seed", "per_query", "progress", "parts"} & self.params.keys())
        if taken:
            raise ValueError(f"{', '.join(taken)} cannot be set by a manifest")
        return self

    def arguments(self) -> dict[str, Any]:
        """Parameters as numbers; decimal strings become the nearest float64."""
        return {key: value if isinstance(value, int) else float(value) for key, value in sorted(self.params.items())}


class Schema(Part):
    """Shape of one record: `inputs` (dtype, shape, closed range) and an integer `target` in [0, classes).

    With the task `next_token` a record is 2 to L tokens in [0, classes) instead, and no target: dtype int64, shape
    [L], range 0 to classes - 1. The task `classify` is the default and not written, so that there is one way to say it.
    """

    task: Literal["classify", "next_token"] = Field(default="classify", exclude_if=lambda task: task == "classify")
    format: Literal["safetensors", "jsonl"]
    dtype: Literal["float32", "uint8", "int64"]
    shape: list[Annotated[int, Field(ge=1, le=2**20)]] = Field(max_length=4)
    minimum: Decimal
    maximum: Decimal
    classes: Annotated[int, Field(ge=2, le=2**20)]

    @model_validator(mode="after")
    def _sequence(self) -> Self:
        tokens = ("int64", 1, "0", str(self.classes - 1))
        if self.task == "next_token" and (self.dtype, len(self.shape), self.minimum, self.maximum) != tokens:
            raise ValueError("next_token takes int64 of shape [L], minimum 0 and maximum classes - 1")
        if self.task == "next_token" and self.shape[0] < 2:
            raise ValueError("next_token takes sequences of at least two tokens")
        return self


class Limits(Part):
    """What is refused without being judged: envelope bytes on chain, and records in a payload."""

    envelope_bytes: Annotated[int, Field(ge=1024, le=256 * 2**20)]
    min_records: Annotated[int, Field(ge=1, le=2**20)]
    max_records: Annotated[int, Field(ge=1, le=2**20)]

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min_records > self.max_records:
            raise ValueError("min_records exceeds max_records")
        return self


class Scoring(Part):
    """From a score to a payable score, in integers of 1e-9 of the objective.

    `payable = max(0, raw - kappa_milli * stderr / 1000)`, zero below `floor`, at most `contribution_cap`. A
    contribution is judged by what it adds to the anchor and to the last `memory_records` records paid under the same
    weights.
    """

    objective: Literal["expected_error", "cross_entropy"]
    kappa_milli: Annotated[int, Field(ge=0, le=100_000)]
    floor: Count
    contribution_cap: Count
    memory_records: Annotated[int, Field(ge=0, le=2**20)]


class Rewards(Part):
    """How a round's pool is divided.

    A contribution is paid `pool * payable / max(sum of payable, full_pool_score)`: a round of little value leaves money
    in the pool. `contributor_cap_bps` bounds what one contributor takes of one pool, in 1/10,000.
    """

    full_pool_score: Annotated[int, Field(ge=1, le=2**60)]
    contributor_cap_bps: Annotated[int, Field(ge=1, le=10_000)]


class PayloadRules(Part):
    """What a contributor has to know of a manifest to prepare a payload."""

    payload: Schema
    limits: Limits


class Manifest(Part):
    """The whole document; see the parts."""

    format: Literal["poc-manifest/1"]
    name: Name
    versions: Versions
    model: Model
    sealed: Sealed
    estimator: Estimator
    payload: Schema
    limits: Limits
    scoring: Scoring
    rewards: Rewards

    def to_bytes(self) -> bytes:
        """The canonical bytes; their SHA-256 is the manifest's identity."""
        return json.dumps(self.model_dump(), sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()

    def digest(self) -> bytes:
        """SHA-256 of the canonical bytes: what `DataDAO.publishManifest` takes."""
        return hashlib.sha256(self.to_bytes()).digest()


def make_manifest(document: Any) -> Manifest:  # noqa: ANN401 - whatever JSON or TOML held
    """A manifest from plain data; raises `ManifestError` that names the first thing wrong."""
    try:
        return Manifest.model_validate(document)
    except ValidationError as error:
        raise ManifestError(f"manifest refused: {_first_line(error)}") from None


def parse_manifest(data: bytes) -> Manifest:
    """Read a manifest from untrusted bytes; raises `ManifestError` unless it is valid and canonical."""
    if len(data) > MAX_BYTES:
        raise ManifestError(f"manifest of {len(data)} bytes exceeds the limit of {MAX_BYTES}")
    try:
        document: Any = strict_json.loads(data)
    except ValueError as error:
        raise ManifestError(f"manifest refused: {_first_line(error)}") from None
    manifest = make_manifest(document)
    if manifest.to_bytes() != data:
        raise ManifestError("manifest refused: not in canonical form (sorted keys, no white space, no duplicate keys)")
    return manifest


def read_rules(data: bytes) -> PayloadRules:
    """What a contributor needs of a manifest: from its canonical bytes, or from the steward's manifest.toml, which
    names no files yet. Raises ManifestError.
    """
    if len(data) > MAX_BYTES:
        raise ManifestError(f"manifest of more than {MAX_BYTES} bytes")
    if data.lstrip()[:1] == b"{":
        manifest = parse_manifest(data)
        return PayloadRules(payload=manifest.payload, limits=manifest.limits)
    try:
        document = tomllib.loads(data.decode())
        return PayloadRules.model_validate({key: document.get(key, {}) for key in ("payload", "limits")})
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ManifestError(f"the manifest is neither canonical JSON nor TOML: {error}") from None
    except ValidationError as error:
        raise ManifestError(f"manifest refused: {_first_line(error)}") from None


def _first_line(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
    return str(error).splitlines()[0]
