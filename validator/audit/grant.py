"""A grant of one round: the keys that its audit at levels 3 and 4 needs, wrapped for one auditor, and nothing more.

The document is public: each key is an HPKE wrap to the auditor's X25519 key, with `info` = "poc-audit-grant/1\\n" and
as canonical JSON chain, contract, round, the digest of the evidence, and what the key is for. So a wrap cannot be moved
to another place or another grant.

It needs no signature. A DEK is right or wrong by the commitment in its envelope's header, which the chain names by its
CID; the key of a shared file is right or wrong by the file's synthetic IV. What a grant cannot prove is that an
envelope does *not* open: if the epoch's key is among its recipients and the wrap does not yield the DEK, only holders
of the epoch's secret see it. The audit counts those as on the granter's word.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import msgspec

from validator.audit.case import AuditError, Case
from validator.content import Cid, ContentError
from validator.envelope import (
    Context,
    EnvelopeError,
    FileKeys,
    Undecryptable,
    checked_head,
    file_keys,
    key_id,
    open_with_dek,
    public_key,
    unwrap_dek,
)
from validator.envelope.format import canonical
from validator.envelope.keys import unwrap, wrap
from validator.envelope.shared import IV_BYTES
from validator.rounds.evidence import Hex32
from validator.rounds.types import Status
from validator.stages.documents import PROBES_INFO, dao_context, read_by_digest, read_named
from validator.stages.keyring import EpochKeys
from validator.stages.memory import MEMORY_INFO, files_of_memory

FORMAT = "poc-audit-grant/1"
MAX_BYTES = 64 * 2**20
PROBES_BYTES = 2**30

Wrap = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{160}$")]
Purpose = Annotated[str, msgspec.Meta(pattern=r"^poc-(probes|memory)/1$")]
Natural = Annotated[int, msgspec.Meta(ge=0)]


class EnvelopeKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The wrapped DEK of one envelope, named by the SHA-256 of its head."""

    head: Hex32
    dek: Wrap


