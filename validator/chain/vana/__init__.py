"""Vana's data DAOs, seen from a node: files, jobs and proofs of the contracts that this adapter was written for.

The interface is the published one (file and proof model, DataRegistry version 2). Its addresses are configuration, its
versions are asked for, and none of its events is believed without the state behind it. What is weak in it, and stays
so whatever we do, stands in docs/vana.md.
"""

from __future__ import annotations

from validator.chain.vana.contracts import VanaDataRegistry, VanaDlp, VanaTeePool
from validator.chain.vana.errors import NotVana
from validator.chain.vana.events import VanaEvents
from validator.chain.vana.gate import Contracts, check_versions
from validator.chain.vana.key import VanaKey
from validator.chain.vana.proof import proof_digest
from validator.chain.vana.types import File, Job, JobStatus, Place, Proof, ProofData, Tee

__all__ = [
    "Contracts",
    "File",
    "Job",
    "JobStatus",
    "NotVana",
    "Place",
    "Proof",
    "ProofData",
    "Tee",
    "VanaDataRegistry",
    "VanaDlp",
    "VanaEvents",
    "VanaKey",
    "VanaTeePool",
    "check_versions",
    "proof_digest",
]
