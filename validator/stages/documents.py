"""From digests on chain to the things that scoring needs: manifest, model, queries and anchor, earlier evidence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from validator.content import BadDag, Cid, ContentSource, NotFound, root
from validator.envelope import Context
from validator.errors import ValidatorError
from validator.families import check_apart, check_tokens, open_model
from validator.influence import InfluenceError, Problem, Records
from validator.manifest import MAX_BYTES as MANIFEST_BYTES
from validator.manifest import File, Manifest, parse_manifest
from validator.rounds.carry import carry_after
from validator.rounds.evidence import MAX_BYTES as EVIDENCE_BYTES
from validator.rounds.evidence import Evidence, parse_evidence
from validator.rounds.hashes import HASH_BYTES
from validator.rounds.types import Carry
from validator.stages.keyring import Keyring

CODECS = {"raw": 0, "dag-pb": 1}
RECORD_KEY_BYTES = 32
PROBES_INFO = b"poc-probes/1"


class DocumentError(ValidatorError):
    """A document of the DAO is authentic but not what the protocol expects."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What contributions are judged by: the problem (model, anchor, queries) and the secret key of the record hash."""

    problem: Problem
    record_key: bytes


def load_manifest(store: ContentSource, digest: bytes) -> Manifest:
    """The manifest that the chain names by `digest`; raises ContentError or ManifestError."""
    return parse_manifest(store.read(Cid.from_chain(digest, CODECS["raw"]), MANIFEST_BYTES))


def read_named(store: ContentSource, file: File) -> bytes:
    """A file that a manifest names, of exactly the size it states."""
    data = store.read(Cid.from_chain(bytes.fromhex(file.digest), CODECS[file.codec]), file.size)
    if len(data) != file.size:
        raise DocumentError(f"file {file.digest} holds {len(data)} bytes, the manifest says {file.size}")
    return data


def dao_context(chain_id: int, rounds: str, dao: str, key_epoch: int) -> Context:
    """The context that the DAO's own sealed file is bound to: the DAO itself is its contributor."""
    return Context(chain_id=chain_id, contract=rounds.lower(), key_epoch=key_epoch, contributor=dao.lower())


def pack_sealed(anchor: Records, queries: Records, record_key: bytes) -> bytes:
    """Plaintext of the sealed file, as safetensors."""
    return save_tensors(
        {
            "anchor.inputs": anchor.inputs.contiguous(),
            "anchor.targets": anchor.targets.contiguous(),
            "queries.inputs": queries.inputs.contiguous(),
            "queries.targets": queries.targets.contiguous(),
            "record_key": torch.tensor(list(record_key), dtype=torch.uint8),
        }
    )


def load_judgement(store: ContentSource, manifest: Manifest, keys: Keyring, context: Context) -> Judgement:
    """Fetch weights and sealed file, open the latter, and put the problem together."""
    weights = read_named(store, manifest.model.weights)
    sealed = read_named(store, manifest.sealed.file)
    plain = keys.open(sealed, context, len(sealed))
    try:
        tensors = load_tensors(plain)
        anchor = Records(tensors["anchor.inputs"], tensors["anchor.targets"])
        queries = Records(tensors["queries.inputs"], tensors["queries.targets"])
        key = bytes(tensors["record_key"].tolist())
    except (SafetensorError, KeyError, InfluenceError) as error:
        raise DocumentError(f"the sealed file of the manifest lacks a part: {error}") from None
    if len(key) != RECORD_KEY_BYTES:
        raise DocumentError(f"the record key of the sealed file has {len(key)} bytes, wanted {RECORD_KEY_BYTES}")
    problem = _problem(manifest, weights, anchor, queries)
    return Judgement(problem, key)


def put_together(manifest: Manifest, weights: bytes, anchor: Records, queries: Records) -> Problem:
    """The problem of a manifest's model and data. Raises InfluenceError when they do not fit."""
    model = open_model(manifest.model, weights)
    check_tokens(model, manifest.payload, {"anchor": anchor, "queries": queries})
    problem = Problem(model, anchor, queries, objective=manifest.scoring.objective)
    check_apart(model, anchor.inputs)
    return problem


def _problem(manifest: Manifest, weights: bytes, anchor: Records, queries: Records) -> Problem:
    try:
        problem = put_together(manifest, weights, anchor, queries)
    except InfluenceError as error:
        raise DocumentError(f"the manifest's model and data do not fit together: {error}") from error
    rules, sequences = manifest.payload, queries.targets.dim() == 2
    fits = (list(queries.inputs.shape[1:]), problem.classes, "next_token" if sequences else "classify")
    if fits != (rules.shape, rules.classes, rules.task):
        # Else a contribution that the schema accepts could be one that the model cannot take.
        raise DocumentError("the manifest's payload schema does not fit its model and queries")
    return problem


def read_evidence(store: ContentSource, digest: bytes) -> Evidence:
    """The bundle that an attestation names."""
    return parse_evidence(read_by_digest(store, digest, EVIDENCE_BYTES))


def read_by_digest(store: ContentSource, digest: bytes, limit: int) -> bytes:
    """A file by the digest of its root block alone: small files are one raw block, larger ones hang under dag-pb.

    Stores find blocks by digest, whatever codec is asked for, so the root itself must say what it is: dag-pb is tried
    first. JSON never is a well-formed UnixFS node, and ciphertext and hashes are one by no accident that happens.
    """
    try:
        return store.read(Cid.from_chain(digest, CODECS["dag-pb"]), limit)
    except (BadDag, NotFound):
        return store.read(Cid.from_chain(digest, CODECS["raw"]), limit)


def file_digest(data: bytes) -> bytes:
    """Digest of the root block that a file has in the content store."""
    return root(data).digest


def load_carry(store: ContentSource, digests: Sequence[bytes], known: Carry | None = None) -> Carry:
    """What the next round inherits, from the bundles of all finalised rounds in order.

    `known`: a carry from before; only what came after it is read.
    """
    carry = known or Carry()
    if carry.rounds > len(digests) or (carry.rounds and digests[carry.rounds - 1] != carry.evidence):
        carry = Carry()
    for digest in digests[carry.rounds :]:
        evidence = read_evidence(store, digest)
        accepted = read_by_digest(store, bytes.fromhex(evidence.accepted), HASH_BYTES * evidence.accepted_count)
        carry = carry_after(carry, digest, evidence, accepted)
    return carry
