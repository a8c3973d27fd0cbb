"""The journalled events, folded: our jobs in order, the files that they are about, and what was granted to us."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from validator.journal.database import Row


@dataclass(frozen=True, slots=True)
class JobSeen:
    """A job that was assigned to us, as announced in a final block."""

    id: int
    file_id: int
    bid: int
    block: int


@dataclass(slots=True)
class Ledger:
    """`files`: (owner, url) as announced, where the announcement was kept; `grants`: how often a key of each file was
    granted to us; `ended`: jobs that were cancelled, or have their proof.
    """

    jobs: dict[int, JobSeen] = field(default_factory=dict)
    files: dict[int, tuple[str, str]] = field(default_factory=dict)
    grants: dict[int, int] = field(default_factory=dict)
    ended: dict[int, str] = field(default_factory=dict)

    def open_jobs(self) -> list[JobSeen]:
        """Those that are not ended, in order."""
        return [job for id_, job in sorted(self.jobs.items()) if id_ not in self.ended]


def fold(rows: Iterable[Row], account: str) -> Ledger:
    """Of a file announced twice, by both events or again with a schema, the first announcement counts."""
    ledger = Ledger()
    for row in rows:
        args = row.args
        if row.name in ("FileAdded", "FileAddedV2"):
            ledger.files.setdefault(args["fileId"], (args["ownerAddress"], args["url"]))
        elif row.name == "PermissionGranted" and args["account"] == account:
            ledger.grants[args["fileId"]] = ledger.grants.get(args["fileId"], 0) + 1
        elif row.name == "JobSubmitted" and args["teeAddress"] == account:
            ledger.jobs[args["jobId"]] = JobSeen(args["jobId"], args["fileId"], args["bidAmount"], row.block)
        elif row.name == "JobCanceled":
            ledger.ended[args["jobId"]] = "cancelled"
        elif row.name == "ProofAdded" and args["attestator"] == account:
            ledger.ended[args["jobId"]] = "proven"
    return ledger
