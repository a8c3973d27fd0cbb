"""A file of Vana's as a round of one contribution: the same scorer, the same evidence, and one number at the end.

Vana asks for one score between 0 and 1 (in 1e-18) a file, from one prover. So each file is judged by `score_round` as a
round that holds it alone, with a pool of 1e18: what the rules of a round pay it out of that pool is its score. The
manifest's `full_pool_score` is what earns 1, its `contributor_cap_bps` bounds it, and there is no second rule of
rounding. What earlier files were paid for counts as known, in the order in which this node judged them: each bundle
names the one before (docs/decisions/0019-vana.md).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from validator.rounds.evidence import Evidence
from validator.rounds.seed import round_seed
from validator.rounds.types import Status, Terms

POOL = 10**18
"""Vana's 1.0."""
ATTEMPT = 1


def terms_of_file(chain_id: int, registry: str, job: int, file: int, manifest: bytes, beacon: bytes) -> Terms:
    """The terms of a round of file `file` alone, for job `job`. `beacon`: hash of the block that holds the job, which
    the contributor did not know when the data were encrypted.
    """
    place = registry.lower()
    seed = round_seed(chain_id, place, job, manifest, beacon)
    return Terms(chain_id, place, job, ATTEMPT, manifest, beacon, seed, POOL, file, file + 1)


def score_of(evidence: Evidence) -> int:
    """Vana's score of the file, in 1e-18."""
    (line,) = evidence.contributions
    if line.paid > POOL:
        raise AssertionError(f"internal error: a file was paid {line.paid} out of {POOL}")
    return line.paid


def metadata(attestation: bytes, evidence: str, manifest: bytes, versions: Mapping[str, int]) -> str:
    """The text that is signed along with the score: our EIP-712 attestation digest, the CID of the evidence bundle, the
    manifest's digest, and what computed it. Canonical JSON.
    """
    said = {
        "attestation": f"0x{attestation.hex()}",
        "evidence": evidence,
        "manifest": f"0x{manifest.hex()}",
        "scorer": f"poc/exact-{versions['exact']}/influence-{versions['influence']}/rounds-{versions['rounds']}",
    }
    return json.dumps(said, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def results(evidence: Evidence, dlp_id: int, *, signed: str, plain_digest: str) -> dict[str, Any]:
    """`results.json`, as Vana's proof containers write it (ratings 0 to 1), and what we can say beyond it.

    Ratings hold what was measured and nothing else: `authenticity`, that the file is whole and in the DAO's schema;
    `ownership`, that its owner granted the key that opens it; `uniqueness`, the share of its records that nobody was
    paid for before; `quality`, the score. `signed`: the metadata of the proof. `plain_digest`: SHA-256 of what was
    opened, hex, "" if it was not.
    """
    (line,) = evidence.contributions
    score, opened = score_of(evidence), line.records + line.repeats > 0
    return {
        "dlp_id": dlp_id,
        "valid": score > 0,
        "score": score / POOL,
        "authenticity": 1.0 if opened else 0.0,
        "ownership": 1.0 if opened else 0.0,
        "quality": score / POOL,
        "uniqueness": line.records / (line.records + line.repeats) if opened else 0.0,
        "attributes": {
            "score_wad": str(score),
            "status": Status(line.status).name.lower(),
            "reason": line.reason,
            "words": line.words(),
            "records": line.records,
            "repeats": line.repeats,
            "raw": line.raw,
            "stderr": line.stderr,
            "payable": line.payable,
        },
        "metadata": {
            "file_id": line.id,
            "owner_address": line.contributor,
            "encrypted_file_digest": line.digest,
            "decrypted_file_checksum": plain_digest,
            **json.loads(signed),
        },
    }
