"""What this installation is: its release, and every number that others must agree with."""

from __future__ import annotations

import platform
from dataclasses import asdict, dataclass
from importlib.metadata import version as installed
from typing import Any

from validator.audit import grant, report
from validator.chain import typed_data
from validator.envelope.format import MAGIC as ENVELOPE
from validator.families import program as programs
from validator.journal import database, interchange
from validator.manifest import FORMAT as MANIFEST
from validator.rounds.evidence import FORMAT as EVIDENCE
from validator.rounds.score import own_versions

DISTRIBUTION = "poc-validator"


@dataclass(frozen=True, slots=True)
class Release:
    """`exact`, `influence` and `rounds` decide which manifests this node can score; `schema` is that of its journal;
    `protocol` names the documents and signatures that it reads and writes.
    """

    program: str
    exact: int
    influence: int
    rounds: int
    schema: int
    protocol: dict[str, str]
    python: str
    torch: str

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def program() -> str:
    """The release of this program."""
    return installed(DISTRIBUTION)


def release() -> Release:
    """All of it."""
    scorer = own_versions()
    return Release(
        program=program(),
        exact=scorer.exact,
        influence=scorer.influence,
        rounds=scorer.rounds,
        schema=database.schema(),
        protocol={
            "attestation": f"{typed_data.NAME}/{typed_data.VERSION}",
            "audit_grant": grant.FORMAT,
            "audit_report": report.FORMAT,
            "envelope": ENVELOPE.decode().strip(),
            "evidence": EVIDENCE,
            "manifest": MANIFEST,
            "program": programs.FORMAT,
            "signing_history": interchange.FORMAT,
        },
        python=platform.python_version(),
        torch=installed("torch"),
    )
