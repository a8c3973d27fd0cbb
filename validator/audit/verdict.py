"""What an audit says: checks one by one, and the first difference by name."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from validator.rounds.evidence import Evidence


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at. `detail` says what was found, in a few words."""

    name: str
    ok: bool
    detail: str


@dataclass(frozen=True, slots=True)
class Difference:
    """The first place where our bundle and theirs differ. `contribution` is None for a field of the whole bundle."""

    contribution: int | None
    field: str
    ours: str
    theirs: str

    def __str__(self) -> str:
        where = f"contribution {self.contribution}, " if self.contribution is not None else ""
        return f"{where}{self.field}: recomputed {self.ours}, published {self.theirs}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome of an audit of one round up to `level`; `signatures` counts attestations whose signature is good.

    `attempt` and `attestation`: which final answer was audited, the latter its EIP-712 digest.
    """

    round: int
    level: int
    checks: list[Check]
    signatures: int
    difference: Difference | None = None
    attempt: int = 0
    attestation: bytes = bytes(32)

    @property
    def match(self) -> bool:
        """Every check passed and nothing differs."""
        return self.difference is None and all(check.ok for check in self.checks)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "round": self.round,
            "level": self.level,
            "attempt": self.attempt,
            "attestation": self.attestation.hex(),
            "match": self.match,
            "signatures": self.signatures,
            "checks": [asdict(check) for check in self.checks],
            "difference": asdict(self.difference) if self.difference else None,
        }


def first_difference(ours: Evidence, theirs: Evidence) -> Difference | None:
    """The first contribution, or else the first field of the bundle in its order, in which two bundles differ."""
    for mine, other in zip(ours.contributions, theirs.contributions, strict=False):
        for name in mine.__struct_fields__:
            if getattr(mine, name) != getattr(other, name):
                return Difference(mine.id, name, str(getattr(mine, name)), str(getattr(other, name)))
    for name in ours.__struct_fields__:
        left, right = getattr(ours, name), getattr(theirs, name)
        if left != right:
            return Difference(None, name, _short(left), _short(right))
    return None


def _short(value: object) -> str:
    text = f"{len(value)} entries" if isinstance(value, list) else str(value)
    return text if len(text) <= 80 else text[:77] + "..."