class SharedKeys(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The wrapped keys of one shared file, named by its first 32 bytes."""

    purpose: Purpose
    iv: Hex32
    iv_key: Wrap
    file_key: Wrap


class AuditGrant(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The document. `auditor`: the X25519 public key that it is for."""

    format: str
    chain_id: Natural
    contract: str
    round: Natural
    evidence: Hex32
    auditor: Hex32
    envelopes: list[EnvelopeKey]
    files: list[SharedKeys]

    def to_bytes(self) -> bytes:
        """Canonical bytes."""
        return msgspec.json.encode(self, order="sorted")

    def info(self, what: str, name: str) -> bytes:
        """What each wrap is bound to."""
        place = {"chain_id": self.chain_id, "contract": self.contract, "round": self.round, "evidence": self.evidence}
        return f"{FORMAT}\n".encode() + canonical({**place, "key": what, "of": name})


def make_grant(case: Case, keys: EpochKeys, auditor: bytes) -> AuditGrant:
    """Re-wrap what the audit of a round needs to the X25519 key `auditor`.

    Raises AuditError when `keys` lack an epoch that the round needs, BadKey for a key that is none, ContentError when
    an envelope or a file is not to be had.
    """
    missing = keys.missing(needed_epochs(case))
    if missing:
        raise AuditError(f"key epoch {', '.join(map(str, missing))} is not in this home: grant from one that has it")
    grant = _empty(case, auditor)
    envelopes = dict(_deks(case, keys))
    files = {found.iv: (purpose, found) for purpose, found in _files(case, keys)}
    return msgspec.structs.replace(
        grant,
        envelopes=[
            EnvelopeKey(head, wrap(dek, auditor, grant.info("dek", head)).hex())
            for head, dek in sorted(envelopes.items())
        ],
        files=[
            SharedKeys(
                purpose,
                iv.hex(),
                wrap(found.iv_key, auditor, grant.info("iv", iv.hex())).hex(),
                wrap(found.file_key, auditor, grant.info("file", iv.hex())).hex(),
            )
            for iv, (purpose, found) in sorted(files.items())
        ],
    )


def parse_grant(data: bytes) -> AuditGrant:
    """Read a grant from untrusted bytes. Raises AuditError."""
    if len(data) > MAX_BYTES:
        raise AuditError(f"the grant has {len(data)} bytes, at most {MAX_BYTES} are read")
    try:
        grant = msgspec.json.decode(data, type=AuditGrant)
    except msgspec.MsgspecError as error:
        raise AuditError(f"the grant is refused: {error}") from None
    if grant.format != FORMAT or grant.to_bytes() != data:
        raise AuditError(f"the grant is refused: not {FORMAT} in canonical form")
    return grant


class GrantedKeys:
    """A grant, opened by its auditor, for one case. `on_word` counts envelopes that only the granter could not open."""

    def __init__(self, grant: AuditGrant, case: Case, secret: bytes) -> None:
        """Unwraps every key. Raises AuditError for a grant of another round or for another auditor, or a damaged one,
        BadKey for a `secret` that is none.
        """
        _check_place(grant, case, public_key(secret))
        self._deks = {one.head: _unwrap(grant, one.dek, secret, "dek", one.head) for one in grant.envelopes}
        self._files = {
            (one.purpose, one.iv): FileKeys(
                bytes.fromhex(one.iv),
                _unwrap(grant, one.iv_key, secret, "iv", one.iv),
                _unwrap(grant, one.file_key, secret, "file", one.iv),
            )
            for one in grant.files
        }
        self._published = {
            int(fact.args["epoch"]): bytes(fact.args["publicKey"])
            for fact in case.facts
            if fact.name == "KeyEpochPublished"
        }
        self._lines = [line for line in case.evidence.contributions if line.included]
        self._on_word: set[bytes] = set()

    @property
    def on_word(self) -> int:
        """Envelopes that have the DAO's key among their recipients and no DEK in the grant."""
        return len(self._on_word)

    def missing(self, epochs: set[int]) -> list[int]:
        """None: a grant is not by epoch."""
        return []

    def open(self, sealed: bytes, expected: Context, limit: int) -> bytes:
        """As `open_envelope`; AuditError when the grant's DEK is not the one that the envelope commits to."""
        head = checked_head(sealed, expected)
        dek = self._deks.get(head.digest.hex())
        if dek is None:
            kid = key_id(self._published[expected.key_epoch])
            if all(one.kid != kid for one in head.header.recipients):
                raise Undecryptable("not sealed for the DAO's key", "not-a-recipient")
            self._check_word(expected.contributor, len(sealed))
            self._on_word.add(head.digest)
            raise Undecryptable("the granter could not open it either", "wrap")
        try:
            return open_with_dek(sealed, dek, expected, limit)
        except Undecryptable as error:
            if error.reason == "commitment":
                raise AuditError(
                    f"the grant's key for the envelope of {expected.contributor} is not the one that it commits to: "
                    "ask for another grant"
                ) from None
            raise

    def _check_word(self, contributor: str, size: int) -> None:
        """A key may only be missing where the round's answer says that the envelope does not open."""
        lines = [one for one in self._lines if (one.contributor, one.size) == (contributor, size)]
        if not any(one.status == Status.UNDECRYPTABLE for one in lines):
            which = ", ".join(str(one.id) for one in lines) or "of the manifest's file"
            raise AuditError(f"the grant lacks the key of contribution {which}: ask for another, of another granter")

    def open_shared(self, epoch: int, sealed: bytes, info: bytes) -> bytes:
        """As the function of that name; AuditError when the grant has not the right keys."""
        keys = self._files.get((info.decode(), sealed[:IV_BYTES].hex()))
        if keys is None:
            raise AuditError(f"the grant lacks the keys of a {info.decode()} file: ask for another grant")
        try:
            return keys.open(sealed, info)
        except EnvelopeError:
            raise AuditError(f"the grant's keys of a {info.decode()} file are wrong: ask for another grant") from None

    def seal_shared(self, epoch: int, plain: bytes, info: bytes) -> bytes:
        """The file if it is one of the round's; otherwise a stand-in that is not (see `FileKeys.seal`)."""
        sealed = bytes(IV_BYTES + len(plain) + 16)
        for (purpose, iv), keys in self._files.items():
            if purpose == info.decode():
                sealed = keys.seal(plain, info)
                if sealed[:IV_BYTES].hex() == iv:
                    break
        return sealed


def needed_epochs(case: Case) -> set[int]:
    """Key epochs that a level 3 or 4 of this round opens something of."""
    held = {line.id for line in case.evidence.contributions if line.included}
    epochs = {case.manifest.sealed.key_epoch} | {one.key_epoch for one in case.submitted if one.id in held}
    return epochs | {item.epoch for item in files_of_memory(case.store, case.manifest, case.carry)}


def _empty(case: Case, auditor: bytes) -> AuditGrant:
    return AuditGrant(
        format=FORMAT,
        chain_id=case.deployment.chain_id,
        contract=case.deployment.rounds.lower(),
        round=case.state.round,
        evidence=case.attestation.evidence.hex(),
        auditor=auditor.hex(),
        envelopes=[],
        files=[],
    )


def _check_place(grant: AuditGrant, case: Case, public: bytes) -> None:
    mine = _empty(case, public)
    for name, word in (("chain_id", "chain"), ("contract", "contract"), ("round", "round"), ("evidence", "answer")):
        if getattr(grant, name) != getattr(mine, name):
            raise AuditError(f"the grant is for {word} {getattr(grant, name)}, this audit is of {getattr(mine, name)}")
    if grant.auditor != mine.auditor:
        raise AuditError(f"the grant is for the HPKE key 0x{grant.auditor}, this home's is 0x{mine.auditor}")
    # The manifest's file, one an envelope, and a file for each earlier round that this one is judged on top of.
    if len(grant.envelopes) > len(case.submitted) + 1 or len(grant.files) > len(case.carry.memory) + 2:
        raise AuditError("the grant holds more keys than the round can need: it is refused")


def _unwrap(grant: AuditGrant, wrapped: str, secret: bytes, what: str, name: str) -> bytes:
    key = unwrap(bytes.fromhex(wrapped), secret, grant.info(what, name))
    if key is None:
        raise AuditError("the grant is damaged: a key in it does not open; ask for it again")
    return key


def _deks(case: Case, keys: EpochKeys) -> Iterator[tuple[str, bytes]]:
    """(digest of the head, DEK) of the manifest's file and of every included envelope that yields one."""
    place = (case.deployment.chain_id, case.deployment.rounds.lower())
    context = dao_context(*place, case.deployment.dao, case.manifest.sealed.key_epoch)
    sealed = read_named(case.store, case.manifest.sealed.file)
    yield _dek(sealed, keys[context.key_epoch], context)
    for submission, line in zip(case.submitted, case.evidence.contributions, strict=True):
        if not line.included:
            continue
        try:
            sealed = case.store.read(Cid.from_chain(submission.digest, submission.codec), submission.size)
            context = Context(*place, submission.key_epoch, submission.contributor.lower())
            yield _dek(sealed, keys[submission.key_epoch], context)
        except EnvelopeError:
            continue  # refused for what it is; the audit comes to the same
        except ContentError as error:
            raise AuditError(f"contribution {submission.id} is not to be had: {error}") from None


def _dek(sealed: bytes, secret: bytes, context: Context) -> tuple[str, bytes]:
    return checked_head(sealed, context).digest.hex(), unwrap_dek(sealed, secret, context)


def _files(case: Case, keys: EpochKeys) -> Iterator[tuple[str, FileKeys]]:
    """Keys of the round's probes and paid records, and of the earlier records that it is judged on top of."""
    evidence = case.evidence
    wanted = [(PROBES_INFO, case.manifest.sealed.key_epoch, evidence.probes, PROBES_BYTES)]
    if evidence.memory_count:
        wanted.append((MEMORY_INFO, evidence.memory_epoch, evidence.memory, evidence.memory_size))
    earlier = files_of_memory(case.store, case.manifest, case.carry)
    wanted += [(MEMORY_INFO, item.epoch, item.digest.hex(), item.size) for item in earlier]
    for info, epoch, digest, limit in wanted:
        sealed = read_by_digest(case.store, bytes.fromhex(digest), limit)
        yield info.decode(), file_keys(keys[epoch], sealed[:IV_BYTES], info)
